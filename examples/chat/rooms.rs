//! The rooms of this worker's clients, and what is said in them anywhere in the cluster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hatchery::Messenger;
use hatchery::messenger::{SendError, TopicError};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

const TOPIC: &str = "said";

/// How many lines a client may be behind.
const BACKLOG: usize = 64;

type Open = HashMap<String, broadcast::Sender<Arc<str>>>;

#[derive(Clone)]
pub(crate) struct Rooms {
    messenger: Messenger,
    /// Those that somebody is in.
    open: Arc<Mutex<Open>>,
}

impl Rooms {
    /// Begins to listen to what is said. To be called in `start`, so that nothing is missed.
    pub(crate) fn open(messenger: &Messenger) -> Result<Self, TopicError> {
        let rooms = Self {
            messenger: messenger.clone(),
            open: Arc::default(),
        };
        let mut said = messenger.subscribe(TOPIC)?;
        let listening = rooms.clone();
        tokio::spawn(async move {
            while let Some(message) = said.next().await {
                if let Ok((room, text)) = message.json::<(String, String)>() {
                    listening.pass_on(&room, text.into());
                }
            }
        });
        Ok(rooms)
    }

    /// To everybody in the room, wherever they are, the speaker included.
    pub(crate) fn say(&self, room: &str, text: &str) -> Result<(), SendError> {
        let reach = self
            .messenger
            .send_to_workers(TOPIC, &json!([room, text]))?;
        if reach.full > 0 {
            tracing::warn!("{} workers are behind and miss a line", reach.full);
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

    fn pass_on(&self, room: &str, text: Arc<str>) {
        if let Some(room) = self.lock().get(room) {
            // Whoever was in it may just have left.
            let _ = room.send(text);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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
