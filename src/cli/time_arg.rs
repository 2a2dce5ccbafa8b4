//! Time arguments as people write them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::present::timestamp;

const DAY_MS: u64 = 86_400_000;

/// Parses a time argument, relative to now, to Unix time in ms.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    read(text, u64::try_from(now.as_millis()).unwrap_or(0)).ok_or_else(|| {
        "expected a time as 2026-01-31T03:00:00Z, \"2026-01-31 03:00\" or 03:00 (UTC), or a duration before now: \
         90s, 15m, 2h, 1d"
            .to_owned()
    })
}

/// Parses a time argument relative to `now_ms`. A time of day is the last one before `now_ms`; a time without an offset
/// is UTC, as in all output.
fn read(text: &str, now_ms: u64) -> Option<u64> {
    let text = text.trim();
    // A short number is ambiguous; Unix time in ms has had at least twelve digits since 1973.
    if text.len() < 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    timestamp::parse(text)
        .or_else(|| timestamp::parse(&format!("{text}Z")))
        .or_else(|| timestamp::parse(&format!("{text}:00Z")))
        .or_else(|| ago(text).and_then(|ms| now_ms.checked_sub(ms)))
        .or_else(|| {
            let today = timestamp::format(now_ms);
            let date = today.split('T').next()?;
            let of_day =
                ["Z", ":00Z"].iter().find_map(|end| timestamp::parse(&format!("{date}T{text}{end}")))?;
            if of_day > now_ms { of_day.checked_sub(DAY_MS) } else { Some(of_day) }
        })
}

/// Parses a duration to ms.
fn ago(text: &str) -> Option<u64> {
    let text = text.strip_suffix("ago").unwrap_or(text).trim_end();
    let text = text.strip_prefix('-').unwrap_or(text);
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit.trim_start() {
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_forms() {
        let now_ms = timestamp::parse("2026-01-31T12:30:00Z").expect("a time");
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(read(text, now_ms).map(timestamp::format).as_deref(), expected, "{text:?}");
        };
        check("2026-01-30T03:00:00Z", Some("2026-01-30T03:00:00Z"));
        check("2026-01-30T03:00:00+02:00", Some("2026-01-30T01:00:00Z"));
        check("2026-01-30 03:00:00", Some("2026-01-30T03:00:00Z"));
        check("2026-01-30 03:00", Some("2026-01-30T03:00:00Z"));
        check("03:00", Some("2026-01-31T03:00:00Z"));
        check("03:00:15", Some("2026-01-31T03:00:15Z"));
        check("23:00", Some("2026-01-30T23:00:00Z"));
        check("15m", Some("2026-01-31T12:15:00Z"));
        check("-15m", Some("2026-01-31T12:15:00Z"));
        check("2 h ago", Some("2026-01-31T10:30:00Z"));
        check("90s", Some("2026-01-31T12:28:30Z"));
        check("1d", Some("2026-01-30T12:30:00Z"));
        check("1769828400123", Some("2026-01-31T03:00:00Z"));
        for bad in ["", "3 a.m.", "25:00", "15", "x", "m", "99999999999d", "yesterday", "2026-01-30"] {
            check(bad, None);
        }
    }
}
