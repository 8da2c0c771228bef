//! As much of HTTP as a question takes.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How much of an answer is read at most.
const MOST: u64 = 64 * 1024 * 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status, as 200.
    pub status: u16,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of this name, in whatever letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

fn connect(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// HTTP/1.0: the end of the answer is the end of the connection.
pub(super) fn get(address: SocketAddr, path: &str, patience: Duration) -> io::Result<Response> {
    let mut stream = connect(address, patience)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(MOST).read_to_end(&mut bytes)?;
    response(&bytes).ok_or_else(|| io::Error::other("what came is no answer of HTTP"))
}

fn response(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = bytes.split_at_checked(end)?;
    let mut lines = str::from_utf8(head).ok()?.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Response {
        status: status.parse().ok()?,
        headers: headers.collect(),
        body: body.get(4..)?.to_vec(),
    })
}

/// Returns when the answer begins, and keeps the connection.
pub(super) fn ask(address: SocketAddr, path: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut stream = connect(address, patience)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    match stream.read(&mut [0; 512])? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer =
            response(b"HTTP/1.0 404 Not Found\r\nX-Who: me \r\nA: b\r\n\r\nno\r\n\r\nthing");
        let answer = answer.unwrap();
        assert_eq!(answer.status, 404);
        assert_eq!(answer.header("x-who"), Some("me"));
        assert_eq!(answer.header("b"), None);
        assert_eq!(answer.text(), "no\r\n\r\nthing");
        for nonsense in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 two\r\n\r\n",
        ] {
            assert_eq!(response(nonsense.as_bytes()), None, "{nonsense}");
        }
    }
}
