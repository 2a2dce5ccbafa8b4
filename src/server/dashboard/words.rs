//! Times and durations in words.

use std::time::{Duration, UNIX_EPOCH};

/// The first moment that `httpdate` cannot write: the year 10000, as Unix time in ms.
const YEAR_10000_MS: u64 = 253_402_300_800_000;

/// A duration, coarsely: `3 s`, `5 min`, `20 h`, `4 d`.
pub(super) fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}

/// How long `since_ms` is past at `now_ms`, both Unix time in ms. Another node's clock may be ahead.
pub(super) fn since(since_ms: u64, now_ms: u64) -> String {
    duration(now_ms.saturating_sub(since_ms))
}

/// The exact time of Unix time in ms: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn exact(unix_ms: u64) -> String {
    if unix_ms >= YEAR_10000_MS {
        return "a time that no calendar has".to_owned();
    }
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(unix_ms))
}

/// A round-trip time in ms, to three digits or so.
pub(super) fn milliseconds(us: u32) -> String {
    let ms = f64::from(us) / 1000.0;
    match us {
        0..10_000 => format!("{ms:.2}"),
        10_000..100_000 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// A clock's offset with its sign.
pub(super) fn offset(ms: i64) -> String {
    let size = ms.unsigned_abs();
    let sign = match ms.signum() {
        1 => "+",
        -1 => "−",
        _ => "±",
    };
    if size < 10_000 { format!("{sign}{size} ms") } else { format!("{sign}{}", duration(size)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (ms, text) in [
            (0, "0 s"),
            (999, "0 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_199_999, "119 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
            (u64::MAX, "213503982334 d"),
        ] {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(since(5_000, 3_000), "0 s");
        for (us, text) in [
            (0, "0.00"),
            (812, "0.81"),
            (9_999, "10.00"),
            (12_345, "12.3"),
            (123_456, "123"),
            (u32::MAX, "4294967"),
        ] {
            assert_eq!(milliseconds(us), text);
        }
        for (ms, text) in [(0, "±0 ms"), (3, "+3 ms"), (-12, "−12 ms"), (90_000, "+90 s")] {
            assert_eq!(offset(ms), text);
        }
        assert!(offset(i64::MIN).starts_with('−'));
    }

    #[test]
    fn any_time_is_written() {
        assert_eq!(exact(784_111_777_123), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(exact(YEAR_10000_MS - 1), "Fri, 31 Dec 9999 23:59:59 GMT");
        for far in [YEAR_10000_MS, crate::mesh::id::MAX_INTEGER, u64::MAX] {
            assert_eq!(exact(far), "a time that no calendar has");
        }
    }
}
