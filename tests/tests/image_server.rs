//! The example `image-server`: pictures come back upside down, and whatever else is sent costs nobody anything.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use hatchery_tests::http::{Connection, Response};
use hatchery_tests::pictures::{coarse, decode, difference, encode, held_upside_down, picture};
use hatchery_tests::{Cluster, Plan, http, process, wait};
use image::ImageFormat;
use image::imageops::{flip_vertical, rotate180};

/// An image server with a folder of its own for what is under way.
fn server() -> (Plan, PathBuf) {
    let plan = Plan::new(env!("CARGO_BIN_EXE_image-server"));
    let folder = plan.path("pictures");
    fs::create_dir(&folder).unwrap();
    (plan.env("IMAGES_DIR", &folder), folder)
}

#[track_caller]
fn flip(cluster: &Cluster, file: &[u8]) -> Response {
    cluster.connect().post("/flip", file).unwrap()
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn pictures_come_back_upside_down() {
    let (plan, folder) = server();
    let cluster = plan.start();
    let original = picture(61, 47);
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let file = encode(&original, format);
        let answer = flip(&cluster, &file);
        assert_eq!(answer.status, 200, "{format:?}");
        assert_eq!(answer.header("content-type"), Some(format.to_mime_type()));
        let time = answer.header("x-response-time").unwrap();
        let time: u64 = time.strip_suffix("ms").unwrap().parse().unwrap();
        assert!(time < 30_000, "{time}");
        let (its_format, flipped) = decode(&answer.body);
        assert_eq!(its_format, format);
        // What JPEG changes of a smooth picture is little, and nobody could take it for another side.
        let allowed = if format == ImageFormat::Png { 0 } else { 40 };
        let expected = flip_vertical(&decode(&file).1);
        let seen = difference(&flipped, &expected);
        assert!(seen <= allowed, "{format:?}: {seen}");
    }
    assert_eq!(entries(&folder), 0);
    let log = cluster.stderr();
    let line = log.lines().find(|line| line.contains("flipped 61 x 47"));
    let (time, _) = line.unwrap().split_once(' ').unwrap();
    assert!(time.starts_with("20") && time.contains('T'), "{time}");
    cluster.stop();
}

#[test]
fn each_process_tells_who_it_is() {
    let (plan, _folder) = server();
    let cluster = plan.start();
    for slot in [0, 1] {
        let expected = format!("Hello World from process {}\n", cluster.worker(slot));
        cluster.expect("it answers", || cluster.get("/") == expected);
    }
    cluster.stop();
}

#[test]
fn a_photograph_is_turned_as_its_camera_noted() {
    let (plan, _folder) = server();
    let cluster = plan.start();
    let file = held_upside_down(&picture(64, 48));
    let answer = flip(&cluster, &file);
    assert_eq!(answer.status, 200);
    let seen = rotate180(&decode(&encode(&picture(64, 48), ImageFormat::Jpeg)).1);
    let seen = difference(&decode(&answer.body).1, &flip_vertical(&seen));
    assert!(seen <= 40, "{seen}");
    cluster.stop();
}

/// What is refused, with which status and which words, and what is there afterwards: nothing.
#[test]
fn what_is_no_picture_is_refused_with_the_reason() {
    let (plan, folder) = server();
    let plan = plan.env("IMAGES_MAX_DECODED_MIB", "1");
    let cluster = plan.env("IMAGES_MAX_MIB", "1").start();
    let small = picture(200, 150);
    let jpeg = encode(&small, ImageFormat::Jpeg);
    let png = encode(&small, ImageFormat::Png);
    // Four million black pixels in a few thousand bytes.
    let bomb = encode(&image::RgbImage::new(2000, 2000), ImageFormat::Png);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let broad = encode(&image::RgbImage::new(2000, 2000), ImageFormat::Jpeg);
    let large = vec![0; 1_500_000];
    let mut damaged = png.clone();
    let middle = damaged.len() / 2;
    damaged.splice(middle..middle + 64, [0xaa; 64]);
    let form = [b"--x\r\nContent-Type: image/png\r\n\r\n", png.as_slice()].concat();
    let cases: [(&str, &[u8], u16, &str); 12] = [
        ("nothing", b"", 400, "there is no picture"),
        ("text", b"hello", 415, "neither JPEG nor PNG"),
        (
            "GIF",
            b"GIF89a\x01\0\x01\0\0\0\0",
            415,
            "neither JPEG nor PNG",
        ),
        ("a form", &form, 415, "not as a form"),
        (
            "half a JPEG",
            &jpeg[..jpeg.len() / 2],
            400,
            "ends too early",
        ),
        (
            "most of a JPEG",
            &jpeg[..jpeg.len() - 1],
            400,
            "ends too early",
        ),
        ("a JPEG's first bytes", &jpeg[..4], 400, "ends too early"),
        ("half a PNG", &png[..png.len() / 2], 400, "ends too early"),
        ("a PNG with other bytes", &damaged, 400, "damaged"),
        ("a bomb", &bomb, 413, "decoded"),
        (
            "a broad JPEG",
            &broad,
            413,
            "2000 x 2000 pixels are too many",
        ),
        ("too many bytes", &large, 413, "at most 1 MiB"),
    ];
    for (what, file, status, words) in cases {
        let answer = flip(&cluster, file);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(answer.text().contains(words), "{what}: {}", answer.text());
        assert_eq!(answer.text().lines().count(), 1, "{what}");
        assert!(answer.header("x-response-time").is_some(), "{what}");
    }
    let answer = http::get(cluster.address(), "/flip").unwrap();
    assert_eq!(answer.status, 405);
    assert_eq!(flip(&cluster, &jpeg).status, 200);
    assert_eq!(entries(&folder), 0);
    cluster.stop();
}

/// Its length is not known before it has come.
#[test]
fn a_picture_in_pieces_is_too_large_when_it_is() {
    let (plan, folder) = server();
    let cluster = plan.env("IMAGES_MAX_MIB", "1").start();
    let mut connection = cluster.connect();
    let head = b"POST /flip HTTP/1.1\r\nHost: images\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.send(head).unwrap();
    let zeros = vec![0; 1 << 16];
    let piece = [b"10000\r\n".as_slice(), &zeros, b"\r\n"].concat();
    for _ in 0..16 {
        connection.send(&piece).unwrap();
    }
    connection.send(b"1\r\n\0\r\n0\r\n\r\n").unwrap();
    let answer = connection.receive().unwrap();
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert_eq!(entries(&folder), 0);
    cluster.stop();
}

/// The head of a request whose client waits until somebody reads the body.
fn announce(cluster: &Cluster, length: usize) -> Connection {
    let mut connection = cluster.connect();
    let head = format!(
        "POST /flip HTTP/1.1\r\nHost: images\r\nContent-Length: {length}\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    connection.send(head.as_bytes()).unwrap();
    connection
}

#[test]
fn whoever_asks_first_sends_no_picture_in_vain() {
    let (plan, _folder) = server();
    let cluster = plan.start();
    let mut connection = announce(&cluster, 50_000_000);
    let answer = connection.receive().unwrap();
    assert_eq!(answer.status, 413);
    assert!(
        answer.text().contains("at most 20 MiB"),
        "{}",
        answer.text()
    );
    cluster.stop();
}

/// What a process holds is bounded, however many come: the others keep their pictures until it is their turn.
#[test]
fn pictures_wait_with_their_clients() {
    let (plan, _folder) = server();
    let cluster = plan.workers(1).env("IMAGES_DESKS", "1").start();
    let file = encode(&picture(64, 48), ImageFormat::Png);
    let mut first = announce(&cluster, file.len());
    assert_eq!(first.receive_head().unwrap().status, 100);
    let mut others: Vec<_> = (0..20).map(|_| announce(&cluster, file.len())).collect();
    // The worker has read what they asked: it answers who comes after them.
    assert!(cluster.get("/").contains("Hello World"));
    for other in &others {
        other.get_ref().set_nonblocking(true).unwrap();
        let said = other.get_ref().peek(&mut [0]).unwrap_err();
        assert_eq!(said.kind(), std::io::ErrorKind::WouldBlock);
        other.get_ref().set_nonblocking(false).unwrap();
    }
    first.send(&file).unwrap();
    assert_eq!(first.receive().unwrap().status, 200);
    // Then one after the other, in the order in which they came.
    for other in &mut others {
        assert_eq!(other.receive_head().unwrap().status, 100);
        other.send(&file).unwrap();
        assert_eq!(other.receive().unwrap().status, 200);
    }
    cluster.stop();
}

/// A client that is being waited for, and those who wait behind it.
#[test]
fn who_does_not_send_its_picture_makes_room_for_the_next() {
    let (plan, folder) = server();
    let plan = plan.workers(1).env("IMAGES_DESKS", "1");
    let cluster = plan.env("IMAGES_ARRIVAL_S", "1").start();
    let file = encode(&picture(64, 48), ImageFormat::Png);
    let mut silent = announce(&cluster, file.len());
    assert_eq!(silent.receive_head().unwrap().status, 100);
    let mut next = announce(&cluster, file.len());
    let refusal = silent.receive().unwrap();
    assert_eq!(refusal.status, 408, "{}", refusal.text());
    assert!(
        refusal.text().contains("did not arrive within 1 s"),
        "{}",
        refusal.text()
    );
    assert_eq!(next.receive_head().unwrap().status, 100);
    next.send(&file).unwrap();
    assert_eq!(next.receive().unwrap().status, 200);
    assert_eq!(entries(&folder), 0);
    cluster.stop();
}

#[test]
fn a_full_folder_is_said_and_nothing_is_left_in_it() {
    let (plan, folder) = server();
    let mount = "mount -t tmpfs -o size=256k tmpfs \"$1\" && shift && exec \"$@\"";
    let plan = plan.through(["unshare", "--mount", "sh", "-c", mount, "sh"]);
    let cluster = plan.through([&folder]).start();
    let large = vec![0; 1 << 20];
    let small = encode(&picture(200, 150), ImageFormat::Jpeg);
    // As the cluster sees it.
    let root = format!("/proc/{}/root", cluster.master());
    let seen = Path::new(&root).join(folder.strip_prefix("/").unwrap());
    let free = || rustix::fs::statvfs(&seen).unwrap().f_bfree;
    let before = free();
    for _ in 0..3 {
        let answer = flip(&cluster, &large);
        assert_eq!(answer.status, 507, "{}", answer.text());
        assert!(answer.text().contains("is full"), "{}", answer.text());
        wait::expect("its room is free again", || free() == before);
        assert_eq!(entries(&seen), 0);
        assert_eq!(flip(&cluster, &small).status, 200);
    }
    // There is room for what comes, and none for what is made of it.
    let wide = coarse(900, 700);
    assert!(wide.len() < 200_000, "{}", wide.len());
    assert_eq!(flip(&cluster, &wide).status, 507);
    wait::expect("its room is free again", || free() == before);
    assert_eq!(flip(&cluster, &small).status, 200);
    cluster.stop();
}

#[test]
fn what_cannot_be_set_is_said_at_the_start() {
    let cases = [
        (
            "IMAGES_DIR",
            "/nowhere",
            "no picture can be kept in /nowhere",
        ),
        ("IMAGES_FLIPS", "0", "IMAGES_FLIPS is `0`"),
        ("IMAGES_ARRIVAL_S", "0", "IMAGES_ARRIVAL_S is `0`"),
        ("IMAGES_MAX_MIB", "20MB", "IMAGES_MAX_MIB is `20MB`"),
    ];
    for (name, value, words) in cases {
        let (plan, _folder) = server();
        let ended = plan.env(name, value).run_to_end();
        ended.expect_code(3).expect_stderr(&[words]);
    }
}

/// Descriptors and threads are those of the pictures under way, and go with them.
#[test]
fn nothing_piles_up() {
    let (plan, _folder) = server();
    let cluster = plan.workers(1).start();
    let worker = cluster.worker(0);
    let file = encode(&picture(64, 48), ImageFormat::Jpeg);
    assert_eq!(flip(&cluster, &file).status, 200);
    let before = process::descriptors(worker);
    for _ in 0..50 {
        assert_eq!(flip(&cluster, &file).status, 200);
        assert_eq!(flip(&cluster, b"hello").status, 415);
    }
    wait::expect("all files are closed", || {
        process::descriptors(worker) <= before
    });
    cluster.stop();
}
