//! What a fleet costs its Redis: as many members as asked for, all in this process, on a real redis-server of its
//! own. Prints one table, with what is expected by calculation beside what was measured.
//!
//! Redis's processor time is its own account of it (`INFO cpu`), so it means the same on a busy machine. Members
//! are real: each has its two connections, beats, hears itself and contends for every lease.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use hatchery::fleet::{About, Fleet, FleetBoot, LeaseHandle};
use tokio::time::{Instant, sleep, timeout};

#[derive(Debug, Parser)]
struct Arguments {
    /// How many hosts, one round for each number.
    #[arg(long, value_delimiter = ',', default_value = "100,300,1000")]
    hosts: Vec<usize>,
    /// How many leases every host contends for.
    #[arg(long, default_value_t = 10)]
    leases: usize,
    /// How long to look, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Broadcasts of 100 bytes, one after the other.
    #[arg(long, default_value_t = 100)]
    broadcasts: usize,
    /// And so many from ten members at once.
    #[arg(long, default_value_t = 300)]
    burst: usize,
}

/// As the setting's default.
const LEASE: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(300);
/// How many members send at once in the burst.
const SENDERS: usize = 10;

/// A server that is killed when dropped.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start() -> Result<Self> {
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

    fn ask(&self, command: &str) -> Result<String> {
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

    fn look(&self) -> Result<Look> {
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

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Counters of the server's, at one moment.
struct Look {
    cpu: f64,
    scripts: f64,
    messages: f64,
    bytes_in: f64,
    bytes_out: f64,
    clients: f64,
    commands: f64,
    memory: f64,
}

/// What one round comes to, in the order of the table's columns.
struct Round {
    cells: Vec<String>,
}

async fn members(redis: &Redis, count: usize) -> Result<Vec<Fleet>> {
    let mut fleets = Vec::with_capacity(count);
    for _ in 0..count {
        let boot = FleetBoot {
            address: format!("redis://127.0.0.1:{}", redis.port),
            user: None,
            password_file: None,
            ca_file: None,
            lease: LEASE,
        };
        let about = About {
            name: "bench".into(),
            version: Some("1.0.0".into()),
            workers: Arc::new(|| 16),
        };
        fleets.push(Fleet::join(boot, about));
        // Not all at once: hosts are not switched on in the same millisecond either.
        sleep(Duration::from_millis(2)).await;
    }
    all_connected(&fleets).await?;
    Ok(fleets)
}

async fn all_connected(fleets: &[Fleet]) -> Result<()> {
    let all = async {
        for fleet in fleets {
            fleet.connected().await;
        }
    };
    timeout(LONG, all).await.context("not all members connect")
}

async fn round(arguments: &Arguments, hosts: usize) -> Result<Round> {
    let redis = Redis::start()?;
    let fleets = members(&redis, hosts).await?;
    let leases: Vec<Vec<LeaseHandle>> = fleets
        .iter()
        .map(|fleet| {
            (0..arguments.leases)
                .map(|n| fleet.lease(&format!("job-{n}")))
                .collect()
        })
        .collect::<Result<_, _>>()?;
    let held = || {
        leases
            .iter()
            .flatten()
            .filter(|lease| lease.is_held())
            .count()
    };
    let settled = async {
        while held() < arguments.leases {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, settled)
        .await
        .context("not all leases are held")?;

    // Part one: nothing happens but the fleet itself.
    let (before, began) = (redis.look()?, Instant::now());
    sleep(Duration::from_secs(arguments.seconds)).await;
    let (after, seconds) = (redis.look()?, began.elapsed().as_secs_f64());
    let rate = |now: f64, then: f64| (now - then) / seconds;

    // Part two: broadcasts, one after the other, each timed until the last member has it.
    let mut ears = fleets
        .iter()
        .map(|fleet| fleet.subscribe("news"))
        .collect::<Result<Vec<_>, _>>()?;
    let payload = [b'x'; 100];
    let sender = fleets.first().context("there is a member")?;
    let (quiet, mut times) = (redis.look()?, Vec::new());
    let began_sending = Instant::now();
    for _ in 0..arguments.broadcasts {
        let sent = Instant::now();
        sender.broadcast_bytes("news", &payload).await?;
        for ear in &mut ears {
            timeout(LONG, ear.next())
                .await
                .context("a broadcast does not arrive")?;
        }
        times.push(sent.elapsed());
    }
    let (busy, sending) = (redis.look()?, began_sending.elapsed().as_secs_f64());
    let own = rate(after.cpu, before.cpu) * sending;
    let count = u32::try_from(arguments.broadcasts)?;
    let each = (busy.cpu - quiet.cpu - own).max(0.0) / f64::from(count);
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let slowest = times.last().copied().unwrap_or_default();

    // Part three: many at once. Each sender waits for Redis's word on one before it sends the next, and no listener's
    // queue is short.
    let began_burst = Instant::now();
    let mut sending = tokio::task::JoinSet::new();
    for fleet in fleets.iter().cycle().take(SENDERS) {
        let (fleet, count) = (fleet.clone(), arguments.burst / SENDERS);
        sending.spawn(async move {
            for _ in 0..count {
                fleet.broadcast_bytes("news", &payload).await?;
            }
            anyhow::Ok(count)
        });
    }
    let mut burst = 0;
    while let Some(sent) = sending.join_next().await {
        burst += sent??;
    }
    for ear in &mut ears {
        for _ in 0..burst {
            timeout(LONG, ear.next())
                .await
                .context("a broadcast of the burst does not arrive")?;
        }
        ensure!(ear.missed() == 0, "a listener's queue was full");
    }
    let deliveries = f64::from(u32::try_from(burst * hosts)?) / began_burst.elapsed().as_secs_f64();

    // Part four: everybody loses the connection at once.
    redis.ask("CLIENT KILL TYPE normal")?;
    redis.ask("CLIENT KILL TYPE pubsub")?;
    let lost = Instant::now();
    while fleets
        .iter()
        .any(|fleet| fleet.status().is_some_and(|status| status.losses == 0))
    {
        ensure!(lost.elapsed() < LONG, "not everybody notices");
        sleep(Duration::from_millis(5)).await;
    }
    all_connected(&fleets).await?;
    let back = lost.elapsed();

    let n = f64::from(u32::try_from(hosts)?);
    let l = f64::from(u32::try_from(arguments.leases)?);
    // Each member beats every 3 s, with a message to itself. Holders renew each sixth of the lease; the others look
    // each third of it, and up to a quarter of that later, which is an eighth on the average.
    let looks = (n - 1.0) * l / (5.0 * 1.125) + l / 2.5;
    let cells = vec![
        format!("{hosts}"),
        format!("{:.0} / {:.0}", 2.0 * n, after.clients - 1.0),
        // A sign of life is a script and a message; scripts beyond are about leases.
        format!(
            "{:.0} / {:.0}",
            n / 3.0,
            rate(after.messages, before.messages)
        ),
        format!(
            "{:.0} / {:.0}",
            looks,
            rate(after.scripts, before.scripts) - rate(after.messages, before.messages)
        ),
        format!("{:.0}", rate(after.commands, before.commands)),
        format!("{:.1} %", rate(after.cpu, before.cpu) * 100.0),
        format!(
            "{:.2} / {:.2}",
            rate(after.bytes_in, before.bytes_in) / 1e6,
            rate(after.bytes_out, before.bytes_out) / 1e6
        ),
        format!("{:.1}", after.memory / 1e6),
        format!("{:.2} ms", each * 1e3),
        format!(
            "{:.1} / {:.1} ms",
            median.as_secs_f64() * 1e3,
            slowest.as_secs_f64() * 1e3
        ),
        format!("{deliveries:.0}"),
        format!("{:.1} s", back.as_secs_f64()),
    ];
    for fleet in &fleets {
        fleet.leave().await;
    }
    Ok(Round { cells })
}

#[tokio::main(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "it prints its table")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let leases = arguments.leases;
    println!(
        "{leases} leases of {} s that every host contends for; a pair is *calculated / measured*\n",
        LEASE.as_secs()
    );
    println!(
        "| hosts | connections | signs of life/s | about leases/s | commands/s | CPU of Redis | MB/s in / out \
         | MB in Redis | CPU of Redis for a broadcast | until all have it, median / slowest | deliveries/s in a burst \
         | all back after a cut |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for hosts in &arguments.hosts {
        let round = round(&arguments, *hosts).await?;
        println!("| {} |", round.cells.join(" | "));
    }
    Ok(())
}
