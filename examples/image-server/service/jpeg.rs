//! Whether all of a JPEG file is there. Decoders are made for viewers, and show what they have.

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;

/// Whether the file goes on to the marker of its end. Segments are skipped by their lengths, for there may be a small picture
/// with an end of its own in one of them; what follows that end does not matter.
pub(super) fn is_whole(file: &[u8]) -> bool {
    let mut rest = file;
    while let Some((marker, after)) = next_marker(rest) {
        rest = after;
        match marker {
            END => return true,
            // These have no length: the start, and what divides a scan.
            START | 0x01 | 0xd0..=0xd7 => {}
            SCAN => match skip_segment(rest).map(skip_scan) {
                Some(after) => rest = after,
                None => return false,
            },
            _ => match skip_segment(rest) {
                Some(after) => rest = after,
                None => return false,
            },
        }
    }
    false
}

/// The next marker and what is after it. It may be preceded by any number of 0xff.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let bytes = bytes.strip_prefix(&[0xff])?;
    let fill = bytes.iter().take_while(|byte| **byte == 0xff).count();
    let (marker, after) = bytes.get(fill..)?.split_first()?;
    Some((*marker, after))
}

/// What is after a segment, whose length counts its own two bytes.
fn skip_segment(bytes: &[u8]) -> Option<&[u8]> {
    let (length, _) = bytes.split_first_chunk::<2>()?;
    bytes.get(usize::from(u16::from_be_bytes(*length))..)
}

/// What is after the data of a scan, in which 0xff is followed by zero or divides it.
fn skip_scan(bytes: &[u8]) -> &[u8] {
    let mut pairs = bytes.windows(2);
    let end = pairs.position(
        |pair| matches!(*pair, [0xff, marker] if !matches!(marker, 0x00 | 0xff | 0xd0..=0xd7)),
    );
    end.and_then(|end| bytes.get(end..)).unwrap_or_default()
}
