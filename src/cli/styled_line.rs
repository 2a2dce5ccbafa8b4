//! Lines for a terminal: texts with styles, truncated to a width. Texts from other nodes are sanitized first, so that
//! they cannot control the terminal.

use std::fmt::Write as _;

/// The look of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// The terminal's default.
    Plain,
    /// A heading.
    Heading,
    /// Less important.
    Dim,
    /// A good state.
    Good,
    /// A problem.
    Bad,
    /// An unknown state.
    Unknown,
}

impl Style {
    /// Returns the parameters of the control sequence SGR (ECMA-48, section 8.3.117).
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Heading => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Unknown => "33",
        }
    }
}

/// A line of text without a line feed.
#[derive(Debug, Clone, Default)]
pub(super) struct StyledLine(Vec<(String, Style)>);

impl StyledLine {
    /// Returns a line of one text.
    pub(super) fn new(text: impl Into<String>, style: Style) -> Self {
        Self(vec![(text.into(), style)])
    }

    /// Adds `text` at the end.
    pub(super) fn push(&mut self, text: impl Into<String>, style: Style) {
        self.0.push((text.into(), style));
    }

    /// Formats the line with at most `width` characters, and with styles if `colour`.
    pub(super) fn render(&self, width: usize, colour: bool) -> String {
        let mut left = width;
        let mut out = String::new();
        let filled = self.0.iter().rposition(|(text, _)| !text.trim_end().is_empty()).map_or(0, |at| at + 1);
        for (index, (text, style)) in self.0[..filled].iter().enumerate() {
            let text = if index + 1 == filled { text.trim_end() } else { text };
            let part: String = text.chars().take(left).collect();
            left -= part.chars().count();
            if colour && *style != Style::Plain && !part.is_empty() {
                let _ = write!(out, "\x1b[{}m{part}\x1b[0m", style.code());
            } else {
                out += &part;
            }
        }
        out
    }
}

/// Returns `text` with a question mark for each character except printable ASCII, and with at most `max` characters.
pub(super) fn sanitize(text: &str, max: usize) -> String {
    let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let mut sanitized: String = text.chars().take(max + 1).map(printable).collect();
    if sanitized.len() > max {
        sanitized.truncate(max.saturating_sub(2));
        sanitized += "..";
    }
    sanitized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendering_truncates_and_styles() {
        let mut line = StyledLine::new("node", Style::Heading);
        line.push("  ", Style::Plain);
        line.push("up  ", Style::Good);
        line.push("  ", Style::Plain);
        let check = |width, colour, expected: &str| assert_eq!(line.render(width, colour), expected);
        check(80, false, "node  up");
        check(80, true, "\x1b[1mnode\x1b[0m  \x1b[32mup\x1b[0m");
        check(7, false, "node  u");
        check(7, true, "\x1b[1mnode\x1b[0m  \x1b[32mu\x1b[0m");
        check(4, true, "\x1b[1mnode\x1b[0m");
        check(0, true, "");
        assert_eq!(StyledLine::default().render(80, true), "");
    }

    #[test]
    fn sanitizing() {
        let check = |text: &str, most, expected: &str| assert_eq!(sanitize(text, most), expected, "{text:?}");
        check("node-1", 64, "node-1");
        check("a\u{1b}[31mb\n\r\t\0", 64, "a?[31mb????");
        check("\u{9b}2J\u{7f}\u{202e}é", 64, "?2J???");
        check("12345678", 8, "12345678");
        check("123456789", 8, "123456..");
        check("éééé", 3, "?..");
        check("abc", 0, "..");
    }
}
