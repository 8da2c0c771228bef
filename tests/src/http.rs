//! A blocking HTTP/1.1 client that shows what is on the wire.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use serde::Deserialize;

use crate::wait::PATIENCE;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// As 200.
    pub status: u16,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Without any transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(n, _)| n == name)?;
        Some(value)
    }

    /// Whether the server said that this was the last answer on its connection.
    pub fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// What the playground's `/whoami` answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Whoami {
    /// `worker`.
    pub role: String,
    /// Its slot.
    pub slot: u32,
    /// Its process.
    pub pid: u32,
    /// The generation it belongs to.
    pub generation: u64,
    /// The number that no other process of this master has.
    pub incarnation: u64,
}

/// A stream with a client's and a server's end.
pub trait Stream: Read + Write {
    /// Bounds each read.
    fn limit(&self, time: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn limit(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))?;
        self.set_read_timeout(Some(time))
    }
}

impl Stream for UnixStream {
    fn limit(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))?;
        self.set_read_timeout(Some(time))
    }
}

/// One connection, kept alive.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: BufReader<S>,
}

/// Connects over TCP.
pub fn connect(address: SocketAddr) -> io::Result<Connection> {
    Connection::new(TcpStream::connect_timeout(&address, PATIENCE)?)
}

/// Connects over TCP from an address of this host: all of 127/8 is.
pub fn connect_from(client: Ipv4Addr, address: SocketAddr) -> io::Result<Connection> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    bind(&socket, &SocketAddrV4::new(client, 0))?;
    rustix::net::connect(&socket, &address)?;
    Connection::new(TcpStream::from(socket))
}

/// Connects to a unix socket.
pub fn connect_unix(path: &Path) -> io::Result<Connection<UnixStream>> {
    Connection::new(UnixStream::connect(path)?)
}

/// One request on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    let mut connection = connect(address)?;
    connection.send(
        format!("GET {path} HTTP/1.1\r\nHost: playground\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    connection.receive()
}

impl<S: Stream> Connection<S> {
    /// Takes a connected stream; every read and write is bounded by [`PATIENCE`].
    pub fn new(stream: S) -> io::Result<Self> {
        stream.limit(PATIENCE)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        self.stream.get_ref()
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// A request that leaves the connection open, without its answer.
    pub fn ask(&mut self, path: &str) -> io::Result<()> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: playground\r\n\r\n").as_bytes())
    }

    /// A request and its answer.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        self.ask(path)?;
        self.receive()
    }

    /// Posts a body.
    pub fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Response> {
        let length = body.len();
        self.send(
            format!("POST {path} HTTP/1.1\r\nHost: playground\r\nContent-Length: {length}\r\n\r\n")
                .as_bytes(),
        )?;
        self.send(body)?;
        self.receive()
    }

    /// Who is at the other end.
    pub fn whoami(&mut self) -> io::Result<Whoami> {
        let response = self.get("/whoami")?;
        Ok(serde_json::from_slice(&response.body)?)
    }

    /// The head of an answer, with an empty body.
    pub fn receive_head(&mut self) -> io::Result<Response> {
        let status = self.line()?;
        let status = status
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| invalid(&format!("not a status line: {status:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Response {
            status,
            headers,
            body: Vec::new(),
        })
    }

    /// A whole answer.
    pub fn receive(&mut self) -> io::Result<Response> {
        let mut response = self.receive_head()?;
        if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().map_err(|_| invalid(length))?;
            response.body = vec![0; length];
            self.stream.read_exact(&mut response.body)?;
        } else if response.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.receive_chunk()? {
                response.body.extend(chunk);
            }
        }
        Ok(response)
    }

    /// The next chunk of a chunked body; `None` after the last.
    pub fn receive_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| invalid(&size))?;
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk)?;
        self.line()?;
        Ok((size > 0).then_some(chunk))
    }

    /// Some bytes, at least one; an error at the end.
    pub fn receive_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads until the server closes, and returns what came. A reset is an end like any other.
    pub fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => bytes,
            Err(e) => panic!("the connection did not end: {e}"),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            ));
        }
        Ok(line.trim_end().to_owned())
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}
