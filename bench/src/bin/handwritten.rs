//! A strategy of hatchery's, written by hand on hyper with nothing around it: the floor.
//!
//! No supervision, no drain, no limit, no timeout, no acknowledgement: a connection that a worker does not take
//! is lost, and a worker that dies stays dead. What it does do, it does as cheaply as it can be written down.

use std::convert::Infallible;
use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use axum::body::Body;
use clap::{Parser, ValueEnum};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, accept_with, recvmsg, sendmsg,
};
use socket2::{Domain, Socket, Type};
use tokio::io::Interest;

/// For one descriptor.
const SPACE: usize = rustix::cmsg_space!(ScmRights(1));

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Strategy {
    RoundRobin,
    Shared,
    ReusePort,
}

#[derive(Clone, Debug, Parser)]
struct Arguments {
    #[arg(long, value_enum, default_value = "round-robin")]
    strategy: Strategy,
    #[arg(long, default_value_t = 2)]
    workers: usize,
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Answer without axum
    #[arg(long)]
    bare: bool,
    /// Be a worker: standard input is the socket to get connections from
    #[arg(long, hide = true)]
    worker: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if !arguments.worker {
        return master(&arguments);
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build()?.block_on(worker(arguments))
}

fn master(arguments: &Arguments) -> anyhow::Result<()> {
    let first = listen(arguments.port)?;
    let address = first.local_addr()?.as_socket().context("no address")?;
    let (mut children, mut channels) = (Vec::new(), Vec::new());
    for number in 0..arguments.workers {
        let theirs: OwnedFd = match arguments.strategy {
            Strategy::RoundRobin => {
                let (ours, theirs) = UnixStream::pair()?;
                channels.push(ours);
                theirs.into()
            }
            Strategy::ReusePort if number > 0 => listen(address.port())?.into(),
            Strategy::ReusePort | Strategy::Shared => first.try_clone()?.into(),
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1)).arg("--worker");
        children.push(command.stdin(Stdio::from(theirs)).spawn()?);
    }
    writeln!(io::stdout(), "ready {address}")?;
    for channel in channels.iter().cycle() {
        let connection = accept_with(&first, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        let (mut space, rights) = ([MaybeUninit::uninit(); SPACE], [connection.as_fd()]);
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&rights));
        let (byte, flags) = ([IoSlice::new(&[0])], SendFlags::empty());
        sendmsg(channel, &byte, &mut control, flags)?;
    }
    for mut child in children {
        child.wait()?;
    }
    Ok(())
}

fn listen(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(4096)?;
    Ok(socket)
}

async fn worker(arguments: Arguments) -> anyhow::Result<()> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    let router = TowerToHyperService::new(hatchery_bench::router());
    let serve = |stream: tokio::net::TcpStream| {
        let (io, http) = (TokioIo::new(stream), http1::Builder::new());
        if arguments.bare {
            drop(tokio::spawn(http.serve_connection(io, service_fn(bare))));
        } else {
            drop(tokio::spawn(http.serve_connection(io, router.clone())));
        }
    };
    if let Strategy::RoundRobin = arguments.strategy {
        let channel = tokio::net::UnixStream::from_std(socket.into())?;
        let take = || receive(&channel);
        while let Some(connection) = channel.async_io(Interest::READABLE, take).await? {
            serve(tokio::net::TcpStream::from_std(connection)?);
        }
        return Ok(());
    }
    let listener = tokio::net::TcpListener::from_std(socket.into())?;
    loop {
        serve(listener.accept().await?.0);
    }
}

fn receive(channel: &tokio::net::UnixStream) -> io::Result<Option<TcpStream>> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let (mut byte, flags) = ([0], RecvFlags::CMSG_CLOEXEC);
    recvmsg(
        channel,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        flags,
    )?;
    let connection = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    Ok(connection.map(TcpStream::from))
}

async fn bare(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(match request.uri().path() {
        "/whoami" => Body::from(std::process::id().to_string()),
        _ => Body::from("Hello World"),
    }))
}
