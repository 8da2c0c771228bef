//! Who gets which frame: the books, without I/O.
//!
//! Frames from one sender to one receiver stay in order, because each receiver has one queue and each frame is put
//! into it when it is read. News about who is there go the same way, so they keep their place among messages.

use std::collections::{BTreeMap, BTreeSet};

use hatchery_protocol::id::ChildId;
use hatchery_protocol::post::{
    Addressee, Body, Frame, FrameError, Head, Kind, Limits, Outgoing, Packet, flag,
};

/// What may wait for one receiver from one sender beyond both windows: frames that take no room, which are small.
const SMALL: usize = 256 * 1024;

#[derive(Debug)]
struct Member<D> {
    child: ChildId,
    pid: u32,
    /// How many had joined when it did, itself included. `None`: it has not been told to begin.
    number: Option<u64>,
    leaving: bool,
    outgoing: Outgoing<D>,
    /// How much of that is from whom.
    from: BTreeMap<u64, usize>,
    /// Whether something that it said was thrown away, because it did not keep to its windows.
    is_unruly: bool,
}

/// `D` is a memory file.
#[derive(Debug)]
pub(super) struct Router<D> {
    limits: Limits,
    members: BTreeMap<u64, Member<D>>,
    joined: u64,
    /// Who has something waiting.
    addressed: BTreeSet<u64>,
    /// Who was found to keep to no window. Each is named once: it may go on for hours.
    unruly: Vec<ChildId>,
}

impl<D: Clone> Router<D> {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            members: BTreeMap::new(),
            joined: 0,
            addressed: BTreeSet::new(),
            unruly: Vec::new(),
        }
    }

    /// A child was started. Nobody can talk to it before it was told to begin, nor it to anybody.
    pub(super) fn join(&mut self, child: ChildId) {
        let member = Member {
            child,
            pid: 0,
            number: None,
            leaving: false,
            outgoing: Outgoing::default(),
            from: BTreeMap::new(),
            is_unruly: false,
        };
        self.members.insert(child.incarnation, member);
    }

    /// Children are told to begin: everybody hears of them, and they of everybody.
    pub(super) fn hatch(&mut self, children: &[(ChildId, u32)]) {
        let mut new = Vec::new();
        for (child, pid) in children {
            if let Some(member) = self.members.get_mut(&child.incarnation)
                && member.number.is_none()
            {
                self.joined += 1;
                member.number = Some(self.joined);
                member.pid = *pid;
                new.push(child.incarnation);
            }
        }
        for joined in &new {
            let Some(news) = self.members.get(joined).map(joining) else {
                continue;
            };
            self.tell(news, |member| !new.contains(&member.child.incarnation));
        }
        let roster: Vec<Head> = self.hatched().flat_map(introduction).collect();
        let open = Head {
            kind: Kind::Open,
            flags: 0,
            peer: 0,
            id: self.joined,
        };
        for one in new {
            for news in roster.iter().chain([&open]) {
                self.push_news(one, *news);
            }
        }
    }

    /// A child was asked to leave.
    pub(super) fn retire(&mut self, child: ChildId) {
        let Some(member) = self.members.get_mut(&child.incarnation) else {
            return;
        };
        if !std::mem::replace(&mut member.leaving, true) && member.number.is_some() {
            self.tell(about(Kind::Leaving, child.incarnation), |_| true);
        }
    }

    /// A child is no more, and has said all that it will ever say.
    pub(super) fn gone(&mut self, child: ChildId) {
        self.addressed.remove(&child.incarnation);
        let Some(member) = self.members.remove(&child.incarnation) else {
            return;
        };
        for other in self.members.values_mut() {
            other.from.remove(&child.incarnation);
        }
        if member.number.is_some() {
            self.tell(about(Kind::Left, child.incarnation), |_| true);
        }
    }

    fn hatched(&self) -> impl Iterator<Item = &Member<D>> {
        let members = self.members.values();
        members.filter(|member| member.number.is_some())
    }

    fn tell(&mut self, news: Head, to: impl Fn(&Member<D>) -> bool) {
        let told: Vec<u64> = self
            .hatched()
            .filter(|member| to(member))
            .map(|member| member.child.incarnation)
            .collect();
        for one in told {
            self.push_news(one, news);
        }
    }

    fn push_news(&mut self, to: u64, head: Head) {
        let body = Body::Inline(&[]);
        let topic = &[];
        let frame = Frame { head, topic, body };
        if let Some(member) = self.members.get_mut(&to) {
            member.outgoing.push(&frame, None, None);
            self.addressed.insert(to);
        }
    }

    /// Takes in what a child says. `file` is the frame's memory file; it may have been lost on the way.
    ///
    /// # Errors
    ///
    /// What the child did wrong.
    pub(super) fn route(
        &mut self,
        from: u64,
        frame: &Frame<'_>,
        file: Option<&D>,
    ) -> Result<(), FrameError> {
        let kind = frame.head.kind;
        if self.members.get(&from).is_none_or(|m| m.number.is_none()) || kind.is_masters() {
            return Err(FrameError::Kind(kind as u8));
        }
        if frame.body.len() > self.limits.max_message as usize {
            let length = u32::try_from(frame.body.len()).unwrap_or(u32::MAX);
            return Err(FrameError::Payload(length));
        }
        let to = Addressee::from(frame.head.peer);
        let is_lost = matches!(frame.body, Body::Large(_)) && file.is_none();
        let receivers: Vec<u64> = match to {
            Addressee::One(one) if is_lost => {
                self.lose(from, one, frame);
                return Ok(());
            }
            Addressee::One(one) => {
                self.deliver(from, one, frame, file);
                return Ok(());
            }
            _ if kind != Kind::Message => return Err(FrameError::Kind(kind as u8)),
            Addressee::All => self.hatched().map(|m| m.child.incarnation).collect(),
            Addressee::Workers => self
                .hatched()
                .filter(|m| m.child.seat.slot().is_some())
                .map(|m| m.child.incarnation)
                .collect(),
        };
        for one in receivers {
            if is_lost {
                self.lose(from, one, frame);
            } else {
                self.deliver(from, one, frame, file);
            }
        }
        Ok(())
    }

    /// Whether the sender did not know of the receiver when it sent to all, and has taken no room for it.
    fn is_free(&self, to: u64, frame: &Frame<'_>) -> bool {
        let many = !matches!(Addressee::from(frame.head.peer), Addressee::One(_));
        let number = self.members.get(&to).and_then(|member| member.number);
        many && number.is_some_and(|number| number > frame.head.id)
    }

    fn deliver(&mut self, from: u64, to: u64, frame: &Frame<'_>, file: Option<&D>) {
        let free = self.is_free(to, frame);
        // Who is gone is told about as gone: nobody waits for him.
        let Some(member) = self.members.get_mut(&to) else {
            return;
        };
        if member.number.is_none() {
            return;
        }
        let cost = self.limits.cost(frame.topic.len(), frame.body.len());
        let waiting = member.from.entry(from).or_default();
        if *waiting > 2 * self.limits.most() + SMALL {
            self.blame(from);
            return;
        }
        *waiting += cost;
        let own = frame.head.flags & flag::ANSWER;
        let head = Head {
            flags: if free { own | flag::FREE } else { own },
            peer: from,
            ..frame.head
        };
        let frame = Frame { head, ..*frame };
        member
            .outgoing
            .push(&frame, file.cloned(), Some((from, cost)));
        self.addressed.insert(to);
    }

    /// A sender does not keep to its window.
    fn blame(&mut self, from: u64) {
        if let Some(sender) = self.members.get_mut(&from)
            && !std::mem::replace(&mut sender.is_unruly, true)
        {
            self.unruly.push(sender.child);
        }
    }

    /// Who was found to keep to no window since this was asked last.
    pub(super) fn unruly(&mut self) -> Vec<ChildId> {
        std::mem::take(&mut self.unruly)
    }

    /// A payload was lost because this process has no descriptors: the sender gets the room back, and hears that
    /// there is no answer.
    fn lose(&mut self, from: u64, to: u64, frame: &Frame<'_>) {
        let cost = self.limits.cost(frame.topic.len(), frame.body.len());
        let (kind, request) = (frame.head.kind, frame.head.id);
        if !self.is_free(to, frame) {
            let room = Head {
                flags: if kind.is_answer() { flag::ANSWER } else { 0 },
                id: cost as u64,
                ..about(Kind::Room, to)
            };
            self.push_news(from, room);
        }
        let unanswered = |peer| Head {
            id: request,
            ..about(Kind::Unanswered, peer)
        };
        if kind == Kind::Request {
            self.push_news(from, unanswered(to));
        } else if kind.is_answer() {
            self.push_news(to, unanswered(from));
        }
    }

    /// Who has something to be sent.
    pub(super) fn addressed(&self) -> Vec<u64> {
        self.addressed.iter().copied().collect()
    }

    /// What is to be sent to a child next.
    pub(super) fn front(&self, to: u64) -> Option<&Packet<D>> {
        self.members.get(&to)?.outgoing.front()
    }

    /// The first packet was sent.
    pub(super) fn sent(&mut self, to: u64) {
        let Some(member) = self.members.get_mut(&to) else {
            return;
        };
        for (from, bytes) in member.outgoing.sent() {
            if let Some(waiting) = member.from.get_mut(&from) {
                *waiting = waiting.saturating_sub(bytes);
            }
        }
        if member.outgoing.is_empty() {
            self.addressed.remove(&to);
        }
    }
}

fn about(kind: Kind, peer: u64) -> Head {
    Head {
        kind,
        flags: 0,
        peer,
        id: 0,
    }
}

/// See [`Kind::Joined`].
fn joining<D>(member: &Member<D>) -> Head {
    let slot = member.child.seat.slot();
    let slot = slot.map_or(0, |slot| u64::from(slot) + 1);
    Head {
        id: u64::from(member.pid) | (slot << 32),
        ..about(Kind::Joined, member.child.incarnation)
    }
}

/// Who is there, for somebody new.
fn introduction<D>(member: &Member<D>) -> impl Iterator<Item = Head> + use<D> {
    let leaving = about(Kind::Leaving, member.child.incarnation);
    [joining(member)]
        .into_iter()
        .chain(member.leaving.then_some(leaving))
}

#[cfg(test)]
mod tests;
