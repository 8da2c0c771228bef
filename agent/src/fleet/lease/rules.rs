//! The rules of a lease: when to ask for what, and until when it is held. No clock, no connection.
//!
//! Redis keeps a *record* of each lease, with a *mark* that changes with every write. No clock of Redis's
//! decides anything, nor does the expiry of a key:
//!
//! - a holder holds for two thirds of the lease, counted **from before it sent** what Redis has confirmed. It
//!   renews in good time; when it cannot, it stops by itself;
//! - who wants it takes it when it has seen the **same mark for a whole lease**, counted from when it got to see
//!   it, on one connection. Had the holder renewed, the mark would be another one, and Redis refuses to take a
//!   lease whose mark has changed;
//! - a record that was given back in this life of the server is taken at once.
//!
//! So from a holder's end to the first moment at which another one can have it, a third of the lease passes, as
//! long as clocks do not run faster than one and a half times each other. A server that forgets (it is
//! restarted without its last writes, or a replica without them takes over) costs a whole lease of waiting, for
//! whoever was watching begins anew with a new connection.

use std::time::Duration;

/// How long things take with a lease of some length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// A holder holds so long from before it asked.
    hold: Duration,
    /// Who wants it has to see the same mark for so long.
    watch: Duration,
    /// How often a holder renews.
    renew: Duration,
    /// How often the others look.
    look: Duration,
}

impl Times {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            hold: lease * 2 / 3,
            watch: lease,
            renew: lease / 6,
            look: lease / 3,
        }
    }
}

/// What to ask Redis for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Take it if it is free, or if it still has this mark.
    Contend { unchanged: Option<String> },
    /// Go on holding it.
    Renew { token: u64 },
    /// Give it back.
    Release { token: u64 },
}

/// What Redis says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// It is the asker's, with this token.
    Held { token: u64 },
    /// It is not; its record has this mark.
    Others { mark: String },
    /// It was given back.
    Released,
}

/// A lease that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) token: u64,
    /// Not at this moment any more, nor later.
    pub(super) until: Duration,
}

/// Where one contender stands. Moments are of one clock that is never set, of this process alone.
#[derive(Debug)]
pub(super) struct Rules {
    times: Times,
    hold: Option<Hold>,
    seen: Option<Seen>,
    /// A token that Redis takes for valid, although it came too late to hold anything with it.
    leftover: Option<u64>,
    next: Duration,
}

#[derive(Debug)]
struct Seen {
    mark: String,
    since: Duration,
}

impl Rules {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            times: Times::new(lease),
            hold: None,
            seen: None,
            leftover: None,
            next: Duration::ZERO,
        }
    }

    /// What is held at this moment.
    pub(super) fn held(&self, now: Duration) -> Option<Hold> {
        self.hold.filter(|hold| now < hold.until)
    }

    /// What to ask now, or until when there is nothing to ask.
    pub(super) fn ask(&mut self, now: Duration) -> Result<Ask, Duration> {
        self.stop_in_time(now);
        if now < self.next {
            return Err(self.next);
        }
        if let Some(hold) = self.hold {
            return Ok(Ask::Renew { token: hold.token });
        }
        if let Some(token) = self.leftover {
            return Ok(Ask::Release { token });
        }
        let watched = |seen: &&Seen| now >= seen.since + self.times.watch;
        let unchanged = self.seen.as_ref().filter(watched);
        Ok(Ask::Contend {
            unchanged: unchanged.map(|seen| seen.mark.clone()),
        })
    }

    /// Redis has answered what was sent at `sent`; the answer came at `now`.
    pub(super) fn told(&mut self, ask: &Ask, sent: Duration, now: Duration, told: Told) {
        self.stop_in_time(now);
        match told {
            Told::Held { token } => {
                let until = sent + self.times.hold;
                let renewed = matches!(ask, Ask::Renew { .. });
                if renewed && self.hold.is_none() {
                    // Too late: whoever was told that it is lost must not find it held again.
                    self.next = now;
                } else if now >= until {
                    // It was nobody's for a moment.
                    self.leftover = Some(token);
                    self.next = now;
                } else {
                    self.hold = Some(Hold { token, until });
                    self.next = sent + self.times.renew;
                }
                self.seen = None;
            }
            Told::Others { mark } => {
                self.hold = None;
                self.leftover = None;
                self.see(mark, now);
            }
            Told::Released => {
                self.leftover = None;
                self.next = now;
            }
        }
    }

    /// Nobody knows whether what was asked is done.
    pub(super) fn unanswered(&mut self, now: Duration) {
        self.stop_in_time(now);
        let pause = if self.hold.is_some() {
            self.times.renew / 4
        } else {
            self.times.look
        };
        self.next = now + pause;
    }

    /// There is another connection. What was seen may have been another server, or another life of it.
    pub(super) fn reconnected(&mut self, now: Duration) {
        self.seen = None;
        self.next = now;
    }

    fn see(&mut self, mark: String, now: Duration) {
        let since = match &self.seen {
            Some(seen) if seen.mark == mark => seen.since,
            _ => now,
        };
        self.seen = Some(Seen { mark, since });
        let watched = since + self.times.watch;
        let look = now + self.times.look;
        self.next = if watched > now {
            look.min(watched)
        } else {
            look
        };
    }

    fn stop_in_time(&mut self, now: Duration) {
        if let Some(hold) = self.hold
            && now >= hold.until
        {
            // Not given back: whoever held it has a third of the lease to stop, and nobody gets it sooner.
            self.hold = None;
            self.seen = None;
            self.next = now;
        }
    }
}
