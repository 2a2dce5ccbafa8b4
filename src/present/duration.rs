//! Durations as text.

/// Formats a duration in ms as seconds with one decimal: `4.2 s`.
pub fn format_seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}
