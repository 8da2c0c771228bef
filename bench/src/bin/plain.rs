//! `axum::serve` in one process: what an author would have without hatchery.
//!
//! One thread is a current-thread runtime, as in a worker.

use std::io::Write as _;
use std::net::Ipv4Addr;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// Serves the benchmark's router on 127.0.0.1.
#[derive(Debug, Parser)]
struct Arguments {
    /// Threads of the runtime
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Port; 0 is any
    #[arg(long, default_value_t = 0)]
    port: u16,
}

fn main() -> anyhow::Result<()> {
    let Arguments { threads, port } = Arguments::parse();
    runtime(threads)?.block_on(serve(port))
}

fn runtime(threads: u16) -> std::io::Result<Runtime> {
    let mut builder = if threads == 1 {
        Builder::new_current_thread()
    } else {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads.into());
        builder
    };
    builder.enable_all().build()
}

async fn serve(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    writeln!(std::io::stdout(), "ready {}", listener.local_addr()?)?;
    axum::serve(listener, hatchery_bench::router()).await?;
    Ok(())
}
