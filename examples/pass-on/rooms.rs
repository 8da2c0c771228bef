//! The rooms of one worker, and the rule that says which worker a room is with.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hatchery::{RawStream, WorkerContext};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
    split,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::desk;

/// How long a client has to say where it wants to go, and a connection to get there.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Rooms {
    context: WorkerContext,
    /// How many have entered each room. A plain variable: all of them enter it here.
    visitors: Mutex<HashMap<String, u64>>,
    /// The clients that others have passed on.
    guests: TaskTracker,
}

impl Rooms {
    pub(crate) fn new(context: WorkerContext) -> Self {
        Self {
            context,
            visitors: Mutex::default(),
            guests: TaskTracker::new(),
        }
    }

    /// A client that has just come: hears which room it wants, and lets it in or passes it on.
    pub(crate) async fn receive(self: Arc<Self>, mut stream: RawStream) {
        let asked = timeout(PATIENCE, first_line(&mut stream)).await;
        let Ok(Ok(said)) = asked else {
            return;
        };
        let room = room_of(&said);
        let Some(worker) = self.worker_of(&room) else {
            // Its replacement is on its way.
            let _ = stream.write_all(b"this room is closed, try again\n").await;
            return;
        };
        if worker == self.context.pid() {
            self.serve(said, stream).await;
            return;
        }
        if let Err(error) = self.pass_on(worker, &said, stream).await {
            tracing::warn!("room {room}: process {worker} did not take a connection: {error}");
        }
    }

    async fn pass_on(&self, worker: u32, said: &[u8], stream: RawStream) -> io::Result<()> {
        // From here on this worker counts it no more.
        let connection = stream.into_fd()?;
        let passing = desk::pass(&self.context, worker, said, &connection);
        timeout(PATIENCE, passing).await?
    }

    /// The rule: any that every worker answers alike will do. The process, or `None` while there is none in that slot.
    fn worker_of(&self, room: &str) -> Option<u32> {
        let slots = u64::from(self.context.settings().workers);
        let sum: u64 = room.bytes().map(u64::from).sum();
        let slot = sum % slots;
        let members = self.context.members().now();
        let mut workers = members.workers.iter();
        let chosen = workers.find(|worker| u64::from(worker.slot) == slot);
        chosen.map(|worker| worker.pid)
    }

    /// A client that another worker has passed on.
    pub(crate) fn welcome(self: Arc<Self>, said: Vec<u8>, stream: TcpStream) {
        let guests = self.guests.clone();
        guests.spawn(async move { self.serve(said, stream).await });
    }

    /// Until the client leaves, or the worker. Whoever has gone already misses nothing.
    async fn serve(&self, said: Vec<u8>, stream: impl AsyncRead + AsyncWrite) {
        let _ = self.converse(&said, stream).await;
    }

    async fn converse(&self, said: &[u8], stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
        let room = room_of(said);
        let (reader, mut writer) = split(stream);
        let visitor = {
            let mut visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
            let count = visitors.entry(room.clone()).or_default();
            *count += 1;
            *count
        };
        let pid = self.context.pid();
        let welcome = format!("room {room} of process {pid}: you are visitor {visitor}\n");
        writer.write_all(welcome.as_bytes()).await?;
        // What was said after the first line comes first.
        let rest = said
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let rest = said.get(rest..).unwrap_or_default();
        let mut lines = BufReader::new(rest.chain(reader)).lines();
        loop {
            tokio::select! {
                line = lines.next_line() => match line? {
                    Some(line) => writer.write_all(format!("{room}: {line}\n").as_bytes()).await?,
                    None => return Ok(()),
                },
                () = self.context.shutdown().cancelled() => {
                    return writer.write_all(b"goodbye, connect again\n").await;
                }
            }
        }
    }

    /// Waits until everybody has gone whom others have passed on.
    pub(crate) async fn empty(&self) {
        self.guests.close();
        self.guests.wait().await;
    }
}

/// What a client says until the end of its first line, and what comes with it.
async fn first_line(stream: &mut RawStream) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    while !said.contains(&b'\n') {
        let left = desk::MOST - said.len();
        let mut part = stream.take(left as u64);
        if part.read_buf(&mut said).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(said)
}

fn room_of(said: &[u8]) -> String {
    let line = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).trim().to_owned()
}
