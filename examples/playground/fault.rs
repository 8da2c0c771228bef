//! The ways a hook can go wrong.

use std::str::FromStr;
use std::time::Duration;

use hatchery::BoxError;

/// What a hook does instead of its work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `ok`: nothing goes wrong.
    #[default]
    None,
    /// `fail`: it returns an error.
    Fail,
    /// `panic`: it panics.
    Panic,
    /// `hang`: it never returns, but leaves the thread to others.
    Hang,
    /// `exit:CODE`: the process ends under it.
    Exit(u8),
    /// `block:MS`: it keeps the thread for so many milliseconds, and then succeeds.
    Block(Duration),
    /// `slow:MS`: it takes so many milliseconds, and then succeeds.
    Slow(Duration),
}

impl Fault {
    /// Lets it happen.
    pub(crate) async fn happen(self) -> Result<(), BoxError> {
        match self {
            Self::None => Ok(()),
            Self::Fail => Err("this was asked for".into()),
            Self::Panic => panic(),
            Self::Hang => std::future::pending().await,
            Self::Exit(code) => exit(code),
            Self::Block(time) => {
                std::thread::sleep(time);
                Ok(())
            }
            Self::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
        }
    }
}

/// Stands still for ever while the file that `PLAYGROUND_MUTE_FILE` names holds this process's role: as one does
/// whose disk does not answer, and whose `main` has not begun.
pub(crate) fn before_everything() {
    let file = std::env::var_os("PLAYGROUND_MUTE_FILE");
    let role = std::env::var("HATCHERY_CHILD_ROLE");
    if let (Some(file), Ok(role)) = (file, role)
        && std::fs::read_to_string(file).is_ok_and(|mute| mute == role)
    {
        loop {
            std::thread::park();
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = match text.split_once(':') {
            None => match text {
                "ok" => Some(Self::None),
                "fail" => Some(Self::Fail),
                "panic" => Some(Self::Panic),
                "hang" => Some(Self::Hang),
                _ => None,
            },
            Some(("exit", code)) => code.parse().ok().map(Self::Exit),
            Some(("block", ms)) => ms.parse().ok().map(Duration::from_millis).map(Self::Block),
            Some(("slow", ms)) => ms.parse().ok().map(Duration::from_millis).map(Self::Slow),
            Some(_) => None,
        };
        fault.ok_or_else(|| {
            format!("{text:?} is not one of ok, fail, panic, hang, exit:CODE (0 to 255), block:MS, slow:MS")
        })
    }
}

#[expect(clippy::panic, reason = "what this program is for")]
pub(crate) fn panic() -> ! {
    panic!("this was asked for")
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "what this program is for"
)]
pub(crate) fn exit(code: u8) -> ! {
    std::process::exit(i32::from(code))
}
