//! Conditional requests (RFC 9110, section 13).

/// Returns whether the `If-None-Match` field `list` contains `etag`, by the weak comparison.
pub(crate) fn matches_etag(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
