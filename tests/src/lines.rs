//! A client of the playground's protocol of lines.

use std::io::{self, BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};

use crate::http::Stream;
use crate::wait::PATIENCE;

/// One connection; every read is bounded.
#[derive(Debug)]
pub struct Lines<S = TcpStream> {
    stream: BufReader<S>,
}

/// Who answers on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Its slot.
    pub slot: u32,
    /// Its process.
    pub pid: u32,
    /// Who it thinks that the client is.
    pub peer: String,
}

/// Connects over TCP.
#[track_caller]
pub fn connect(address: SocketAddr) -> Lines {
    Lines::new(TcpStream::connect_timeout(&address, PATIENCE).unwrap()).unwrap()
}

impl<S: Stream> Lines<S> {
    /// Takes a connected stream.
    pub fn new(stream: S) -> io::Result<Self> {
        stream.limit(PATIENCE)?;
        let stream = BufReader::new(stream);
        Ok(Self { stream })
    }

    /// The stream itself.
    pub fn stream(&self) -> &S {
        self.stream.get_ref()
    }

    /// Sends a line.
    pub fn send(&mut self, line: &str) -> io::Result<()> {
        self.stream
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
    }

    /// The next line; `None` at the end. A reset is an end like any other.
    #[track_caller]
    pub fn receive(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => None,
            Err(e) => panic!("neither a line nor the end: {e}"),
        }
    }

    /// Sends a line and returns the next that comes.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.send(line).unwrap();
        self.receive()
            .unwrap_or_else(|| panic!("the end, and not an answer to {line}"))
    }

    /// Who is at the other end.
    #[track_caller]
    pub fn whoami(&mut self) -> Who {
        let answer = self.ask("whoami");
        let mut words = answer.split(' ');
        let mut word = || words.next().unwrap_or_default();
        Who {
            slot: word().parse().unwrap(),
            pid: word().parse().unwrap(),
            peer: word().to_owned(),
        }
    }
}
