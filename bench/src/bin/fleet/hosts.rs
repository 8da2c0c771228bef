//! Simulated hosts: members of one fleet in one process, and what is done to them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hatchery::fleet::{About, Fleet, FleetBoot, LeaseHandle, Subscription};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::LEASE;
use super::redis::Redis;

const LONG: Duration = Duration::from_secs(300);
/// How many members send at once in the burst.
const SENDERS: usize = 10;
/// What is broadcast.
const PAYLOAD: [u8; 100] = [b'x'; 100];

pub(crate) struct Hosts {
    fleets: Vec<Fleet>,
    leases: Vec<LeaseHandle>,
    ears: Vec<Subscription>,
}

impl Hosts {
    /// So many, connected, when each of so many leases is held by one of them.
    pub(crate) async fn join(redis: &Redis, count: usize, leases: usize) -> Result<Self> {
        let mut hosts = Self {
            fleets: Vec::with_capacity(count),
            leases: Vec::with_capacity(count * leases),
            ears: Vec::with_capacity(count),
        };
        for _ in 0..count {
            let boot = FleetBoot {
                address: redis.address(),
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
            hosts.fleets.push(Fleet::join(boot, about));
            // Not all at once: hosts are not switched on in the same millisecond either.
            sleep(Duration::from_millis(2)).await;
        }
        hosts.connected().await?;
        for fleet in &hosts.fleets {
            for number in 0..leases {
                hosts.leases.push(fleet.lease(&format!("job-{number}"))?);
            }
            hosts.ears.push(fleet.subscribe("news")?);
        }
        let held = || hosts.leases.iter().filter(|lease| lease.is_held()).count();
        let settled = async {
            while held() < leases {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(LONG, settled)
            .await
            .context("not all leases are held")?;
        Ok(hosts)
    }

    async fn connected(&self) -> Result<()> {
        let all = async {
            for fleet in &self.fleets {
                fleet.connected().await;
            }
        };
        timeout(LONG, all).await.context("not all members connect")
    }

    /// Broadcasts, one after the other: until the last member has each, the quickest first.
    pub(crate) async fn broadcast(&mut self, count: usize) -> Result<Vec<Duration>> {
        self.connected().await?;
        let sender = self.fleets.first().context("there is a member")?;
        let everybody = u64::try_from(self.fleets.len())?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let sent = Instant::now();
            let reached = sender.broadcast_bytes("news", &PAYLOAD).await?;
            ensure!(reached == everybody, "only {reached} hosts are connected");
            for ear in &mut self.ears {
                timeout(LONG, ear.next())
                    .await
                    .context("a broadcast does not arrive")?;
            }
            times.push(sent.elapsed());
        }
        times.sort_unstable();
        Ok(times)
    }

    /// So many from several members at once: deliveries in a second. Each sender waits for Redis's word on one before it sends
    /// the next, and no listener's queue is short.
    pub(crate) async fn burst(&mut self, count: usize) -> Result<f64> {
        self.connected().await?;
        let everybody = u64::try_from(self.fleets.len())?;
        let began = Instant::now();
        let mut sending = JoinSet::new();
        for fleet in self.fleets.iter().cycle().take(SENDERS) {
            let (fleet, count) = (fleet.clone(), count / SENDERS);
            sending.spawn(async move {
                for _ in 0..count {
                    let reached = fleet.broadcast_bytes("news", &PAYLOAD).await?;
                    ensure!(reached == everybody, "only {reached} hosts are connected");
                }
                anyhow::Ok(count)
            });
        }
        let mut sent = 0;
        while let Some(one) = sending.join_next().await {
            sent += one??;
        }
        for ear in &mut self.ears {
            for _ in 0..sent {
                timeout(LONG, ear.next())
                    .await
                    .context("a broadcast of the burst does not arrive")?;
            }
            ensure!(ear.missed() == 0, "a listener's queue was full");
        }
        let deliveries = u32::try_from(sent * self.ears.len())?;
        Ok(f64::from(deliveries) / began.elapsed().as_secs_f64())
    }

    /// Everybody loses the connection at once: until the last one has it again.
    pub(crate) async fn cut(&self, redis: &Redis) -> Result<Duration> {
        redis.ask("CLIENT KILL TYPE normal")?;
        redis.ask("CLIENT KILL TYPE pubsub")?;
        let began = Instant::now();
        let unaware = |fleet: &Fleet| fleet.status().is_some_and(|status| status.losses == 0);
        while self.fleets.iter().any(unaware) {
            ensure!(began.elapsed() < LONG, "not everybody notices");
            sleep(Duration::from_millis(5)).await;
        }
        self.connected().await?;
        Ok(began.elapsed())
    }

    pub(crate) async fn leave(self) {
        for fleet in &self.fleets {
            fleet.leave().await;
        }
    }
}
