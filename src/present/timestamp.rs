//! Times as text: RFC 3339 in UTC, or Unix time in ms.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// The end of the year 9999, the last one that RFC 3339 can express: Unix time in ms.
const LAST_MS: u64 = 253_402_300_799_999;

/// The formats that [`parse`] accepts, for error messages.
pub const EXPECTED: &str = "expected a time as 2026-01-31T03:00:00Z (RFC 3339), or Unix time in ms";

/// Formats Unix time in ms as `2026-01-31T03:00:00Z`, to the second.
pub fn format(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms.min(LAST_MS) / 1000).unwrap_or(0);
    let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    date.format(&Rfc3339).unwrap_or_default()
}

/// Parses RFC 3339, with any offset and up to nanoseconds, or Unix time in ms. Returns Unix time in ms, or `None`
/// for anything else and for times before 1970.
pub fn parse(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().filter(|&ms| ms <= LAST_MS);
    }
    let date = OffsetDateTime::parse(text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC);
    u64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok()
}

/// Parses a time from the query of a URL. Like [`parse`], but accepts a `+` that the client did not escape, which
/// a query decodes to a space.
pub fn parse_query(text: &str) -> Option<u64> {
    parse(text).or_else(|| parse(&text.replace(' ', "+")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse(text), expected, "{text:?}");
        check("2026-01-31T03:00:00Z", Some(1_769_828_400_000));
        check("2026-01-31T04:30:00.250+01:30", Some(1_769_828_400_250));
        check("2026-01-31 03:00:00Z", Some(1_769_828_400_000));
        check("1769828400123", Some(1_769_828_400_123));
        check("0", Some(0));
        for bad in [
            "",
            "-1",
            "now",
            "2026-01-31",
            "2026-02-30T00:00:00Z",
            "99999999999999999999",
            "1969-12-31T23:59:59Z",
        ] {
            check(bad, None);
        }
        for ms in [0, 1_769_828_400_000, LAST_MS - 999] {
            check(&format(ms), Some(ms));
        }
        assert_eq!(format(1_769_828_400_999), "2026-01-31T03:00:00Z");
        assert_eq!(format(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
