//! What accept(2) says.

use rustix::io::Errno;

/// Whether an error belongs to the connection that was about to be accepted: the next may well succeed.
/// accept(2) lists pending network errors that Linux reports this way.
pub const fn is_about_one_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::INTR
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
    )
}
