//! Makes a picture like a photograph, and sends it to an image server from many clients at once. What became of them is one JSON
//! object; times are in seconds since the first client began.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Writes a JPEG file of 4000 x 3000 pixels and about so many bytes
    Generate {
        #[arg(long)]
        out: PathBuf,
        #[arg(long, default_value_t = 6_700_000)]
        bytes: usize,
    },
    /// Posts a file to /flip from so many clients at once
    Send {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        count: usize,
        /// Whoever has no answer after so many seconds is given up
        #[arg(long, default_value_t = 600)]
        within: u64,
    },
}

const WIDTH: u32 = 4000;
const HEIGHT: u32 = 3000;
const QUALITY: u8 = 90;

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Generate { out, bytes } => Ok(fs::write(out, generate(bytes)?)?),
        What::Send {
            port,
            file,
            count,
            within,
        } => {
            let file = fs::read(file)?.into();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let found = runtime.block_on(send(port, file, count, Duration::from_secs(within)))?;
            Ok(writeln!(std::io::stdout(), "{found}")?)
        }
    }
}

/// As much of a sensor's grain upon the scene as makes the file as large as it is to be.
fn generate(bytes: usize) -> anyhow::Result<Vec<u8>> {
    let scene = scene();
    let (mut least, mut most) = (0.0, 64.0);
    for _ in 0..12 {
        let grain = f32::midpoint(least, most);
        let file = encode(&photograph(&scene, grain))?;
        if file.len().abs_diff(bytes) < bytes / 100 {
            return Ok(file);
        }
        if file.len() < bytes {
            least = grain;
        } else {
            most = grain;
        }
    }
    bail!("no picture of {WIDTH} x {HEIGHT} pixels has {bytes} bytes")
}

fn encode(picture: &RgbImage) -> anyhow::Result<Vec<u8>> {
    let mut file = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut file, QUALITY))?;
    Ok(file)
}

/// Large forms and smaller ones upon them, and lighter above than below: red, green and blue of each pixel.
#[expect(clippy::cast_precision_loss, reason = "coordinates below 2^23")]
fn scene() -> Vec<[f32; 3]> {
    let pixels = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
    let colours = pixels.map(|(x, y)| {
        let mut light = 140.0 - 60.0 * y as f32 / HEIGHT as f32;
        for octave in 0..6 {
            light += 40.0 / (1 << octave) as f32 * forms(x, y, 512 >> octave);
        }
        let warmth = 20.0 * forms(x, y, 700);
        [light + warmth, light, light - warmth]
    });
    colours.collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "colours from 0 to 255"
)]
fn photograph(scene: &[[f32; 3]], grain: f32) -> RgbImage {
    let mut random = fastrand::Rng::with_seed(7);
    let mut colours = scene.iter();
    RgbImage::from_fn(WIDTH, HEIGHT, |_, _| {
        let colour = colours.next().copied().unwrap_or_default();
        Rgb(colour.map(|part| {
            let noise = grain * (random.f32() + random.f32() - 1.0);
            (part + noise).clamp(0.0, 255.0) as u8
        }))
    })
}

/// Between -1 and 1, smooth, with one hill or valley for each cell.
#[expect(clippy::cast_precision_loss, reason = "coordinates below 2^23")]
fn forms(x: u32, y: u32, cell: u32) -> f32 {
    let (column, row) = (x / cell, y / cell);
    let smooth = |offset: u32| {
        let share = offset as f32 / cell as f32;
        share * share * (3.0 - 2.0 * share)
    };
    let (right, down) = (smooth(x % cell), smooth(y % cell));
    let upper = mix(
        height(column, row, cell),
        height(column + 1, row, cell),
        right,
    );
    let (left, lower) = (
        height(column, row + 1, cell),
        height(column + 1, row + 1, cell),
    );
    mix(upper, mix(left, lower, right), down)
}

fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

/// The same each time for one corner of a cell, and for others something else.
#[expect(clippy::cast_precision_loss, reason = "16 bits")]
fn height(column: u32, row: u32, cell: u32) -> f32 {
    let mixed = column
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add(row.wrapping_mul(0x85eb_ca77))
        .wrapping_add(cell.wrapping_mul(0xc2b2_ae3d));
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x2c1b_3c6d);
    let mixed = (mixed ^ (mixed >> 12)) >> 16;
    mixed as f32 / 32_768.0 - 1.0
}

async fn send(port: u16, file: Arc<[u8]>, count: usize, within: Duration) -> anyhow::Result<Value> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let began = Instant::now();
    let end = began + within;
    let client = |_| {
        let file = Arc::clone(&file);
        tokio::spawn(async move {
            let answer = timeout_at(end, post(address, &file)).await;
            let answer = answer.context("given up").and_then(|answer| answer);
            answer.map(|()| began.elapsed().as_secs_f64())
        })
    };
    let clients: Vec<_> = (0..count).map(client).collect();
    let mut times = Vec::new();
    let mut why: BTreeMap<String, usize> = BTreeMap::new();
    for client in clients {
        match client.await? {
            Ok(time) => times.push(time),
            Err(error) => *why.entry(format!("{error:#}")).or_default() += 1,
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(json!({
        "answered": times.len(),
        "first": times.first(),
        // Of all that were sent: as long as not half of them are answered there is none.
        "median": times.get(count.saturating_sub(1) / 2),
        "last": times.get(count.saturating_sub(1)),
        "why": why,
    }))
}

/// One picture there and back, on a connection of its own. The answer has to be a JPEG file.
async fn post(address: SocketAddr, file: &[u8]) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "POST /flip HTTP/1.1\r\nHost: images\r\nConnection: close\r\nContent-Type: image/jpeg\r\n\
         Content-Length: {}\r\n\r\n",
        file.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(file).await?;
    // Its beginning is looked at, the rest is counted.
    let mut start = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        length += read;
        if start.len() < 4096 {
            start.extend_from_slice(buffer.get(..read).unwrap_or_default());
        }
    }
    let text = String::from_utf8_lossy(&start);
    let status = text.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "{status:?}");
    let body = start.windows(7).any(|w| w == b"\r\n\r\n\xff\xd8\xff");
    ensure!(body && length > file.len() / 4, "the answer is no picture");
    Ok(())
}
