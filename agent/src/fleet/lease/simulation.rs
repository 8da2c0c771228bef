//! The rules against a server that forgets and connections that dawdle: whatever happens, nobody holds a lease
//! that another one holds.
//!
//! Time is real time, in milliseconds, and nobody reads it: each contender has a clock of its own that runs
//! faster or slower. Requests and answers take any time, get lost, and are done late; the server is restarted as
//! it was some time ago, or empty.

use std::time::Duration;

use proptest::prelude::*;

use super::rules::{Ask, Rules, Told};

const LEASE: Duration = Duration::from_millis(1500);

/// As `lease.lua` keeps it.
#[derive(Debug, Clone, Default)]
struct Record {
    token: u64,
    mark: String,
    held: bool,
    run: u64,
}

#[derive(Debug, Clone, Default)]
struct Server {
    record: Option<Record>,
    last_token: u64,
    run: u64,
    marks: u64,
}

impl Server {
    /// As `lease.lua` does it.
    fn answer(&mut self, real: u64, ask: &Ask) -> Told {
        self.marks += 1;
        // Never used twice: in this model as in 128 random bits.
        let mark = format!("{}-{}", self.run, self.marks);
        let others = |mark: &str| Told::Others { mark: mark.into() };
        match ask {
            Ask::Renew { token } | Ask::Release { token } => {
                let release = matches!(ask, Ask::Release { .. });
                let run = self.run;
                match &mut self.record {
                    Some(record) if record.held && record.token == *token => {
                        record.mark = mark;
                        record.run = run;
                        record.held = !release;
                        if release {
                            Told::Released
                        } else {
                            Told::Held { token: *token }
                        }
                    }
                    Some(record) => others(&record.mark),
                    None => others(""),
                }
            }
            Ask::Contend { unchanged } => {
                let Some(record) = &mut self.record else {
                    self.record = Some(Record {
                        mark: mark.clone(),
                        ..Record::default()
                    });
                    return others(&mark);
                };
                // Runs begin at 1; a record of nobody's is of run 0.
                let free = !record.held && record.run == self.run;
                if !free && unchanged.as_ref() != Some(&record.mark) {
                    return others(&record.mark);
                }
                self.last_token = (self.last_token + 1).max(1000 + real * 1000);
                *record = Record {
                    token: self.last_token,
                    mark,
                    held: true,
                    run: self.run,
                };
                Told::Held {
                    token: self.last_token,
                }
            }
        }
    }
}

#[derive(Debug)]
struct Contender {
    rules: Rules,
    /// In per cent of real time.
    rate: u64,
    /// Which life of the server it is connected to.
    run: u64,
    /// On its way: what, when by its own clock it was sent, and when in real time it is done and answered.
    asked: Option<Asked>,
    down_until: u64,
}

#[derive(Debug)]
struct Asked {
    ask: Ask,
    sent: Duration,
    done_at: u64,
    answer_at: u64,
    gives_up_at: u64,
    told: Option<Told>,
    /// The connection it went out on.
    run: u64,
}

impl Contender {
    fn clock(&self, real: u64) -> Duration {
        Duration::from_millis(real * self.rate / 100)
    }

    /// Hears what has come, gives up what has not, and asks.
    fn step(&mut self, real: u64, luck: Luck, server: &mut Server, paused_until: u64) {
        let now = self.clock(real);
        if let Some(asked) = &mut self.asked {
            if asked.told.is_none() && real >= asked.done_at.max(paused_until) {
                // What went out to a server that is gone is lost.
                if asked.run == server.run {
                    asked.told = Some(server.answer(real, &asked.ask));
                }
                asked.done_at = u64::MAX;
            }
            let answered = asked.told.is_some() && real >= asked.answer_at && asked.run == self.run;
            let given_up = real >= asked.gives_up_at;
            if let Some(asked) = self.asked.take_if(|_| answered) {
                self.rules
                    .told(&asked.ask, asked.sent, now, asked.told.unwrap());
            } else if let Some(late) = self.asked.take_if(|_| given_up) {
                self.rules.unanswered(now);
                // It is done all the same.
                if late.told.is_none() && late.run == server.run && late.done_at != u64::MAX {
                    server.answer(real, &late.ask);
                }
            }
        }
        if self.run != server.run && real >= self.down_until && real >= paused_until {
            self.run = server.run;
            self.rules.reconnected(now);
        }
        if self.asked.is_none()
            && self.run == server.run
            && let Ok(ask) = self.rules.ask(now)
        {
            let done_at = real + luck.there;
            self.asked = Some(Asked {
                ask,
                sent: now,
                done_at,
                answer_at: done_at + luck.back,
                gives_up_at: real + 400,
                told: None,
                run: self.run,
            });
        }
    }
}

/// What may happen in one step of ten milliseconds.
#[derive(Debug, Clone, Copy)]
struct Luck {
    there: u64,
    back: u64,
    event: u8,
}

fn luck() -> impl Strategy<Value = Luck> {
    let delay = || prop_oneof![8 => 0_u64..30, 2 => 0_u64..600, 1 => 600_u64..6000];
    (delay(), delay(), any::<u8>()).prop_map(|(there, back, event)| Luck { there, back, event })
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// Lives through it. Returns how often the lease changed hands, and how long somebody had it.
fn live(rates: &[u64], steps: &[Luck]) -> (usize, u64) {
    let mut server = Server {
        run: 1,
        ..Server::default()
    };
    let mut past: Vec<Server> = Vec::new();
    let mut contenders: Vec<Contender> = rates
        .iter()
        .map(|rate| Contender {
            rules: Rules::new(LEASE),
            rate: *rate,
            run: 1,
            asked: None,
            down_until: 0,
        })
        .collect();
    let mut paused_until = 0;
    let (mut tokens, mut held_for) = (Vec::new(), 0);
    for (step, luck) in steps.iter().enumerate() {
        let real = u64::try_from(step).unwrap() * 10;
        past.push(server.clone());
        match luck.event {
            // Restarted as it was up to a second ago, or empty.
            0 => {
                let ago = (index(luck.there) / 10).min(past.len());
                let (run, marks) = (server.run + 1, server.marks);
                server = match past.len().checked_sub(ago.max(1)) {
                    Some(then) if luck.back < 500 => past[then].clone(),
                    _ => Server::default(),
                };
                (server.run, server.marks) = (run, marks);
            }
            // It stops for a while, and then does what has come in the meantime.
            1 => paused_until = real + luck.there + luck.back,
            // Somebody is cut off.
            2 => {
                let who = index(luck.there) % contenders.len();
                contenders[who].down_until = real + luck.back;
                contenders[who].run = 0;
            }
            _ => {}
        }
        for one in &mut contenders {
            one.step(real, *luck, &mut server, paused_until);
        }
        let holders: Vec<u64> = contenders
            .iter()
            .filter_map(|one| Some(one.rules.held(one.clock(real))?.token))
            .collect();
        assert!(holders.len() <= 1, "{holders:?} at {real} ms");
        if let Some(token) = holders.first() {
            held_for += 10;
            if tokens.last() != Some(token) {
                assert!(
                    tokens.last().is_none_or(|last| last < token),
                    "{tokens:?} {token}"
                );
                tokens.push(*token);
            }
        }
    }
    (tokens.len(), held_for)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_two_hold_it_whatever_happens(
        rates in prop::collection::vec(85_u64..=115, 2..5),
        steps in prop::collection::vec(luck(), 1500),
    ) {
        live(&rates, &steps);
    }
}

const QUIET: Luck = Luck {
    there: 1,
    back: 1,
    event: 9,
};

#[test]
fn undisturbed_the_first_one_has_it_after_one_lease_and_keeps_it() {
    let (hands, held_for) = live(&[100, 100, 100], &vec![QUIET; 3000]);
    assert_eq!(hands, 1);
    assert!(held_for > 30_000 - 2 * 1500, "{held_for}");
}

#[test]
fn a_restart_that_forgets_nothing_costs_nobody_the_lease() {
    let mut steps = vec![QUIET; 3000];
    for at in [500, 1000, 1500] {
        steps[at] = Luck { event: 0, ..QUIET };
    }
    let (hands, held_for) = live(&[100, 100], &steps);
    assert_eq!(hands, 1);
    assert!(held_for > 27_000, "{held_for}");
}

#[test]
fn a_server_that_forgets_all_costs_about_one_lease() {
    let mut steps = vec![QUIET; 3000];
    steps[1000] = Luck {
        event: 0,
        there: 1,
        back: 600,
    };
    let (hands, held_for) = live(&[100, 100], &steps);
    assert_eq!(hands, 2);
    assert!(held_for > 24_000, "{held_for}");
}
