//! Headers as proxies write them, cut anywhere, and everything that is none.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2: version and command, family and protocol, what follows.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

fn proxied(source: &str, destination: &str) -> Proxied {
    Proxied {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn ipv4() -> Vec<u8> {
    let addresses = [198, 51, 100, 7, 203, 0, 113, 9];
    let (source, destination) = (5000_u16.to_be_bytes(), 443_u16.to_be_bytes());
    [addresses.as_slice(), &source, &destination].concat()
}

fn ipv6() -> Vec<u8> {
    let mut bytes = vec![0x20, 0x01, 0x0d, 0xb8];
    bytes.extend([0; 11]);
    bytes.push(1);
    bytes.extend([0; 15]);
    bytes.push(1);
    bytes.extend([0x13, 0x88, 0x01, 0xbb]);
    bytes
}

/// Headers that are right, and what they say.
fn headers() -> Vec<(Vec<u8>, Option<Proxied>)> {
    let four = Some(proxied("198.51.100.7:5000", "203.0.113.9:443"));
    let six = Some(proxied("[2001:db8::1]:5000", "[::1]:443"));
    // With something of a kind that nobody knows.
    let with_extra = [ipv4().as_slice(), &[0xee, 0, 3, 1, 2, 3]].concat();
    vec![
        (
            b"PROXY TCP4 198.51.100.7 203.0.113.9 5000 443\r\n".to_vec(),
            four,
        ),
        (b"PROXY TCP6 2001:db8::1 ::1 5000 443\r\n".to_vec(), six),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n".to_vec(), None),
        (v2(0x21, 0x11, &ipv4()), four),
        (v2(0x21, 0x11, &with_extra), four),
        (v2(0x21, 0x21, &ipv6()), six),
        (v2(0x21, 0x00, b""), None),
        (v2(0x21, 0x31, &[0; 216]), None),
        (v2(0x20, 0x11, &ipv4()), None),
        (v2(0x20, 0x00, b""), None),
        (v2(0x21, 0x00, &[0xee; 4096]), None),
    ]
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n";

#[tokio::test]
async fn a_header_may_be_cut_anywhere_and_the_rest_is_the_readers() {
    for (header, said) in headers() {
        let whole = [header.as_slice(), REQUEST].concat();
        for cut in 0..=whole.len().min(300) {
            let (mut client, server) = duplex(whole.len());
            let (first, second) = whole.split_at(cut);
            let (first, second) = (first.to_vec(), second.to_vec());
            let writing = tokio::spawn(async move {
                client.write_all(&first).await.unwrap();
                tokio::task::yield_now().await;
                client.write_all(&second).await.unwrap();
            });
            let mut stream = Ahead::new(server);
            assert_eq!(read_header(&mut stream).await.unwrap(), said);
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, REQUEST);
            writing.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte() {
    for (header, said) in headers() {
        // Each write waits until the byte before it was read.
        let (mut client, server) = duplex(1);
        let writing = tokio::spawn(async move { client.write_all(&header).await });
        let mut stream = Ahead::new(server);
        assert_eq!(read_header(&mut stream).await.unwrap(), said);
        writing.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn everything_else_is_refused() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    for (bytes, sentence) in [
        (b"".to_vec(), "ended"),
        (b"PROXY TCP4 1.2.3.4".to_vec(), "ended"),
        (v2(0x21, 0x11, &ipv4())[..20].to_vec(), "ended"),
        (REQUEST.to_vec(), "does not begin"),
        (b"\x16\x03\x01\x02\x00".to_vec(), "does not begin"),
        (b"PROXX".to_vec(), "does not begin"),
        (b"\r\n\r\nhello".to_vec(), "does not begin"),
        (long.into_bytes(), "longer than 107"),
        (v2(0x21, 0x11, &[0; 5000]), "longer than 4112"),
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n".to_vec(),
            "malformed",
        ),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n".to_vec(), "malformed"),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), "malformed"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n".to_vec(), "malformed"),
        (b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(), "malformed"),
        (b"PROXY\r\n".to_vec(), "malformed"),
        (v2(0x31, 0x11, &ipv4()), "malformed"),
        (v2(0x22, 0x11, &ipv4()), "malformed"),
        (v2(0x21, 0x41, &ipv4()), "malformed"),
        (v2(0x21, 0x11, &ipv4()[..11]), "malformed"),
    ] {
        let (mut client, server) = duplex(bytes.len().max(1));
        client.write_all(&bytes).await.unwrap();
        drop(client);
        let refused = read_header(&mut Ahead::new(server)).await.unwrap_err();
        let shown = String::from_utf8_lossy(&bytes);
        assert!(refused.to_string().contains(sentence), "{shown}: {refused}");
    }
}
