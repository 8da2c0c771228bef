//! What may be set, and to what: variables of the environment, so that an operator can change them without a build.

use std::path::PathBuf;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// The bounds of one process.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `IMAGES_DIR`: where pictures are kept while they are worked on.
    pub(crate) dir: PathBuf,
    /// `IMAGES_MAX_MIB`: the largest file, in bytes.
    pub(crate) max_bytes: u64,
    /// `IMAGES_MAX_DECODED_MIB`: the most memory that the pixels of one picture may take, in bytes.
    pub(crate) max_decoded: u64,
    /// `IMAGES_FLIPS`: how many are decoded at once.
    pub(crate) flips: usize,
    /// `IMAGES_DESKS`: how many are dealt with at once, from the first byte that is read to the last that is flipped.
    pub(crate) desks: usize,
    /// `IMAGES_ARRIVAL_S`: how long a picture may take to arrive, once somebody reads it.
    pub(crate) arrival: Duration,
    /// `IMAGES_COST_MS`: what a flip costs at least, as a larger picture would.
    pub(crate) cost: Duration,
    /// `IMAGES_INLINE`: flips on the thread that serves, as one should not. To see what comes of it.
    pub(crate) inline: bool,
}

impl Settings {
    /// As the environment says.
    ///
    /// # Errors
    ///
    /// A sentence about the variable that makes no sense.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let dir = std::env::var_os("IMAGES_DIR");
        Ok(Self {
            dir: dir.map_or_else(std::env::temp_dir, PathBuf::from),
            max_bytes: number("IMAGES_MAX_MIB", 20, 1)? * MIB,
            max_decoded: number("IMAGES_MAX_DECODED_MIB", 256, 1)? * MIB,
            flips: count("IMAGES_FLIPS", 1)?,
            desks: count("IMAGES_DESKS", 8)?,
            arrival: Duration::from_secs(number("IMAGES_ARRIVAL_S", 30, 1)?),
            cost: Duration::from_millis(number("IMAGES_COST_MS", 0, 0)?),
            inline: std::env::var_os("IMAGES_INLINE").is_some(),
        })
    }

    /// Whether pictures can be kept, said before anybody sends one.
    ///
    /// # Errors
    ///
    /// A sentence about the folder.
    pub(crate) fn check(&self) -> Result<(), String> {
        match tempfile::tempfile_in(&self.dir) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "no picture can be kept in {}: {error}; name another folder in IMAGES_DIR",
                self.dir.display()
            )),
        }
    }
}

/// At most a million: what is multiplied with it stays a number.
fn number(name: &str, default: u64, least: u64) -> Result<u64, String> {
    let Some(text) = std::env::var_os(name) else {
        return Ok(default);
    };
    let text = text.to_string_lossy();
    match text.parse() {
        Ok(number) if (least..=1_000_000).contains(&number) => Ok(number),
        _ => Err(format!(
            "{name} is `{text}`: it has to be a whole number from {least} to 1000000"
        )),
    }
}

fn count(name: &str, default: u64) -> Result<usize, String> {
    let number = number(name, default, 1)?;
    usize::try_from(number).map_err(|_| format!("{name} is too large"))
}
