//! Clients that all come at once.

use crate::cluster::Cluster;
use crate::http::{Connection, Whoami};

/// Clients that have connected and asked who serves them, and wait for their answers.
#[derive(Debug)]
pub struct Crowd(Vec<Connection>);

impl Crowd {
    /// So many clients. Each connects at once: nobody is refused, whoever is there to serve.
    #[track_caller]
    pub fn gather(cluster: &Cluster, count: usize) -> Self {
        let mut crowd = Self(Vec::new());
        crowd.grow(cluster, count);
        crowd
    }

    /// So many more.
    #[track_caller]
    pub fn grow(&mut self, cluster: &Cluster, count: usize) {
        for _ in 0..count {
            let mut connection = cluster.connect();
            connection.ask("/whoami").unwrap();
            self.0.push(connection);
        }
    }

    /// Who answered each of them. They stay connected.
    #[track_caller]
    pub fn answers(&mut self) -> Vec<Whoami> {
        let answer = |connection: &mut Connection| {
            let response = connection.receive().unwrap();
            assert_eq!(response.status, 200);
            serde_json::from_slice(&response.body).unwrap()
        };
        self.0.iter_mut().map(answer).collect()
    }
}
