//! The rooms of this worker's clients, and what is said in them anywhere.
//!
//! On this host the messenger brings it, at once and whatever becomes of Redis. To other hosts it goes through the fleet,
//! in its own time: whoever speaks waits for neither.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hatchery::fleet::FleetClient;
use hatchery::messenger::SendError;
use hatchery::{BoxError, Messenger, WorkerContext};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

const TOPIC: &str = "said";

/// How many lines a client may be behind.
const BACKLOG: usize = 64;

/// How many lines may wait for their way to other hosts.
const WAITING: usize = 1024;

/// The room, and what is said in it.
type Line = (String, String);

type Open = HashMap<String, broadcast::Sender<Arc<str>>>;

#[derive(Clone)]
pub(crate) struct Rooms {
    messenger: Messenger,
    /// For other hosts, if there are any.
    elsewhere: Option<mpsc::Sender<Line>>,
    /// Those that somebody is in.
    open: Arc<Mutex<Open>>,
}

impl Rooms {
    /// Begins to listen to what is said. To be called in `start`, so that nothing is missed.
    pub(crate) fn open(context: &WorkerContext) -> Result<Self, BoxError> {
        let mut rooms = Self {
            messenger: context.messenger().clone(),
            elsewhere: None,
            open: Arc::default(),
        };
        let mut said = rooms.messenger.subscribe(TOPIC)?;
        let here = rooms.clone();
        tokio::spawn(async move {
            while let Some(message) = said.next().await {
                if let Ok(line) = message.json() {
                    here.pass_on(line);
                }
            }
        });
        let fleet = context.fleet();
        if fleet.is_configured() {
            let mut said = fleet.subscribe(TOPIC)?;
            let here = rooms.clone();
            tokio::spawn(async move {
                loop {
                    if let Ok(line) = said.next().await.decode() {
                        here.pass_on(line);
                    }
                }
            });
            let (elsewhere, lines) = mpsc::channel(WAITING);
            tokio::spawn(tell_others(fleet.clone(), lines));
            rooms.elsewhere = Some(elsewhere);
        }
        Ok(rooms)
    }

    /// To everybody in the room, wherever they are, the speaker included.
    pub(crate) fn say(&self, room: &str, text: &str) -> Result<(), SendError> {
        let line: Line = (room.to_owned(), text.to_owned());
        let reach = self.messenger.send_to_workers(TOPIC, &line)?;
        if reach.full > 0 {
            tracing::warn!("{} workers are behind and miss a line", reach.full);
        }
        if let Some(elsewhere) = &self.elsewhere
            && elsewhere.try_send(line).is_err()
        {
            tracing::warn!("other hosts are behind and miss a line");
        }
        Ok(())
    }

    pub(crate) fn enter(&self, room: &str) -> Seat {
        let mut open = self.lock();
        let sender = open
            .entry(room.to_owned())
            .or_insert_with(|| broadcast::Sender::new(BACKLOG));
        Seat {
            heard: Some(sender.subscribe()),
            rooms: self.clone(),
            room: room.to_owned(),
        }
    }

    fn pass_on(&self, (room, text): Line) {
        if let Some(room) = self.lock().get(&room) {
            // Whoever was in it may just have left.
            let _ = room.send(text.into());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells other hosts what is said here, line by line. What does not get through is lost for them: the next line will
/// not wait for it.
async fn tell_others(fleet: FleetClient, mut lines: mpsc::Receiver<Line>) {
    let mut told = None;
    while let Some(line) = lines.recv().await {
        let trouble = fleet.broadcast_elsewhere(TOPIC, &line).await.err();
        // The same again and again says nothing new.
        if trouble != told {
            if let Some(error) = &trouble {
                tracing::warn!("other hosts do not hear us: {error}");
            } else {
                tracing::info!("other hosts hear us again");
            }
            told = trouble;
        }
    }
}

/// Somebody's place in a room. The last one to leave it closes the room.
pub(crate) struct Seat {
    heard: Option<broadcast::Receiver<Arc<str>>>,
    rooms: Rooms,
    room: String,
}

impl Seat {
    /// The next line.
    pub(crate) async fn next(&mut self) -> Result<Arc<str>, RecvError> {
        match &mut self.heard {
            Some(heard) => heard.recv().await,
            None => Err(RecvError::Closed),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.rooms.lock();
        self.heard = None;
        if open
            .get(&self.room)
            .is_some_and(|room| room.receiver_count() == 0)
        {
            open.remove(&self.room);
        }
    }
}
