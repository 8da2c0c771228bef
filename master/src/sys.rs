//! The only unsafe code of this crate.
#![expect(
    unsafe_code,
    reason = "who owns a descriptor, and for how long, is told by types here and by agreement elsewhere"
)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for a descriptor to be readable: a pidfd whose process is gone, a socket whose peer is.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and the same descriptor until it is dropped (I/O safety of std), and
    // the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Lets a listening TCP socket give connections when their first bytes are there (`TCP_DEFER_ACCEPT`,
/// tcp(7)), or so many seconds after they were made.
///
/// # Errors
///
/// As setsockopt(2).
pub(crate) fn defer_accept(socket: BorrowedFd<'_>, seconds: i32) -> io::Result<()> {
    let bytes = seconds.to_ne_bytes();
    let length = nix::libc::socklen_t::try_from(bytes.len()).unwrap_or_default();
    // SAFETY: the value is an `int`, `length` is the number of its bytes, and the kernel keeps no pointer.
    let done = unsafe {
        nix::libc::setsockopt(
            socket.as_raw_fd(),
            nix::libc::IPPROTO_TCP,
            nix::libc::TCP_DEFER_ACCEPT,
            bytes.as_ptr().cast(),
            length,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets clients of a group of sockets (`SO_REUSEPORT`, socket(7)) come to its first `count` members only, to
/// each with the same probability. `socket` is any of them; what was said before is replaced.
///
/// # Errors
///
/// As setsockopt(2).
pub(crate) fn spread_over_first(socket: BorrowedFd<'_>, count: u32) -> io::Result<()> {
    use nix::libc::{
        BPF_ABS, BPF_ALU, BPF_K, BPF_LD, BPF_MOD, BPF_RET, BPF_W, SKF_AD_OFF, SKF_AD_RANDOM,
        sock_filter, sock_fprog,
    };
    /// Of `linux/bpf_common.h`: the result is the accumulator.
    const BPF_A: u32 = 0x10;
    let step = |code: u32, k: u32| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: 0,
        k,
    };
    let mut program = [
        step(
            BPF_LD | BPF_W | BPF_ABS,
            (SKF_AD_OFF + SKF_AD_RANDOM).cast_unsigned(),
        ),
        step(BPF_ALU | BPF_MOD | BPF_K, count.max(1)),
        step(BPF_RET | BPF_A, 0),
    ];
    let program = sock_fprog {
        len: 3,
        filter: program.as_mut_ptr(),
    };
    let length = nix::libc::socklen_t::try_from(size_of_val(&program)).unwrap_or_default();
    // SAFETY: `program` names three instructions that live until the call returns, `length` is its own size,
    // and the kernel checks and copies them and keeps no pointer.
    let done = unsafe {
        nix::libc::setsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_SOCKET,
            nix::libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            length,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The descriptors that a service manager handed to this process, with their names (sd_listen_fds(3)). The
/// first call gives them, every other none. To be called before anything is opened.
///
/// # Errors
///
/// The environment says what cannot be.
pub(crate) fn inherited_descriptors() -> io::Result<Vec<(OwnedFd, String)>> {
    static GIVEN: AtomicBool = AtomicBool::new(false);
    if GIVEN.swap(true, Relaxed) {
        return Ok(Vec::new());
    }
    let found = sd_notify::listen_fds_with_names()?;
    // SAFETY: each was just found open, the service manager made it for this process, nothing else of this
    // process has opened anything yet that could have the same number, and nobody gets it a second time.
    let own = |(fd, name)| (unsafe { OwnedFd::from_raw_fd(fd) }, name);
    Ok(found.map(own).collect())
}

/// Lets children inherit these descriptors, the standard streams, and nothing else that is open now.
///
/// # Errors
///
/// The first that is not open, or a kernel before 5.11, which leaves everything as it was.
pub(crate) fn pass_on_only(fds: &[RawFd]) -> Result<(), (RawFd, io::Error)> {
    // SAFETY: the call closes nothing and touches no memory of ours.
    let done = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_close_range,
            3,
            nix::libc::c_uint::MAX,
            nix::libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done != 0 {
        return Err((-1, io::Error::last_os_error()));
    }
    for fd in fds {
        // SAFETY: setting a flag of a descriptor touches no memory of ours; one that is not open is an error.
        if unsafe { nix::libc::fcntl(*fd, nix::libc::F_SETFD, 0) } != 0 {
            return Err((*fd, io::Error::last_os_error()));
        }
    }
    Ok(())
}
