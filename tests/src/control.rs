//! A client of the control socket that may be as rude as it likes.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use hatchery_protocol::wire::{Decoder, Frame, Kind, MAX_CONTROL_FRAME, encode};
use serde_json::Value;

use crate::wait::PATIENCE;

/// One connection to a master's control socket.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
    decoder: Decoder,
}

impl Control {
    /// Connects; every read and write is bounded.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            decoder: Decoder::new(MAX_CONTROL_FRAME),
        })
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes a body in a frame of the right kind.
    pub fn send_body(&mut self, body: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode(Kind::Control, 0, body, &mut bytes).map_err(io::Error::other)?;
        self.send(&bytes)
    }

    /// Asks by the name of the request.
    pub fn ask(&mut self, request: &str) -> io::Result<()> {
        self.send_body(
            serde_json::json!({ "request": request })
                .to_string()
                .as_bytes(),
        )
    }

    /// The next reply; `None` when the master closed. A reset is a close.
    pub fn receive(&mut self) -> Option<Value> {
        let frame = self.receive_frame()?;
        assert_eq!(frame.kind, Kind::Control);
        Some(serde_json::from_slice(&frame.body).unwrap())
    }

    fn receive_frame(&mut self) -> Option<Frame> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.decoder.push(&chunk[..read]),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("neither a reply nor the end of the connection: {e}"),
            }
        }
    }
}
