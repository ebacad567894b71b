//! The PROXY protocol, versions 1 and 2: what a proxy says about the connection it relays (haproxy's
//! `doc/proxy-protocol.txt`; sections are cited as PROXY). The parser is a pure function over bytes; [`receive`] takes
//! the header off a socket and not one byte more. Knows neither who may be a proxy nor what is spoken behind one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest header taken, in bytes. Senders keep to 536, so that one segment holds it, unless they tell of certificates.
pub const MAX_HEADER_BYTES: usize = 4_096;
/// Longest line of version 1 with its end, in bytes (PROXY 2.1).
const MAX_LINE_BYTES: usize = 107;
/// From the connect to the header's end. It comes at once; PROXY 2 asks for 3 s, for the sake of a lost segment.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How every line of version 1 begins.
const LINE_START: &[u8] = b"PROXY ";
/// How every header of version 2 begins (PROXY 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;
/// Type of the TLV with the header's checksum (PROXY 2.2.3).
const TYPE_CRC32C: u8 = 0x03;
/// Type and length of a TLV.
const TLV_HEAD_BYTES: usize = 3;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client's, which the proxy relays. IPv4 in IPv6 is unwrapped.
    Relayed {
        /// Where the client comes from.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
    /// The proxy's own, for a health check, or one that it can say nothing about: the socket's addresses hold.
    Unknown,
}

/// Why it is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first bytes are something else's.
    #[error("no PROXY header")]
    Absent,
    /// A line of version 1 that is not as PROXY 2.1 wants it.
    #[error("a PROXY header of version 1 that is not right")]
    Line,
    /// A version, command, family or length that does not exist.
    #[error("a PROXY header of version 2 that is not right")]
    Binary,
    /// Longer than [`MAX_HEADER_BYTES`].
    #[error("a PROXY header of more than {MAX_HEADER_BYTES} bytes")]
    TooLong,
    /// The checksum is another.
    #[error("a PROXY header whose checksum is wrong")]
    Checksum,
}

/// Reads the header at the beginning of a stream: what it says, and its length. `None` when it goes on beyond `bytes`,
/// all of which are then part of it.
///
/// # Errors
/// As soon as the bytes cannot be the beginning of a header.
pub fn parse(bytes: &[u8]) -> Result<Option<(Origin, usize)>, Malformed> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => line(bytes),
        Some(_) => binary(bytes),
    }
}

fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

/// Version 1: one line of text (PROXY 2.1).
fn line(bytes: &[u8]) -> Result<Option<(Origin, usize)>, Malformed> {
    if !begins_like(bytes, LINE_START) {
        return Err(Malformed::Absent);
    }
    let Some(end) = bytes.windows(2).take(MAX_LINE_BYTES - 1).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_LINE_BYTES { Ok(None) } else { Err(Malformed::Line) };
    };
    let rest = bytes.get(LINE_START.len()..end).ok_or(Malformed::Line)?;
    let origin = match rest.strip_prefix(b"UNKNOWN") {
        // Whatever stands behind it is to be ignored.
        Some([] | [b' ', ..]) => Origin::Unknown,
        _ => addresses(rest).ok_or(Malformed::Line)?,
    };
    Ok(Some((origin, end + 2)))
}

/// `TCP4 192.0.2.1 192.0.2.2 56324 21`.
fn addresses(rest: &[u8]) -> Option<Origin> {
    let mut words = std::str::from_utf8(rest).ok()?.split(' ');
    let mut next = || words.next();
    let address: fn(&str) -> Option<IpAddr> = match next()? {
        "TCP4" => |text| text.parse().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, destination) = (address(next()?)?, address(next()?)?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    next().is_none().then(|| relayed(source, source_port, destination, destination_port))
}

/// Digits only, and no zero in front of them.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn relayed(source: IpAddr, source_port: u16, destination: IpAddr, destination_port: u16) -> Origin {
    Origin::Relayed {
        source: SocketAddr::new(source.to_canonical(), source_port),
        destination: SocketAddr::new(destination.to_canonical(), destination_port),
    }
}

/// Version 2 (PROXY 2.2).
fn binary(bytes: &[u8]) -> Result<Option<(Origin, usize)>, Malformed> {
    if !begins_like(bytes, SIGNATURE) {
        return Err(Malformed::Absent);
    }
    let relayed = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => false,
        Some(0x21) => true,
        Some(_) => return Err(Malformed::Binary),
    };
    let (Some(family), Some(&[high, low])) = (bytes.get(13), bytes.get(14..FIXED_BYTES)) else { return Ok(None) };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER_BYTES {
        return Err(Malformed::TooLong);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let origin = if relayed { endpoints(*family, header)? } else { Origin::Unknown };
    Ok(Some((origin, length)))
}

/// The two ends that a PROXY command tells.
fn endpoints(family: u8, header: &[u8]) -> Result<Origin, Malformed> {
    let block = header.get(FIXED_BYTES..).unwrap_or_default();
    let (origin, address_bytes) = match family {
        0x11 => (ends::<4>(block, |octets| Ipv4Addr::from(octets).into()), 12),
        0x21 => (ends::<16>(block, |octets| Ipv6Addr::from(octets).into()), 36),
        // UNSPEC, which has no addresses; datagrams and UNIX sockets, which cannot be ours: all of them unknown.
        0x00..=0x02 | 0x10 | 0x12 | 0x20 | 0x22 | 0x30..=0x32 => return Ok(Origin::Unknown),
        _ => return Err(Malformed::Binary),
    };
    verify(header, FIXED_BYTES + address_bytes)?;
    origin.ok_or(Malformed::Binary)
}

/// Source address, destination address, source port, destination port, all in network order.
fn ends<const BYTES: usize>(block: &[u8], address: fn([u8; BYTES]) -> IpAddr) -> Option<Origin> {
    let (source, rest) = block.split_first_chunk::<BYTES>()?;
    let (destination, rest) = rest.split_first_chunk::<BYTES>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let destination_port = rest.first_chunk::<2>()?;
    let port = |bytes: &[u8; 2]| u16::from_be_bytes(*bytes);
    Some(relayed(address(*source), port(source_port), address(*destination), port(destination_port)))
}

/// Steps over the TLVs behind the addresses. The checksum is the only one that says something to us (PROXY 2.2.3).
fn verify(header: &[u8], mut at: usize) -> Result<(), Malformed> {
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + TLV_HEAD_BYTES) else { return Err(Malformed::Binary) };
        let value_at = at + TLV_HEAD_BYTES;
        at = value_at + usize::from(u16::from_be_bytes([high, low]));
        let value = header.get(value_at..at).ok_or(Malformed::Binary)?;
        if kind == TYPE_CRC32C {
            let told = <[u8; 4]>::try_from(value).map_err(|_| Malformed::Binary)?;
            // It was taken while its own place held zeros.
            let parts = [header.get(..value_at), Some(&[0; 4]), header.get(at..)];
            if crc32c(parts.into_iter().flatten().flatten().copied()) != u32::from_be_bytes(told) {
                return Err(Malformed::Checksum);
            }
        }
    }
    Ok(())
}

/// CRC32c (RFC 4960 appendix B), bit by bit: headers that have one are rare and short.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    const POLYNOMIAL_REVERSED: u32 = 0x82f6_3b78;
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL_REVERSED & (crc & 1).wrapping_neg()))
    })
}

/// Why no header was had.
#[derive(Debug, thiserror::Error)]
pub enum NoHeader {
    /// The proxy closed the connection before it said anything, as a simple health check does.
    #[error("closed without a PROXY header")]
    Nothing,
    /// Something else came.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The connection ended or broke in the middle.
    #[error("the connection ended within the PROXY header")]
    Broken,
    /// It took too long.
    #[error("no PROXY header within {} s", RECEIVE_TIMEOUT.as_secs())]
    Late,
}

impl From<io::Error> for NoHeader {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// Takes the header off the socket; what follows it stays there.
///
/// # Errors
/// When none comes, or not in time.
pub async fn receive(stream: &mut TcpStream) -> Result<Origin, NoHeader> {
    timeout(RECEIVE_TIMEOUT, take(stream)).await.map_err(|_| NoHeader::Late)?
}

/// Looks at what has come without taking it, and takes what belongs to the header.
async fn take(stream: &mut TcpStream) -> Result<Origin, NoHeader> {
    let mut header = vec![0; MAX_HEADER_BYTES];
    let mut taken = 0;
    loop {
        // The parser wants no byte beyond the most, so there is always room.
        let seen = stream.peek(header.get_mut(taken..).unwrap_or_default()).await?;
        if seen == 0 {
            return Err(if taken == 0 { NoHeader::Nothing } else { NoHeader::Broken });
        }
        let parsed = parse(header.get(..taken + seen).unwrap_or_default())?;
        let end = parsed.map_or(taken + seen, |(_, length)| length);
        stream.read_exact(header.get_mut(taken..end).unwrap_or_default()).await?;
        taken = end;
        if let Some((origin, _)) = parsed {
            return Ok(origin);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    fn relayed(source: &str, destination: &str) -> Origin {
        Origin::Relayed { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    /// A header of version 2 with whatever is put into it.
    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        header.extend(block);
        header
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x0f, 0xa0, 0, 21];

    fn v6() -> Vec<u8> {
        let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        [&octets("2001:db8::7")[..], &octets("::ffff:198.51.100.1"), &[0x0f, 0xa0, 0, 21]].concat()
    }

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
    }

    fn with_checksum(tail: &[u8]) -> Vec<u8> {
        let mut header = v2(0x21, 0x11, &[&V4[..], &tlv(TYPE_CRC32C, &[0; 4]), tail].concat());
        let sum = crc32c(header.iter().copied()).to_be_bytes();
        let at = FIXED_BYTES + V4.len() + TLV_HEAD_BYTES;
        header.splice(at..at + 4, sum);
        header
    }

    /// Every header that is taken, and what it says.
    fn good() -> Vec<(Vec<u8>, Origin)> {
        let four = relayed("192.0.2.7:4000", "198.51.100.1:21");
        let text = |text: &str| text.as_bytes().to_vec();
        vec![
            (text("PROXY TCP4 192.0.2.7 198.51.100.1 4000 21\r\n"), four),
            (text("PROXY TCP6 2001:DB8::7 ::1 0 65535\r\n"), relayed("[2001:db8::7]:0", "[::1]:65535")),
            (text("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c633:6401 4000 21\r\n"), four),
            (text("PROXY UNKNOWN\r\n"), Origin::Unknown),
            (text("PROXY UNKNOWN \r\n"), Origin::Unknown),
            (text("PROXY UNKNOWN anything \r \n at all\r\n"), Origin::Unknown),
            (
                text(&format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
                Origin::Unknown,
            ),
            (v2(0x21, 0x11, &V4), four),
            (v2(0x21, 0x21, &v6()), relayed("[2001:db8::7]:4000", "198.51.100.1:21")),
            (v2(0x21, 0x11, &[&V4[..], &tlv(0x04, b""), &tlv(0xea, &[7; 300])].concat()), four),
            (v2(0x21, 0x11, &[&V4[..], &tlv(0x20, &vec![1; MAX_HEADER_BYTES - 16 - 12 - 3])].concat()), four),
            (with_checksum(b""), four),
            (with_checksum(&tlv(0x05, b"id")), four),
            // LOCAL: whatever stands there is skipped.
            (v2(0x20, 0x00, b""), Origin::Unknown),
            (v2(0x20, 0xff, &[9; 40]), Origin::Unknown),
            // What cannot be ours falls back to unknown: unspecified, datagrams, UNIX sockets.
            (v2(0x21, 0x00, &[9; 5]), Origin::Unknown),
            (v2(0x21, 0x12, &V4), Origin::Unknown),
            (v2(0x21, 0x31, &[b'/'; 216]), Origin::Unknown),
        ]
    }

    #[test]
    fn what_a_header_says() {
        for (mut header, origin) in good() {
            let length = header.len();
            assert_eq!(parse(&header), Ok(Some((origin, length))), "{}", header.escape_ascii());
            // What follows belongs to the protocol, and nothing is decided before all of it is there.
            header.extend(b"USER acme\r\nPROXY TCP4");
            assert_eq!(parse(&header), Ok(Some((origin, length))), "{}", header.escape_ascii());
            for cut in 0..length {
                assert_eq!(parse(&header[..cut]), Ok(None), "{} of {}", cut, header.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_none() {
        let mut spoilt = with_checksum(&tlv(0x05, b"id"));
        *spoilt.last_mut().unwrap() ^= 1;
        let line = |text: &str| (text.as_bytes().to_vec(), Malformed::Line);
        for (bytes, why) in [
            (b"USER acme\r\n".to_vec(), Malformed::Absent),
            (b"SSH-2.0-x\r\n".to_vec(), Malformed::Absent),
            (b"PASS x\r\n".to_vec(), Malformed::Absent),
            (b"proxy TCP4".to_vec(), Malformed::Absent),
            (b"PROXY\tTCP4".to_vec(), Malformed::Absent),
            (b"\x16\x03\x01".to_vec(), Malformed::Absent),
            (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), Malformed::Absent),
            (b"\0".to_vec(), Malformed::Absent),
            line("PROXY \r\n"),
            line("PROXY TCP4\r\n"),
            line("PROXY TCP5 192.0.2.7 198.51.100.1 4000 21\r\n"),
            line("PROXY UNKNOWNX\r\n"),
            line("PROXY  TCP4 192.0.2.7 198.51.100.1 4000 21\r\n"),
            line("PROXY TCP4  192.0.2.7 198.51.100.1 4000 21\r\n"),
            line("PROXY TCP4 192.0.2.7 198.51.100.1 4000 21 \r\n"),
            line("PROXY TCP4 192.0.2.7 198.51.100.1 4000 21 5\r\n"),
            line("PROXY TCP4 192.0.2.7 198.51.100.1 4000\r\n"),
            line("PROXY TCP4 192.0.2.07 198.51.100.1 4000 21\r\n"),
            line("PROXY TCP4 192.0.2.256 198.51.100.1 4000 21\r\n"),
            line("PROXY TCP4 ::1 ::1 4000 21\r\n"),
            line("PROXY TCP6 192.0.2.7 198.51.100.1 4000 21\r\n"),
            line("PROXY TCP6 fe80::1%1 ::1 4000 21\r\n"),
            line("PROXY TCP4 192.0.2.7 198.51.100.1 4000 021\r\n"),
            line("PROXY TCP4 192.0.2.7 198.51.100.1 +4000 21\r\n"),
            line("PROXY TCP4 192.0.2.7 198.51.100.1 4000 65536\r\n"),
            line("PROXY TCP4 192.0.2.7 198.51.100.1 4000 21\n\r\n"),
            line("PROXY TCP4 192.0.2.7 198.51.100.1 4000 21\0\r\n"),
            line(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE_BYTES - 15))),
            line(&"PROXY UNKNOWN ".repeat(8)),
            (v2(0x11, 0x11, &V4), Malformed::Binary),
            (v2(0x22, 0x11, &V4), Malformed::Binary),
            (v2(0x21, 0x13, &V4), Malformed::Binary),
            (v2(0x21, 0x41, &V4), Malformed::Binary),
            (v2(0x21, 0x11, &V4[..11]), Malformed::Binary),
            (v2(0x21, 0x21, &V4), Malformed::Binary),
            // A TLV that ends beyond the header, and one that has no length.
            (v2(0x21, 0x11, &[&V4[..], &[4, 0, 1]].concat()), Malformed::Binary),
            (v2(0x21, 0x11, &[&V4[..], &[4, 0]].concat()), Malformed::Binary),
            (v2(0x21, 0x11, &[&V4[..], &tlv(TYPE_CRC32C, b"abc")].concat()), Malformed::Binary),
            (v2(0x21, 0x11, &vec![0; MAX_HEADER_BYTES - 15]), Malformed::TooLong),
            (spoilt, Malformed::Checksum),
        ] {
            assert_eq!(parse(&bytes), Err(why), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn checksums_are_the_registered_ones() {
        // The check value of CRC-32C, as every catalogue of them has it.
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
    }

    #[tokio::test]
    async fn not_one_byte_too_many_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (header, origin) in good() {
            // In one piece with what follows, and byte by byte.
            for piece in [header.len() + 4, 1] {
                let mut proxy = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                proxy.set_nodelay(true).unwrap();
                let mut server = listener.accept().await.unwrap().0;
                let sent = [&header[..], b"rest"].concat();
                let sending = async {
                    for piece in sent.chunks(piece) {
                        proxy.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    drop(proxy);
                };
                let (received, ()) = tokio::join!(receive(&mut server), sending);
                assert_eq!(received.unwrap(), origin);
                let mut rest = Vec::new();
                server.read_to_end(&mut rest).await.unwrap();
                assert_eq!(rest, b"rest");
            }
        }
    }

    #[tokio::test]
    async fn ends_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (sent, why) in [
            (&b""[..], "closed without a PROXY header"),
            (b"PROXY TCP4 192.0.2.7", "the connection ended within the PROXY header"),
            (b"USER acme\r\n", "no PROXY header"),
        ] {
            let mut proxy = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            proxy.write_all(sent).await.unwrap();
            drop(proxy);
            let mut server = listener.accept().await.unwrap().0;
            assert_eq!(receive(&mut server).await.unwrap_err().to_string(), why);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..64), start in 0..3_usize) {
            let start = [&b""[..], LINE_START, SIGNATURE][start];
            let bytes = [start, &bytes].concat();
            if let Ok(Some((_, length))) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
                for cut in 0..length {
                    prop_assert_eq!(parse(&bytes[..cut]), Ok(None));
                }
            }
        }
    }
}
