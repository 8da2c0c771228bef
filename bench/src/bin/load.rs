//! Load that wrk cannot make: one connection after another on an idle machine, and long-lived connections that
//! arrive in bursts and ask for uneven work. Prints one JSON object; times are in microseconds.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, sleep_until};

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long)]
    port: u16,
    #[command(subcommand)]
    load: Load,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Load {
    /// Connect, ask, read the answer, close; again after a pause
    Sequential {
        #[arg(long, default_value_t = 1000)]
        requests: usize,
        #[arg(long, default_value_t = 500)]
        pause_us: u64,
    },
    /// Bursts of connections that stay. Each asks now and then, for hello or, once in 20, for work of 50 ms
    Bursts {
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Connections in a burst
        #[arg(long, default_value_t = 16)]
        burst: usize,
        /// From one burst to the next
        #[arg(long, default_value_t = 250)]
        gap_ms: u64,
        /// Mean time from one request of a connection to the next
        #[arg(long, default_value_t = 160)]
        interval_ms: u64,
        #[arg(long, default_value_t = 4)]
        seconds: u64,
    },
}

/// One in so many requests is expensive.
const EXPENSIVE: u32 = 20;

fn main() -> anyhow::Result<()> {
    let Arguments { port, load } = Arguments::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let result = match load {
        Load::Sequential { requests, pause_us } => {
            sequential(address, requests, Duration::from_micros(pause_us))?
        }
        Load::Bursts {
            connections,
            burst,
            gap_ms,
            interval_ms,
            seconds,
        } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let end = Instant::now() + Duration::from_secs(seconds);
                let mut tasks = Vec::new();
                for number in 0..connections {
                    if number > 0 && number.is_multiple_of(burst) {
                        sleep(Duration::from_millis(gap_ms)).await;
                    }
                    tasks.push(tokio::spawn(connection(address, number, interval_ms, end)));
                }
                let mut answers = Vec::new();
                for task in tasks {
                    answers.extend(task.await??);
                }
                summary(&answers)
            })?
        }
    };
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}

fn sequential(address: SocketAddr, requests: usize, pause: Duration) -> anyhow::Result<Value> {
    let mut times = Vec::with_capacity(requests);
    let mut answer = [0; 4096];
    for _ in 0..requests {
        std::thread::sleep(pause);
        let began = std::time::Instant::now();
        let mut connection = TcpStream::connect(address)?;
        connection.write_all(&request("/"))?;
        let length = connection.read(&mut answer)?;
        times.push(began.elapsed());
        // Small enough to come in one piece, from every server.
        ensure!(
            whole(answer.get(..length).unwrap_or_default()),
            "the answer is not whole"
        );
    }
    Ok(json!({ "p50": percentile(&mut times, 0.5), "p99": percentile(&mut times, 0.99) }))
}

struct Answer {
    took: Duration,
    expensive: bool,
}

async fn connection(
    address: SocketAddr,
    number: usize,
    interval_ms: u64,
    end: Instant,
) -> anyhow::Result<Vec<Answer>> {
    // The same requests at the same times for every server.
    let mut random = fastrand::Rng::with_seed(number as u64);
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    let mut answers = Vec::new();
    let mut due = Instant::now();
    loop {
        due += Duration::from_millis(random.u64(interval_ms / 2..interval_ms * 3 / 2));
        // The second is for servers that cannot keep up: what they owe at the end is not asked for any more.
        if due >= end || Instant::now() >= end {
            return Ok(answers);
        }
        // One who is late because the answer before was late has waited since it was due. The timer's own
        // lag, up to a millisecond, does not count.
        let late = Instant::now() > due;
        sleep_until(due).await;
        let began = if late { due } else { Instant::now() };
        let expensive = random.u32(0..EXPENSIVE) == 0;
        stream
            .write_all(&request(if expensive { "/burn" } else { "/" }))
            .await?;
        let mut length = 0;
        while !whole(buffer.get(..length).unwrap_or_default()) {
            let rest = buffer.get_mut(length..).context("the answer is too long")?;
            let read = stream.read(rest).await?;
            ensure!(read > 0, "the server has closed the connection");
            length += read;
        }
        answers.push(Answer {
            took: began.elapsed(),
            expensive,
        });
    }
}

fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Whether these are a whole answer: its header, and as much as that announces or a last chunk.
fn whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((header, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let header = header.to_ascii_lowercase();
    match header.split_once("content-length: ") {
        Some((_, rest)) => rest
            .split("\r\n")
            .next()
            .and_then(|length| length.parse().ok())
            .is_some_and(|l: usize| body.len() >= l),
        None => body.ends_with("0\r\n\r\n"),
    }
}

fn summary(answers: &[Answer]) -> anyhow::Result<Value> {
    ensure!(!answers.is_empty(), "nothing was asked");
    let mut all: Vec<_> = answers.iter().map(|answer| answer.took).collect();
    let mut cheap: Vec<_> = answers
        .iter()
        .filter(|answer| !answer.expensive)
        .map(|answer| answer.took)
        .collect();
    Ok(json!({
        "requests": all.len(),
        "p50": percentile(&mut all, 0.5),
        "p99": percentile(&mut all, 0.99),
        "cheap_p50": percentile(&mut cheap, 0.5),
        "cheap_p99": percentile(&mut cheap, 0.99),
    }))
}

/// The nearest rank.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank among some thousand"
)]
fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let rank = (times.len() as f64 * share).ceil() as usize;
    times
        .get(rank.saturating_sub(1))
        .map_or(0.0, |time| time.as_secs_f64() * 1e6)
}
