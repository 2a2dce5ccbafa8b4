//! Times and durations in words.

use maud::{Markup, html};

use crate::mesh::Snapshot;
use crate::mesh::verdict::NodeStatus;
use crate::present::summary::{sentence, summary_with};
use crate::present::timestamp;

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

/// A moment, as the date and time in UTC; a script shows it in the reader's own time.
pub(super) fn clock(unix_ms: u64) -> Markup {
    let written = timestamp::format(unix_ms);
    html! { time datetime=(written) data-clock { (in_words(&written)) } }
}

/// A moment of the past; a script shows how long it is ago, and goes on counting.
pub(super) fn ago(unix_ms: u64) -> Markup {
    let written = timestamp::format(unix_ms);
    html! { time datetime=(written) data-ago { (in_words(&written)) } }
}

fn in_words(written: &str) -> String {
    written.replace('T', " ").replace('Z', " UTC")
}

/// Marks where a moment is written in a sentence.
const MARK: char = '\u{1}';

fn mark(unix_ms: u64) -> String {
    format!("{MARK}{unix_ms}{MARK}")
}

/// What `snapshot` comes to.
pub(super) fn told(snapshot: &Snapshot) -> Markup {
    with_clocks(&summary_with(snapshot, &mark))
}

/// What is concluded of the node with this index.
pub(super) fn told_of(snapshot: &Snapshot, index: usize) -> Markup {
    with_clocks(&sentence(snapshot, index, &mark))
}

fn with_clocks(sentence: &str) -> Markup {
    html! {
        // Between two marks there is a moment, and text around them.
        @for (place, part) in sentence.split(MARK).enumerate() {
            @if place % 2 == 0 { (part) } @else { (clock(part.parse().unwrap_or(0))) }
        }
    }
}

/// A verdict's word, with the class that gives it colour and symbol.
pub(super) fn standing(standing: NodeStatus) -> Markup {
    html! { span class={ "is " (class(standing)) } { (standing) } }
}

/// A verdict's symbol: it is never told by colour alone.
pub(super) fn symbol(standing: NodeStatus) -> &'static str {
    match standing {
        NodeStatus::Up => "✓",
        NodeStatus::Degraded => "▲",
        NodeStatus::Down => "✕",
        NodeStatus::Stopped => "■",
        NodeStatus::Unknown => "?",
        NodeStatus::NeverSeen => "○",
        NodeStatus::Conflict => "≠",
    }
}

/// A verdict as one letter, for scripts.
pub(super) fn letter(standing: NodeStatus) -> char {
    match standing {
        NodeStatus::Up => 'u',
        NodeStatus::Degraded => 'g',
        NodeStatus::Down => 'd',
        NodeStatus::Stopped => 's',
        NodeStatus::Unknown => 'k',
        NodeStatus::NeverSeen => 'n',
        NodeStatus::Conflict => 'c',
    }
}

/// The class of a verdict.
pub(super) fn class(standing: NodeStatus) -> &'static str {
    match standing {
        NodeStatus::NeverSeen => "never",
        other => other.as_str(),
    }
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
    fn moments_in_a_sentence() {
        let html = with_clocks(&format!("a <b> since {}, c", mark(784_111_777_123))).into_string();
        assert_eq!(
            html,
            "a &lt;b&gt; since <time datetime=\"1994-11-06T08:49:37Z\" data-clock>1994-11-06 08:49:37 UTC</time>, c"
        );
        for far in [253_402_300_800_000, crate::mesh::id::MAX_INTEGER, u64::MAX] {
            assert!(ago(far).into_string().contains("9999-12-31 23:59:59 UTC"), "{far}");
        }
    }
}
