//! A server of the bench's own, and what it says about itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

/// A server that is killed when dropped.
pub(crate) struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    pub(crate) fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server (a Debian package) does not start")?;
        let redis = Self { process, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while redis.ask("PING").is_err() {
            ensure!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(redis)
    }

    pub(crate) fn ask(&self, command: &str) -> Result<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        (&stream).write_all(format!("{command}\r\n").as_bytes())?;
        let mut reader = BufReader::new(&stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let Some(length) = first.strip_prefix('$') else {
            return Ok(first);
        };
        let mut body = vec![0; length.trim().parse()?];
        reader.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }

    pub(crate) fn look(&self) -> Result<Look> {
        let info = self.ask("INFO all")?;
        let facts: BTreeMap<&str, &str> = info
            .lines()
            .filter_map(|line| line.split_once(':'))
            .collect();
        let fact = |name: &str| facts.get(name).copied().unwrap_or("0");
        let number = |name: &str| fact(name).parse::<f64>().with_context(|| name.to_owned());
        let calls = |name: &str| {
            let stats = fact(name).strip_prefix("calls=").unwrap_or("0");
            stats
                .split(',')
                .next()
                .unwrap_or("0")
                .parse::<f64>()
                .with_context(|| name.to_owned())
        };
        Ok(Look {
            cpu: number("used_cpu_user")? + number("used_cpu_sys")?,
            scripts: calls("cmdstat_eval")?,
            messages: calls("cmdstat_publish")?,
            bytes_in: number("total_net_input_bytes")?,
            bytes_out: number("total_net_output_bytes")?,
            clients: number("connected_clients")?,
            commands: number("total_commands_processed")?,
            memory: number("used_memory")?,
        })
    }
}

impl Redis {
    pub(crate) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Counters of the server's, at one moment.
pub(crate) struct Look {
    pub(crate) cpu: f64,
    pub(crate) scripts: f64,
    pub(crate) messages: f64,
    pub(crate) bytes_in: f64,
    pub(crate) bytes_out: f64,
    pub(crate) clients: f64,
    pub(crate) commands: f64,
    pub(crate) memory: f64,
}
