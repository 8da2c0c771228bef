//! As much of HTTP/2 as a test needs to see its frames.

use std::io;

use crate::http::{Connection, Stream};

/// A frame's kind.
pub const DATA: u8 = 0;
/// A frame's kind.
pub const HEADERS: u8 = 1;
/// A frame's kind.
pub const SETTINGS: u8 = 4;
/// A frame's kind.
pub const PING: u8 = 6;
/// A frame's kind.
pub const GOAWAY: u8 = 7;

const ACK: u8 = 1;
/// The frame is the last of its stream, and holds a whole header.
const END_STREAM_AND_HEADERS: u8 = 5;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// Begins HTTP/2 on a connection, as far as the server's settings.
pub fn begin<S: Stream>(mut connection: Connection<S>) -> Http2<S> {
    // The client's preface and its empty settings; the server answers with its own.
    connection
        .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    let mut http2 = Http2 {
        connection,
        next_stream: 1,
    };
    http2.send(SETTINGS, 0, 0, &[]).unwrap();
    assert_eq!(http2.receive().unwrap().kind, SETTINGS);
    http2
}

/// A connection that speaks HTTP/2.
#[derive(Debug)]
pub struct Http2<S> {
    connection: Connection<S>,
    next_stream: u8,
}

impl<S: Stream> Http2<S> {
    /// Writes one frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) -> io::Result<()> {
        let length = u8::try_from(payload.len()).unwrap();
        let header = [0, 0, length, kind, flags, 0, 0, 0, stream];
        self.connection.send(&[&header, payload].concat())
    }

    /// The next frame.
    pub fn receive(&mut self) -> io::Result<Frame> {
        let header = self.connection.receive_exact(9)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        Ok(Frame {
            kind: header[3],
            flags: header[4],
            payload: self.connection.receive_exact(length as usize)?,
        })
    }

    /// Asks for `/` and returns what it answers.
    pub fn get_root(&mut self) -> io::Result<String> {
        // Indexes into the static table of HPACK: GET, http, /.
        let request = [0x82, 0x86, 0x84];
        self.send(HEADERS, END_STREAM_AND_HEADERS, self.next_stream, &request)?;
        self.next_stream += 2;
        let mut body = Vec::new();
        loop {
            let frame = self.receive()?;
            match frame.kind {
                DATA => {
                    body.extend(&frame.payload);
                    if frame.flags & 1 == 1 {
                        return Ok(String::from_utf8(body).unwrap());
                    }
                }
                HEADERS => assert_eq!(frame.payload[0], 0x88, "status 200: {frame:?}"),
                GOAWAY => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
    }

    /// Answers pings until the server closes. Returns whether it asked to leave.
    pub fn leave_when_asked(&mut self) -> bool {
        let mut asked = false;
        while let Ok(frame) = self.receive() {
            asked |= frame.kind == GOAWAY;
            if frame.kind == PING && frame.flags & ACK == 0 {
                // It may have given up waiting for it.
                let _ = self.send(PING, ACK, 0, &frame.payload);
            }
        }
        asked
    }

    /// The connection, as one that does not listen any more.
    pub fn into_inner(self) -> Connection<S> {
        self.connection
    }
}
