//! The parts of a peer's url that a request needs. `config` has checked the url: it has no user, query or fragment.

/// A url of a peer in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PeerUrl<'a> {
    pub(super) https: bool,
    /// A host name or an IP address, an IPv6 address without its brackets.
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// The value of the `Host` field: without the scheme's default port.
    pub(super) authority: &'a str,
    /// The path, at least `/`.
    pub(super) path: &'a str,
}

impl<'a> PeerUrl<'a> {
    /// Splits `url` into its parts. Returns `None` for another scheme or an invalid port.
    pub(super) fn parse(url: &'a str) -> Option<Self> {
        let (https, rest) = match url.strip_prefix("http://") {
            Some(rest) => (false, rest),
            None => (true, url.strip_prefix("https://")?),
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let default_port = if https { 443 } else { 80 };
        // A colon before a bracket is part of an IPv6 address.
        let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, default_port),
        };
        let authority = if port == default_port { host } else { authority };
        Some(Self { https, host: host.trim_matches(['[', ']']), port, authority, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        for (url, https, host, port, authority, path) in [
            ("http://10.0.0.1:8000/mon/n", false, "10.0.0.1", 8000, "10.0.0.1:8000", "/mon/n"),
            ("https://h.example./a/b:c/mon/n", true, "h.example.", 443, "h.example.", "/a/b:c/mon/n"),
            ("http://[::1]:8000", false, "::1", 8000, "[::1]:8000", "/"),
            ("https://[fe80::1]/x:1", true, "fe80::1", 443, "[fe80::1]", "/x:1"),
            ("http://h:80/", false, "h", 80, "h", "/"),
            ("https://h:80/", true, "h", 80, "h:80", "/"),
            ("https://h:443/", true, "h", 443, "h", "/"),
        ] {
            let expected = PeerUrl { https, host, port, authority, path };
            assert_eq!(PeerUrl::parse(url), Some(expected), "{url}");
        }
        for url in ["h", "ftp://h/", "http://h:x/", "http://h:65536/"] {
            assert_eq!(PeerUrl::parse(url), None, "{url}");
        }
    }
}
