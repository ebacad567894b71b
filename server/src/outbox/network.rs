//! Which addresses the Internet reaches. A webhook's name is looked up, each address is asked about here, and the
//! connection goes to the very address that passed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// False for this host, private and shared networks, link-local ones (where clouds keep their metadata), documentation,
/// multicast, and IPv6 forms that carry an IPv4 address, but for NAT64 of a public one.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let closed: [(u32, u32); 15] = [
        (0x0000_0000, 8),  // this network
        (0x0a00_0000, 8),  // private
        (0x6440_0000, 10), // shared by a carrier's customers
        (0x7f00_0000, 8),  // this host
        (0xa9fe_0000, 16), // link-local, cloud metadata
        (0xac10_0000, 12), // private
        (0xc000_0000, 24), // protocol assignments
        (0xc000_0200, 24), // documentation
        (0xc058_6300, 24), // 6to4 relays
        (0xc0a8_0000, 16), // private
        (0xc612_0000, 15), // benchmarks
        (0xc633_6400, 24), // documentation
        (0xcb00_7100, 24), // documentation
        (0xe000_0000, 4),  // multicast
        (0xf000_0000, 4),  // reserved, broadcast
    ];
    let bits = address.to_bits();
    !closed.iter().any(|(network, length)| (bits ^ network) >> (32 - length) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    let within = |network: u128, length: u32| (bits ^ network) >> (128 - length) == 0;
    if within(0x0064_ff9b << 96, 96) {
        // NAT64: how a network without IPv4 reaches the rest.
        return u32::try_from(bits & 0xffff_ffff).is_ok_and(|low| is_public_v4(Ipv4Addr::from_bits(low)));
    }
    within(0x2000 << 112, 3)
        && !within(0x2001 << 112, 23) // protocol assignments, Teredo
        && !within(0x2001_0db8 << 96, 32) // documentation
        && !within(0x2002 << 112, 16) // 6to4
        && !within(0x3fff << 112, 20) // documentation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_internet_reaches() {
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(text.parse().map(is_public), Ok(true), "{text}");
        }
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:0a00:0001::1",
            "3fff::1",
            "4000::1",
        ] {
            assert_eq!(text.parse().map(is_public), Ok(false), "{text}");
        }
    }
}
