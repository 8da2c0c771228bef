//! Clients that do not rest, until standard input ends: some post again and again on a connection that they keep,
//! others come anew for each request. Prints one JSON object: what was answered, what was not, and why not.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long)]
    port: u16,
    /// Clients that keep their connection as long as they may
    #[arg(long, default_value_t = 64)]
    staying: u64,
    /// Clients that come anew for each request
    #[arg(long, default_value_t = 64)]
    coming: u64,
}

/// Who waits longer than this for an answer is hung.
const PATIENCE: Duration = Duration::from_secs(10);
/// From an answer to the next request. The clients are not what is measured, and need processors, too.
const PAUSE: Duration = Duration::from_millis(5);

/// What happened to one client.
#[derive(Debug, Default)]
struct Seen {
    answered: u64,
    longest: Duration,
    failures: BTreeMap<String, u64>,
}

fn main() -> anyhow::Result<()> {
    let Arguments {
        port,
        staying,
        coming,
    } = Arguments::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let over = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&over);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Relaxed);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let all = runtime.block_on(async {
        let clients: Vec<_> = (0..staying + coming)
            .map(|number| {
                let over = Arc::clone(&over);
                tokio::spawn(client(address, number, number < staying, over))
            })
            .collect();
        let mut all = Seen::default();
        for client in clients {
            let seen = client.await?;
            all.answered += seen.answered;
            all.longest = all.longest.max(seen.longest);
            for (why, count) in seen.failures {
                *all.failures.entry(why).or_default() += count;
            }
        }
        anyhow::Ok(all)
    })?;
    let result = json!({
        "answered": all.answered,
        "failed": all.failures.values().sum::<u64>(),
        "longest_ms": all.longest.as_secs_f64() * 1e3,
        "why": all.failures,
    });
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}

async fn client(address: SocketAddr, number: u64, stays: bool, over: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !over.load(Relaxed) {
        if let Err(error) = visit(address, number, stays, &over, &mut seen).await {
            *seen.failures.entry(format!("{error:#}")).or_default() += 1;
        }
    }
    seen
}

/// One connection, until it is asked to leave or has what it came for.
async fn visit(
    address: SocketAddr,
    number: u64,
    stays: bool,
    over: &AtomicBool,
    seen: &mut Seen,
) -> anyhow::Result<()> {
    let mut stream: Option<TcpStream> = None;
    loop {
        let body = format!("{number}/{} ", seen.answered).repeat(64);
        let began = Instant::now();
        let asking = async {
            let open = match stream.take() {
                Some(open) => open,
                None => TcpStream::connect(address).await.context("connecting")?,
            };
            let mut open = open;
            let closes = ask(&mut open, &body).await?;
            anyhow::Ok((open, closes))
        };
        let Ok(asked) = timeout(PATIENCE, asking).await else {
            bail!("no answer within {} s", PATIENCE.as_secs());
        };
        let (open, closes) = asked?;
        seen.longest = seen.longest.max(began.elapsed());
        seen.answered += 1;
        tokio::time::sleep(PAUSE).await;
        if closes || !stays || over.load(Relaxed) {
            return Ok(());
        }
        stream = Some(open);
    }
}

/// Posts, and compares. Whether the connection ends with the answer.
async fn ask(stream: &mut TcpStream, body: &str) -> anyhow::Result<bool> {
    let length = body.len();
    let request =
        format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    stream
        .write_all(request.as_bytes())
        .await
        .context("writing")?;
    let mut answer = Vec::new();
    loop {
        let read = stream.read_buf(&mut answer).await.context("reading")?;
        ensure!(read > 0, "the connection ended before the answer");
        let text = String::from_utf8_lossy(&answer);
        let Some((head, echo)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if echo.len() < length {
            continue;
        }
        let status = head.lines().next().unwrap_or_default();
        ensure!(head.starts_with("HTTP/1.1 200 "), "{status}");
        ensure!(echo == body, "another body than was sent");
        return Ok(head.to_ascii_lowercase().contains("connection: close"));
    }
}
