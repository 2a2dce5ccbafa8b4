//! Client addresses: the prefix that limits apply to, and the client behind a trusted proxy.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::subnet::Subnet;

/// The address prefix that limits apply to: one IPv4 address or one IPv6 /64, within which a host chooses
/// its addresses freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ClientPrefix {
    /// An IPv4 address, IPv4-mapped IPv6 addresses included.
    V4([u8; 4]),
    /// The first half of an IPv6 address.
    V6([u8; 8]),
}

impl From<IpAddr> for ClientPrefix {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let mut prefix = [0; 8];
                prefix.copy_from_slice(&v6.octets()[..8]);
                Self::V6(prefix)
            }
        }
    }
}

/// An IPv4 address alone, an IPv6 prefix as `2001:db8::/64`.
impl fmt::Display for ClientPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(octets) => Ipv4Addr::from(*octets).fmt(f),
            Self::V6(prefix) => {
                let mut octets = [0; 16];
                octets[..8].copy_from_slice(prefix);
                write!(f, "{}/64", Ipv6Addr::from(octets))
            }
        }
    }
}

/// Returns whether one of `subnets` contains `address`.
pub(super) fn contains(subnets: &[Subnet], address: IpAddr) -> bool {
    subnets.iter().any(|subnet| subnet.contains(address))
}

/// Returns the client of a request: `peer`, or if that is a trusted proxy, the last address in
/// `X-Forwarded-For` that is not trusted, with port 0. Addresses before that one are unverified and ignored,
/// as is everything before an element that is not an address.
pub(super) fn behind_proxies(
    peer: SocketAddr,
    forwarded_for: Option<&str>,
    trusted: &[Subnet],
) -> SocketAddr {
    let mut client = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let Some(list) = forwarded_for else { return client };
    for element in list.rsplit(',') {
        if !contains(trusted, client.ip()) {
            break;
        }
        let Some(address) = parse_element(element.trim()) else { break };
        client = SocketAddr::new(address.to_canonical(), 0);
    }
    client
}

/// Parses an address as proxies write it: bare, with a port, in brackets, or in brackets with a port.
fn parse_element(text: &str) -> Option<IpAddr> {
    text.parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|with_port| with_port.ip()))
        .ok()
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn prefixes_group_addresses() {
        let check = |a: &str, b: &str, same: bool| {
            assert_eq!(ClientPrefix::from(ip(a)) == ClientPrefix::from(ip(b)), same, "{a} {b}");
        };
        check("10.0.0.1", "::ffff:10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("2001:db8:0:1::1", "2001:db8:0:1:ffff::", true);
        check("2001:db8:0:1::1", "2001:db8:0:2::1", false);
        check("::ffff:1.2.3.4", "::ffff:1.2.3.5", false);
    }

    #[test]
    fn prefixes_are_displayed_as_subnets() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ] {
            assert_eq!(ClientPrefix::from(ip(address)).to_string(), expected);
        }
    }

    #[test]
    fn trusted_proxies_name_the_client() {
        let trusted = ["10.0.0.0/8".parse().expect("a range"), "::1".parse().expect("a range")];
        let check = |peer: &str, forwarded: Option<&str>, expected: &str| {
            let peer: SocketAddr = peer.parse().expect("an address");
            assert_eq!(
                behind_proxies(peer, forwarded, &trusted).to_string(),
                expected,
                "{peer} {forwarded:?}"
            );
        };
        check("192.0.2.1:5", None, "192.0.2.1:5");
        check("[::ffff:192.0.2.1]:5", None, "192.0.2.1:5");
        check("192.0.2.1:5", Some("198.51.100.1"), "192.0.2.1:5");
        check("10.0.0.1:5", None, "10.0.0.1:5");
        check("10.0.0.1:5", Some("198.51.100.1"), "198.51.100.1:0");
        check("[::ffff:10.0.0.1]:5", Some("198.51.100.1"), "198.51.100.1:0");
        check("10.0.0.1:5", Some("1.1.1.1, 198.51.100.1"), "198.51.100.1:0");
        check("10.0.0.1:5", Some("1.1.1.1, 198.51.100.1, 10.9.9.9"), "198.51.100.1:0");
        check("10.0.0.1:5", Some("198.51.100.1:4711"), "198.51.100.1:0");
        check("[::1]:5", Some("[2001:db8::1]:80"), "[2001:db8::1]:0");
        check("[::1]:5", Some("[2001:db8::1]"), "[2001:db8::1]:0");
        check("10.0.0.1:5", Some("198.51.100.1, unknown"), "10.0.0.1:5");
        check("10.0.0.1:5", Some(""), "10.0.0.1:5");
        check("10.0.0.1:5", Some("10.0.0.2, 10.0.0.3"), "10.0.0.2:0");
    }
}
