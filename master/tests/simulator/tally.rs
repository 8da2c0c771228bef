//! How much was seen.

use std::ops::AddAssign;

/// Counts over one schedule or many.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) schedules: u64,
    pub(crate) steps: u64,
    /// Schedules that came as far as egg-ready.
    pub(crate) served: u64,
    /// Schedules that were well again after the faults ended.
    pub(crate) healed: u64,
    pub(crate) spawns: u64,
    pub(crate) kills: u64,
    pub(crate) drains: u64,
    /// Schedules whose stop was announced before it began.
    pub(crate) announced: u64,
    /// Schedules that were stopped at once, from the beginning or later.
    pub(crate) at_once: u64,
    pub(crate) recycled: u64,
    pub(crate) reloaded: u64,
    pub(crate) turned_back: u64,
    pub(crate) scaled: u64,
    pub(crate) committed: u64,
    pub(crate) stood_down: u64,
    pub(crate) hung: u64,
    pub(crate) orders_done: u64,
    pub(crate) orders_refused: u64,
    /// Schedules that ended because of a crash loop.
    pub(crate) gave_up: u64,
    /// Reloads that brought another policy.
    pub(crate) other_policies: u64,
    pub(crate) exits_0: u64,
    pub(crate) exits_3: u64,
    pub(crate) exits_5: u64,
}

impl Tally {
    /// Each count, for the check that none of them is nothing.
    pub(crate) const fn counts(&self) -> [u64; 23] {
        [
            self.schedules,
            self.steps,
            self.served,
            self.healed,
            self.spawns,
            self.kills,
            self.drains,
            self.announced,
            self.at_once,
            self.recycled,
            self.reloaded,
            self.turned_back,
            self.scaled,
            self.committed,
            self.stood_down,
            self.hung,
            self.orders_done,
            self.orders_refused,
            self.gave_up,
            self.other_policies,
            self.exits_0,
            self.exits_3,
            self.exits_5,
        ]
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.steps += other.steps;
        self.served += other.served;
        self.healed += other.healed;
        self.spawns += other.spawns;
        self.kills += other.kills;
        self.drains += other.drains;
        self.announced += other.announced;
        self.at_once += other.at_once;
        self.recycled += other.recycled;
        self.reloaded += other.reloaded;
        self.turned_back += other.turned_back;
        self.scaled += other.scaled;
        self.committed += other.committed;
        self.stood_down += other.stood_down;
        self.hung += other.hung;
        self.orders_done += other.orders_done;
        self.orders_refused += other.orders_refused;
        self.gave_up += other.gave_up;
        self.other_policies += other.other_policies;
        self.exits_0 += other.exits_0;
        self.exits_3 += other.exits_3;
        self.exits_5 += other.exits_5;
    }
}
