//! A Redis server of one test's own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait::{PATIENCE, expect, until};

/// A server in a directory of its own, killed when dropped. It keeps nothing on disk.
#[derive(Debug)]
pub struct Redis {
    process: Child,
    folder: TempDir,
    port: u16,
    more: Vec<String>,
}

impl Redis {
    /// Starts one, with these options behind those that all have. Needs the Debian package `redis-server`.
    pub fn start(more: &[&str]) -> Self {
        let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        // Another process may take the port in between.
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut redis = Self {
                process: launch(folder.path(), port, &more),
                folder,
                port,
                more: more.clone(),
            };
            if redis.came_up() {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks it something on a connection of its own; the answer as it comes, line by line.
    pub fn ask(&self, command: &str) -> String {
        self.try_ask(command).unwrap()
    }

    /// Lets this user in, for an application of that name: with the rights that the documentation says, and no others.
    pub fn allow(&self, user: &str, password: &str, name: &str) {
        let rights = include_str!("../../docs/fleet.md")
            .split_once("ACL SETUSER myapp on >PASSWORD")
            .and_then(|(_, rights)| rights.split_once("```"))
            .map(|(rights, _)| rights.replace("{myapp}", &format!("{{{name}}}")));
        let rights = rights.unwrap();
        let rights: Vec<&str> = rights.split_whitespace().collect();
        let said = self.ask(&format!(
            "ACL SETUSER {user} on >{password} {}",
            rights.join(" ")
        ));
        assert_eq!(said, "+OK");
    }

    fn try_ask(&self, command: &str) -> std::io::Result<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        (&stream).write_all(format!("{command}\r\n").as_bytes())?;
        let mut reader = BufReader::new(&stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let Some(length) = first.strip_prefix('$').and_then(|n| n.trim().parse().ok()) else {
            return Ok(first.trim().to_owned());
        };
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Stops it in the middle of whatever it does (SIGSTOP).
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Kills it and starts it again on the same port, with nothing left of its data.
    pub fn restart(&mut self) {
        self.kill();
        self.revive();
    }

    /// Kills it.
    pub fn kill(&mut self) {
        // It may be gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again after [`kill`](Self::kill).
    pub fn revive(&mut self) {
        expect("redis-server comes back", || {
            self.process = launch(self.folder.path(), self.port, &self.more);
            self.came_up()
        });
    }

    fn came_up(&mut self) -> bool {
        until(PATIENCE, || {
            if self.process.try_wait().is_ok_and(|exit| exit.is_some()) {
                return Some(false);
            }
            // NOAUTH is an answer, too.
            let answers = self.try_ask("PING").is_ok_and(|said| !said.is_empty());
            answers.then_some(true)
        })
        .unwrap_or(false)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One that nobody uses at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn launch(folder: &Path, port: u16, more: &[String]) -> Child {
    let port = port.to_string();
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
