//! The work itself, which takes a processor for hundreds of milliseconds: decode, turn upside down, encode.

use std::fs::File;
use std::io::{BufWriter, Cursor, Read as _, Seek as _, Write as _};
use std::time::Instant;

use axum::http::{HeaderValue, StatusCode};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits};

use super::refusal::Refusal;
use super::{Settings, jpeg};

/// Of the JPEG files that are written.
const QUALITY: u8 = 90;

/// A picture upside down, at the beginning of its file.
#[derive(Debug)]
pub(super) struct Flipped {
    pub(super) file: File,
    pub(super) length: u64,
    pub(super) media_type: HeaderValue,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Flips what is in the file into another file, of the same format.
pub(super) fn flip(file: File, settings: &Settings) -> Result<Flipped, Refusal> {
    let began = Instant::now();
    let folder = |error| Refusal::of_folder(&error);
    let bytes = read(file).map_err(folder)?;
    let (format, media_type) = format_of(&bytes)?;
    let mut picture = decode(bytes, format, settings)?;
    picture.apply_orientation(image::metadata::Orientation::FlipVertical);
    let file = tempfile::tempfile_in(&settings.dir).map_err(folder)?;
    let mut file = encode(&picture, format, file)?;
    let length = file.stream_position().map_err(folder)?;
    file.rewind().map_err(folder)?;
    while began.elapsed() < settings.cost {
        std::hint::spin_loop();
    }
    Ok(Flipped {
        file,
        length,
        media_type: HeaderValue::from_static(media_type),
        width: picture.width(),
        height: picture.height(),
    })
}

/// The decoder of JPEG wants all of it in memory, and it is not larger than a file may be.
fn read(mut file: File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// By its first bytes: what a client says about a file is often wrong.
fn format_of(bytes: &[u8]) -> Result<(ImageFormat, &'static str), Refusal> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => Ok((ImageFormat::Jpeg, "image/jpeg")),
        Ok(ImageFormat::Png) => Ok((ImageFormat::Png, "image/png")),
        _ => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "this is neither JPEG nor PNG: send such a file as the body, as it is and not as a form",
        )),
    }
}

fn decode(
    bytes: Vec<u8>,
    format: ImageFormat,
    settings: &Settings,
) -> Result<DynamicImage, Refusal> {
    // The decoder fills up with grey what is missing of a JPEG.
    if format == ImageFormat::Jpeg && !jpeg::is_whole(&bytes) {
        return Err(broken("it ends too early"));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(settings.max_decoded);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let decoder = reader.into_decoder();
    let mut decoder = decoder.map_err(|error| of_picture(&error, settings))?;
    // Before a byte of it is decoded: a small file can hold a very large picture.
    if decoder.total_bytes() > settings.max_decoded {
        return Err(too_many_pixels(decoder.dimensions(), settings));
    }
    // What the camera noted is not copied, so it is done.
    let upright = decoder.orientation();
    let picture = DynamicImage::from_decoder(decoder);
    let mut picture = picture.map_err(|error| of_picture(&error, settings))?;
    if let Ok(orientation) = upright {
        picture.apply_orientation(orientation);
    }
    Ok(picture)
}

fn encode(picture: &DynamicImage, format: ImageFormat, file: File) -> Result<File, Refusal> {
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    let encoded = if format == ImageFormat::Jpeg {
        let encoder = JpegEncoder::new_with_quality(&mut writer, QUALITY);
        picture.write_with_encoder(encoder)
    } else {
        picture.write_with_encoder(PngEncoder::new(&mut writer))
    };
    match encoded {
        Ok(()) => {}
        Err(ImageError::IoError(error)) => return Err(Refusal::of_folder(&error)),
        Err(error) => {
            let sentence = format!("the flipped picture cannot be written: {error}");
            return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, sentence));
        }
    }
    let flushed = writer.flush();
    flushed.map_err(|e| Refusal::of_folder(&e))?;
    let (file, _) = writer.into_parts();
    Ok(file)
}

/// What a decoder says against a picture. All of it is in memory, so an error of reading is one of the picture's.
fn of_picture(error: &ImageError, settings: &Settings) -> Refusal {
    if let ImageError::Limits(_) = error {
        let most = settings.max_decoded >> 20;
        let sentence = format!("the picture takes more than {most} MiB when it is decoded");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
    } else if let ImageError::Unsupported(error) = error {
        let sentence = format!("this kind of picture is not known here: {error}");
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence)
    } else if let ImageError::IoError(_) = error {
        broken("it ends too early")
    } else {
        broken(&error.to_string())
    }
}

fn broken(why: &str) -> Refusal {
    let sentence = format!("the picture is damaged: {why}");
    Refusal::new(StatusCode::BAD_REQUEST, sentence)
}

fn too_many_pixels((width, height): (u32, u32), settings: &Settings) -> Refusal {
    let most = settings.max_decoded >> 20;
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("{width} x {height} pixels are too many: decoded they take more than {most} MiB"),
    )
}
