//! What a fleet costs its Redis: as many members as asked for, all in this process, on a real redis-server of its
//! own. Prints one table, with what is expected by calculation beside what was measured.
//!
//! Redis's processor time is its own account of it (`INFO cpu`), so it means the same on a busy machine. Members
//! are real: each has its two connections, beats, hears itself and contends for every lease.

mod hosts;
mod redis;

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use tokio::time::{Instant, sleep};

use hosts::Hosts;
use redis::{Look, Redis};

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

/// What the server has done in some time.
struct Rest {
    before: Look,
    after: Look,
    seconds: f64,
}

impl Rest {
    async fn look(redis: &Redis, time: Duration) -> Result<Self> {
        let (before, began) = (redis.look()?, Instant::now());
        sleep(time).await;
        let (after, seconds) = (redis.look()?, began.elapsed().as_secs_f64());
        Ok(Self {
            before,
            after,
            seconds,
        })
    }

    fn rate(&self, of: fn(&Look) -> f64) -> f64 {
        (of(&self.after) - of(&self.before)) / self.seconds
    }
}

/// One line of the table.
async fn round(arguments: &Arguments, count: usize) -> Result<Vec<String>> {
    let redis = Redis::start()?;
    let mut hosts = Hosts::join(&redis, count, arguments.leases).await?;
    // Nothing happens but the fleet itself.
    let rest = Rest::look(&redis, Duration::from_secs(arguments.seconds)).await?;

    let (quiet, began) = (redis.look()?, Instant::now());
    let times = hosts.broadcast(arguments.broadcasts).await?;
    let (busy, sending) = (redis.look()?, began.elapsed().as_secs_f64());
    let own = rest.rate(|look| look.cpu) * sending;
    let broadcasts = f64::from(u32::try_from(arguments.broadcasts)?);
    let each = (busy.cpu - quiet.cpu - own).max(0.0) / broadcasts;
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let slowest = times.last().copied().unwrap_or_default();
    let deliveries = hosts.burst(arguments.burst).await?;
    let back = hosts.cut(&redis).await?;
    hosts.leave().await;

    let n = f64::from(u32::try_from(count)?);
    let l = f64::from(u32::try_from(arguments.leases)?);
    // Each member beats every 3 s, with a message to itself. Holders renew each sixth of the lease; the others look
    // each third of it, and up to a quarter of that later, which is an eighth on the average.
    let looks = (n - 1.0) * l / (5.0 * 1.125) + l / 2.5;
    let messages = rest.rate(|look| look.messages);
    // A sign of life is a script and a message; scripts beyond are about leases.
    let about_leases = rest.rate(|look| look.scripts) - messages;
    Ok(vec![
        format!("{count}"),
        format!("{:.0} / {:.0}", 2.0 * n, rest.after.clients - 1.0),
        format!("{:.0} / {messages:.0}", n / 3.0),
        format!("{looks:.0} / {about_leases:.0}"),
        format!("{:.0}", rest.rate(|look| look.commands)),
        format!("{:.1} %", rest.rate(|look| look.cpu) * 100.0),
        format!(
            "{:.2} / {:.2}",
            rest.rate(|look| look.bytes_in) / 1e6,
            rest.rate(|look| look.bytes_out) / 1e6
        ),
        format!("{:.1}", rest.after.memory / 1e6),
        format!("{:.2} ms", each * 1e3),
        format!(
            "{:.1} / {:.1} ms",
            median.as_secs_f64() * 1e3,
            slowest.as_secs_f64() * 1e3
        ),
        format!("{deliveries:.0}"),
        format!("{:.1} s", back.as_secs_f64()),
    ])
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
        let cells = round(&arguments, *hosts).await?;
        println!("| {} |", cells.join(" | "));
    }
    Ok(())
}
