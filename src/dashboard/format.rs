//! Times, durations and statuses as text and markup.

use maud::{Markup, html};

use crate::mesh::Snapshot;
use crate::mesh::verdict::NodeStatus;
use crate::mesh::wire::observation::ProbeStatus;
use crate::present::summary::{sentence, summary_with};
use crate::present::timestamp;

/// Formats a duration in ms coarsely: `3 s`, `5 min`, `20 h`, `4 d`.
pub(super) fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}

/// Formats Unix time in ms as date and time in UTC. A script shows it in the reader's time zone.
pub(super) fn time(unix_ms: u64) -> Markup {
    let timestamp = timestamp::format(unix_ms);
    html! { time datetime=(timestamp) data-clock { (readable(&timestamp)) } }
}

/// Formats Unix time in ms like [`time`]. A script shows how long ago that was.
pub(super) fn time_ago(unix_ms: u64) -> Markup {
    let timestamp = timestamp::format(unix_ms);
    html! { time datetime=(timestamp) data-ago { (readable(&timestamp)) } }
}

fn readable(timestamp: &str) -> String {
    timestamp.replace('T', " ").replace('Z', " UTC")
}

/// Encloses a time in a sentence, so that markup can replace it.
const TIME_MARK: char = '\u{1}';

fn mark_time(unix_ms: u64) -> String {
    format!("{TIME_MARK}{unix_ms}{TIME_MARK}")
}

/// Summarises the network in `snapshot` in one sentence.
pub(super) fn network_sentence(snapshot: &Snapshot) -> Markup {
    replace_times(&summary_with(snapshot, &mark_time))
}

/// Summarises the verdict on the node with this index in one sentence.
pub(super) fn node_sentence(snapshot: &Snapshot, index: usize) -> Markup {
    replace_times(&sentence(snapshot, index, &mark_time))
}

fn replace_times(sentence: &str) -> Markup {
    html! {
        // Texts and times alternate.
        @for (position, part) in sentence.split(TIME_MARK).enumerate() {
            @if position % 2 == 0 { (part) } @else { (time(part.parse().unwrap_or(0))) }
        }
    }
}

/// Formats a node's status, with the class that adds colour and symbol.
pub(super) fn node_status(status: NodeStatus) -> Markup {
    html! { span class={ "node-status " (status_class(status)) } { (status) } }
}

/// Formats a probe's status, with the class that adds colour and symbol.
pub(super) fn probe_status(status: ProbeStatus) -> Markup {
    html! { span class={ "probe-status " (status.as_str()) } { (status) } }
}

/// Returns the symbol of a node's status, for readers who cannot distinguish the colours.
pub(super) fn status_symbol(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Up => "✓",
        NodeStatus::Degraded => "▲",
        NodeStatus::Down => "✕",
        NodeStatus::Stopped => "■",
        NodeStatus::Unknown => "?",
        NodeStatus::NeverSeen => "○",
        NodeStatus::Conflict => "≠",
    }
}

/// Returns the letter by which scripts know a node's status.
pub(super) fn status_letter(status: NodeStatus) -> char {
    match status {
        NodeStatus::Up => 'u',
        NodeStatus::Degraded => 'g',
        NodeStatus::Down => 'd',
        NodeStatus::Stopped => 's',
        NodeStatus::Unknown => 'k',
        NodeStatus::NeverSeen => 'n',
        NodeStatus::Conflict => 'c',
    }
}

/// Returns the class of a node's status.
pub(super) fn status_class(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::NeverSeen => "never",
        other => other.as_str(),
    }
}

/// Formats a round-trip time in µs as ms with about three digits.
pub(super) fn milliseconds(us: u32) -> String {
    let ms = f64::from(us) / 1000.0;
    match us {
        0..10_000 => format!("{ms:.2}"),
        10_000..100_000 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// Formats the offset of a clock in ms with its sign.
pub(super) fn clock_offset(ms: i64) -> String {
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
    fn durations_and_offsets() {
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
            assert_eq!(clock_offset(ms), text);
        }
        assert!(clock_offset(i64::MIN).starts_with('−'));
    }

    #[test]
    fn times_in_a_sentence() {
        let html = replace_times(&format!("a <b> since {}, c", mark_time(784_111_777_123))).into_string();
        assert_eq!(
            html,
            "a &lt;b&gt; since <time datetime=\"1994-11-06T08:49:37Z\" data-clock>1994-11-06 08:49:37 UTC</time>, c"
        );
        for far in [253_402_300_800_000, crate::mesh::id::MAX_INTEGER, u64::MAX] {
            assert!(time_ago(far).into_string().contains("9999-12-31 23:59:59 UTC"), "{far}");
        }
    }
}
