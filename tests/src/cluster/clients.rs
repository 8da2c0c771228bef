//! A cluster as its HTTP clients see it.

use std::net::{Ipv4Addr, SocketAddr};

use super::Cluster;
use crate::http::{self, Connection, Whoami};
use crate::process;
use crate::wait::{self, PATIENCE};

impl Cluster {
    /// The address it listens on, the first if there are several; known from egg-ready on.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.wait("egg-ready").address()
    }

    /// A connection to some worker.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        http::connect(self.address()).unwrap()
    }

    /// A connection to the worker in this slot, and what it says about itself. Who gets a connection is
    /// the kernel's choice, or goes by the client's address, so there may have to be several of several clients.
    #[track_caller]
    pub fn connect_to(&self, slot: u32) -> (Connection, Whoami) {
        let address = self.address();
        let mut clients = (1..=254).cycle().map(|host| Ipv4Addr::new(127, 0, 0, host));
        wait::until(PATIENCE, || {
            let client = clients.next().filter(|_| address.is_ipv4());
            let connected = client.map_or_else(
                || http::connect(address),
                |client| http::connect_from(client, address),
            );
            let mut connection = connected.unwrap();
            let who = connection.whoami().unwrap();
            (who.slot == slot).then_some((connection, who))
        })
        .unwrap_or_else(|| panic!("no connection ever went to slot {slot}"))
    }

    /// Lets the worker in this slot spin on the CPU for ever, and returns when it does so. The connection
    /// is for as long as the request is to last.
    #[track_caller]
    pub fn spin(&self, slot: u32) -> Connection {
        let (mut connection, who) = self.connect_to(slot);
        connection.ask("/spin/3600000").unwrap();
        let before = process::cpu_ticks(who.pid);
        // A tick is ten milliseconds: far more than the worker needs for anything else.
        wait::expect("the worker spins", || {
            process::cpu_ticks(who.pid) >= before + 10
        });
        connection
    }

    /// One request on a connection of its own, which must be answered with 200.
    #[track_caller]
    pub fn get(&self, path: &str) -> String {
        let response = http::get(self.address(), path).unwrap();
        assert_eq!(response.status, 200, "{path}");
        response.text().to_owned()
    }
}
