//! Subnets of IP addresses, by which trusted proxies are configured.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A subnet, as `192.0.2.0/24` or `2001:db8::/32`; a single address is a subnet with the longest prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet(IpNet);

/// The reason why a text is not a subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSubnet {
    /// Neither an address nor an address with a prefix length.
    #[error("expected an IP address or a subnet (192.0.2.0/24, 2001:db8::/32)")]
    Syntax,
    /// Bits after the prefix are set, so the prefix or the address is mistyped. Holds the subnet with these bits cleared.
    #[error("expected the first address of a subnet, {0}")]
    HostBits(IpNet),
}

impl Subnet {
    /// Returns whether the subnet contains `address`. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) counts as
    /// its IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Subnet {
    type Err = BadSubnet;

    fn from_str(text: &str) -> Result<Self, BadSubnet> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| BadSubnet::Syntax)?;
        if address != address.to_canonical() {
            return Err(BadSubnet::Syntax);
        }
        let subnet = match prefix {
            None => IpNet::from(address),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let length = digits.parse().map_err(|_| BadSubnet::Syntax)?;
                IpNet::new(address, length).map_err(|_| BadSubnet::Syntax)?
            }
            Some(_) => return Err(BadSubnet::Syntax),
        };
        if subnet.network() != address {
            return Err(BadSubnet::HostBits(subnet.trunc()));
        }
        Ok(Self(subnet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_contain_addresses_with_their_prefix() {
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
        check("10.0.0.0/008", "10.1.1.1", true);
    }

    #[test]
    fn invalid_subnets_are_rejected() {
        for text in
            ["", "proxy", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "::ffff:10.0.0.1"]
        {
            assert_eq!(text.parse::<Subnet>(), Err(BadSubnet::Syntax), "{text}");
        }
        assert_eq!(
            "10.0.0.1/8".parse::<Subnet>(),
            Err(BadSubnet::HostBits("10.0.0.0/8".parse().expect("a subnet")))
        );
        assert_eq!(
            "2001:db8::1/32".parse::<Subnet>(),
            Err(BadSubnet::HostBits("2001:db8::/32".parse().expect("a subnet")))
        );
    }
}
