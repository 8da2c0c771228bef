//! Pictures to send to an image server, whole and broken, and a look at what comes back.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// What a turn of a photograph's camera means to whoever shows it: it lies on its head.
const UPSIDE_DOWN: u8 = 3;

/// A picture of which no two lines and no two columns are alike.
pub fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let share = |part: u32, whole: u32| u8::try_from(part * 255 / whole).unwrap_or(u8::MAX);
        Rgb([share(x, width), share(y, height), 60])
    })
}

/// As a file.
#[track_caller]
pub fn encode(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A JPEG file whose camera was held upside down, as it noted itself.
#[track_caller]
pub fn held_upside_down(picture: &RgbImage) -> Vec<u8> {
    let file = encode(picture, ImageFormat::Jpeg);
    // An Exif segment: one directory with one entry, the orientation, in big-endian order.
    let mut segment = vec![0xff, 0xe1, 0, 34];
    segment.extend(b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01");
    segment.extend([
        0x01,
        0x12,
        0,
        3,
        0,
        0,
        0,
        1,
        0,
        UPSIDE_DOWN,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    let (start, rest) = file.split_at(2);
    [start, &segment, rest].concat()
}

/// A JPEG file that becomes larger when it is written again: of noise, and of little quality.
#[track_caller]
pub fn coarse(width: u32, height: u32) -> Vec<u8> {
    let mut seed: u32 = 1;
    let noise = RgbImage::from_fn(width, height, |_, _| {
        // A linear congruence: the same picture each time.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c, _] = seed.to_be_bytes();
        Rgb([a, b, c])
    });
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, 5);
    noise.write_with_encoder(encoder).unwrap();
    file
}

/// A file's pixels and format.
#[track_caller]
pub fn decode(file: &[u8]) -> (ImageFormat, RgbImage) {
    let format = image::guess_format(file).unwrap();
    let picture = image::load_from_memory(file).unwrap();
    (format, DynamicImage::into_rgb8(picture))
}

/// The greatest difference of one colour of a pixel: not nothing after JPEG.
#[track_caller]
pub fn difference(one: &RgbImage, other: &RgbImage) -> u8 {
    assert_eq!(one.dimensions(), other.dimensions());
    let pairs = one.iter().zip(other.iter());
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or_default()
}
