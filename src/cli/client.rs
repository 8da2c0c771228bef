//! The operator's end of the control socket. Blocking: a command has nothing else to do.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hatchery_master::CONTROL_SOCKET;
use hatchery_protocol::clock::monotonic;
use hatchery_protocol::control::{Reply, Request};
use hatchery_protocol::exit::Exit;
use hatchery_protocol::wire::{Decoder, Kind, MAX_CONTROL_FRAME, encode};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::geteuid;

use super::Failure;

/// How long a master may take to answer. It does nothing that takes long.
const ANSWER: Duration = Duration::from_secs(5);

/// Where one application's master answers.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(name: String, runtime_dir: &Path) -> Self {
        Self {
            name,
            socket: runtime_dir.join(CONTROL_SOCKET),
        }
    }

    /// Connects to the master.
    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        let stream = self.open().map_err(|error| {
            let (name, path) = (&self.name, self.socket.display());
            let kind = error.kind();
            if matches!(
                kind,
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) {
                let sentence = format!("{name} is not running (no control socket at {path})");
                Failure::new(Exit::RunState, sentence)
            } else if ran_out(kind) {
                self.silent()
            } else {
                self.failed(&format!(
                    "the control socket {path} cannot be reached: {error}"
                ))
            }
        })?;
        Ok(Connection {
            stream,
            decoder: Decoder::new(MAX_CONTROL_FRAME),
        })
    }

    /// One request, one reply.
    pub(super) fn ask(&self, request: &Request) -> Result<Reply, Failure> {
        let mut connection = self.connect()?;
        connection
            .send(request)
            .map_err(|error| self.broken(&error))?;
        let deadline = monotonic() + ANSWER;
        match connection.receive(Some(deadline)) {
            Ok(Some(Reply::Error { message })) => Err(self.failed(&message)),
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(self.failed("the master closed the connection without an answer")),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// What a conversation that ended with `error` means to the operator.
    pub(super) fn broken(&self, error: &io::Error) -> Failure {
        if ran_out(error.kind()) {
            self.silent()
        } else {
            self.failed(&format!("the conversation with its master broke: {error}"))
        }
    }

    pub(super) fn failed(&self, what: &str) -> Failure {
        Failure::new(Exit::Internal, format!("{}: {what}", self.name))
    }

    fn silent(&self) -> Failure {
        let seconds = ANSWER.as_secs();
        self.failed(&format!("its master did not answer within {seconds} s"))
    }

    fn open(&self) -> io::Result<UnixStream> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // Before connecting: where the master is stopped and its backlog is full, that waits, too.
        set_socket_timeout(&socket, Timeout::Send, Some(ANSWER))?;
        connect(&socket, &SocketAddrUnix::new(self.socket.as_path())?)?;
        // Whoever could plant a socket here must not be taken for the master.
        let server = getsockopt(&socket, PeerCredentials)?.uid();
        let ours = geteuid().as_raw();
        if server != ours && server != 0 && ours != 0 {
            return Err(io::Error::other(format!(
                "it belongs to another user (uid {server})"
            )));
        }
        Ok(UnixStream::from(socket))
    }
}

/// Whether an operation ended because its time did.
fn ran_out(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// An open connection to a master.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
}

impl Connection {
    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    pub(super) fn send(&mut self, request: &Request) -> io::Result<()> {
        let body = serde_json::to_vec(request)?;
        let mut bytes = Vec::new();
        encode(Kind::Control, 0, &body, &mut bytes).map_err(io::Error::other)?;
        self.stream.write_all(&bytes)
    }

    /// The next reply; `None` when the master closed the connection. Waits until `deadline`, on the clock
    /// of [`monotonic`], or for ever.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] at the deadline, and whatever breaks a connection.
    pub(super) fn receive(&mut self, deadline: Option<Duration>) -> io::Result<Option<Reply>> {
        loop {
            if let Some(reply) = self.buffered()? {
                return Ok(Some(reply));
            }
            let left = match deadline.map(|deadline| deadline.checked_sub(monotonic())) {
                None => None,
                // Zero would mean "for ever".
                Some(Some(left)) if !left.is_zero() => Some(left),
                Some(_) => return Err(io::ErrorKind::WouldBlock.into()),
            };
            self.stream.set_read_timeout(left)?;
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads once. `false` at the end of the stream.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    self.decoder.finish().map_err(io::Error::other)?;
                    return Ok(false);
                }
                Ok(n) => {
                    self.decoder.push(piece.get(..n).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next reply that was read already.
    pub(super) fn buffered(&mut self) -> io::Result<Option<Reply>> {
        let Some(frame) = self.decoder.next_frame().map_err(io::Error::other)? else {
            return Ok(None);
        };
        if frame.kind != Kind::Control {
            return Err(io::Error::other(
                "the master sent no reply but another frame",
            ));
        }
        serde_json::from_slice(&frame.body)
            .map(Some)
            .map_err(|error| io::Error::other(format!("the reply is not understood: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A master that answers every connection's request with the same bytes.
    fn master(answer: Vec<u8>) -> (tempfile::TempDir, Client) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(CONTROL_SOCKET)).unwrap();
        let client = Client::new("app".into(), dir.path());
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0; 64];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(&answer);
            }
        });
        (dir, client)
    }

    fn frame(body: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(Kind::Control, 0, body.as_bytes(), &mut bytes).unwrap();
        bytes
    }

    fn refused(answer: Vec<u8>) -> String {
        let (_dir, client) = master(answer);
        let failure = client.ask(&Request::Status).unwrap_err();
        assert_eq!(failure.exit, Exit::Internal);
        failure.sentences.concat()
    }

    #[test]
    fn an_application_that_does_not_run_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new("app".into(), dir.path());
        let path = dir.path().join(CONTROL_SOCKET);
        let sentence = format!(
            "app is not running (no control socket at {})",
            path.display()
        );
        let expected = Failure::new(Exit::RunState, sentence);
        assert_eq!(client.connect().unwrap_err(), expected);
        // What a master that was killed leaves behind.
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(client.connect().unwrap_err(), expected);
    }

    #[test]
    fn replies_come_however_they_are_cut() {
        let event = r#"{"reply":"event","ts_ms":1,"event":"stopped","role":"master","slot":null,"pid":null,"generation":1,"reason":null}"#;
        let mut answer = frame(event);
        answer.extend(frame(event));
        let (_dir, client) = master(answer);
        let mut connection = client.connect().unwrap();
        connection.send(&Request::Events).unwrap();
        for _ in 0..2 {
            assert!(matches!(
                connection.receive(None).unwrap(),
                Some(Reply::Event(_))
            ));
        }
        assert_eq!(connection.receive(None).unwrap(), None);
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let said = refused(frame(r#"{"reply":"error","message":"not you"}"#));
        assert_eq!(said, "app: not you");
        let said = refused(Vec::new());
        assert_eq!(
            said,
            "app: the master closed the connection without an answer"
        );
        let said = refused(frame("{}"));
        assert!(said.contains("the reply is not understood"), "{said}");
        let said = refused(vec![0xff; 32]);
        assert!(said.contains("exceeds the limit"), "{said}");
        let said = refused(frame("{}")[..5].to_vec());
        assert!(said.contains("ended inside a frame"), "{said}");
    }

    #[test]
    fn a_deadline_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(CONTROL_SOCKET)).unwrap();
        let client = Client::new("app".into(), dir.path());
        let mut connection = client.connect().unwrap();
        let deadline = Some(monotonic() + Duration::from_millis(20));
        let error = connection.receive(deadline).unwrap_err();
        assert_eq!(client.broken(&error), client.silent());
        drop(listener);
    }
}
