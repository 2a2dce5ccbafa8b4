//! Addresses of proxies that may speak for others: one address or a whole subnet.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A subnet, as `192.0.2.0/24` or `2001:db8::/32`; a single address is one of full length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSubnet {
    /// Not of the form at all.
    #[error("expected an IP address or a subnet (192.0.2.0/24, 2001:db8::/32)")]
    Form,
    /// Bits of the host are set: the prefix or the address is mistyped.
    #[error("expected the first address of a subnet, {0}")]
    HostBits(String),
}

impl Subnet {
    /// Whether `address` lies in it. An IPv4 address mapped into IPv6 (`::ffff:192.0.2.1`) counts as the
    /// IPv4 address that it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && network(address, self.prefix) == self.address
    }
}

impl FromStr for Subnet {
    type Err = BadSubnet;

    fn from_str(text: &str) -> Result<Self, BadSubnet> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| BadSubnet::Form)?;
        if address != address.to_canonical() {
            return Err(BadSubnet::Form);
        }
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= longest).ok_or(BadSubnet::Form)?
            }
            Some(_) => return Err(BadSubnet::Form),
        };
        let first = network(address, prefix);
        if first != address {
            return Err(BadSubnet::HostBits(format!("{first}/{prefix}")));
        }
        Ok(Self { address, prefix })
    }
}

/// The first address of the subnet of `prefix` bits that `address` lies in.
fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership() {
        let check = |subnet: &str, address: &str, expected: bool| {
            let subnet: Subnet = subnet.parse().expect(subnet);
            assert_eq!(subnet.contains(address.parse().expect(address)), expected, "{subnet:?} {address}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.1.1.1", true);
        check("10.0.0.7", "10.0.0.7", true);
        check("10.0.0.7", "10.0.0.8", false);
        check("0.0.0.0/0", "255.255.255.255", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "2001:db8::1", true);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("::1", "::1", true);
    }

    #[test]
    fn what_is_no_subnet() {
        for text in
            ["", "proxy", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "::ffff:10.0.0.1"]
        {
            assert_eq!(text.parse::<Subnet>(), Err(BadSubnet::Form), "{text}");
        }
        assert_eq!("10.0.0.1/8".parse::<Subnet>(), Err(BadSubnet::HostBits("10.0.0.0/8".into())));
        assert_eq!("2001:db8::1/32".parse::<Subnet>(), Err(BadSubnet::HostBits("2001:db8::/32".into())));
    }
}
