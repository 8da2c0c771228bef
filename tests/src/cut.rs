//! A network between two ends that a test can break.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::wait::pass;

/// How often somebody who waits looks whether the network is whole again.
const LOOK: Duration = Duration::from_millis(5);

/// What a network does to those who use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// It carries everything.
    Fine,
    /// It carries nothing and says nothing.
    Silent,
    /// It carries nothing from here to there; what is said there arrives.
    Mute,
    /// It carries nothing from there to here; what is said here arrives.
    Deaf,
    /// It ends every connection.
    Broken,
}

/// Carries TCP connections from an address of its own to wherever it leads.
#[derive(Debug)]
pub struct Network {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Weather {
    fn stops(self, way: Way) -> bool {
        match self {
            Self::Fine | Self::Broken => false,
            Self::Silent => true,
            Self::Mute => way == Way::There,
            Self::Deaf => way == Way::Back,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

#[derive(Debug, Clone, Copy)]
struct State {
    weather: Weather,
    leads_to: u16,
    over: bool,
}

impl Network {
    /// One that leads to this port here.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            weather: Weather::Fine,
            leads_to: port,
            over: false,
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, &shared));
        Self { address, state }
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn redis_url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// From now on.
    pub fn set(&self, weather: Weather) {
        self.state.lock().unwrap().weather = weather;
    }

    /// Where new connections lead from now on; those that there are end.
    pub fn lead_to(&self, port: u16) {
        self.state.lock().unwrap().leads_to = port;
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.state.lock().unwrap().over = true;
    }
}

fn accept(listener: &TcpListener, state: &Arc<Mutex<State>>) {
    loop {
        let now = *state.lock().unwrap();
        if now.over {
            return;
        }
        match listener.accept() {
            Ok((client, _)) if now.weather != Weather::Broken => {
                // A refused one is closed by being dropped.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", now.leads_to)) {
                    let port = now.leads_to;
                    carry(Way::There, &client, &server, state, port).unwrap();
                    carry(Way::Back, &server, &client, state, port).unwrap();
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => pass(LOOK),
            Err(error) => panic!("a network breaks by itself: {error}"),
        }
    }
}

/// One direction of a connection, on a thread of its own.
fn carry(
    way: Way,
    from: &TcpStream,
    to: &TcpStream,
    state: &Arc<Mutex<State>>,
    port: u16,
) -> io::Result<()> {
    let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
    from.set_nonblocking(false)?;
    from.set_read_timeout(Some(LOOK))?;
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        loop {
            let now = *state.lock().unwrap();
            if now.over || now.weather == Weather::Broken || now.leads_to != port {
                break;
            }
            if now.weather.stops(way) {
                pass(LOOK);
                continue;
            }
            match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => {
                    if to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        // Each may be closed already.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
    Ok(())
}
