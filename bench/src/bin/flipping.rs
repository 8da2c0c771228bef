//! The image server of `examples/` in one process, as one has it without hatchery: `axum::serve` on a runtime of several threads,
//! and as many flips at once as `IMAGES_FLIPS` says.

#[path = "../../../examples/image-server/service/mod.rs"]
mod service;

use std::io::Write as _;
use std::net::Ipv4Addr;

use anyhow::Error;
use clap::Parser;
use service::Settings;
use tokio::net::TcpListener;

#[derive(Debug, Parser)]
struct Arguments {
    /// Threads of the runtime
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
}

fn main() -> anyhow::Result<()> {
    let Arguments { threads } = Arguments::parse();
    let settings = Settings::from_environment().map_err(Error::msg)?;
    settings.check().map_err(Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.into())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        writeln!(std::io::stdout(), "ready {}", listener.local_addr()?)?;
        axum::serve(listener, service::router(settings)).await?;
        Ok(())
    })
}
