//! Properties of standard output: size, colours and characters.

use std::io::IsTerminal as _;

/// The width without a terminal and without COLUMNS.
const DEFAULT_WIDTH: usize = 200;

/// Properties of standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Screen {
    /// The number of characters on a line.
    pub(super) width: usize,
    /// The number of lines; `None` without a terminal.
    pub(super) height: Option<usize>,
    /// Whether to use colours.
    pub(super) colour: bool,
    /// Whether characters beyond ASCII are supported.
    pub(super) utf8: bool,
}

impl Screen {
    /// Returns the current properties; the size of a window may change.
    pub(super) fn now() -> Self {
        let stdout = std::io::stdout();
        let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
        let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        Self::of(stdout.is_terminal(), size, |name| std::env::var(name).ok())
    }

    fn of(is_terminal: bool, size: Option<(usize, usize)>, env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let number = |name: &str| set(name)?.parse().ok().filter(|&number: &usize| number > 0);
        // A terminal of unknown size reports 0 × 0.
        let size = size.filter(|&(width, height)| width > 0 && height > 0);
        let (width, height) = if is_terminal {
            let (width, height) = size.unwrap_or((80, 24));
            (width, Some(height))
        } else {
            (number("COLUMNS").unwrap_or(DEFAULT_WIDTH), None)
        };
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Self {
            width,
            height,
            colour: is_terminal && set("NO_COLOR").is_none() && set("TERM").as_deref() != Some("dumb"),
            utf8: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_colours_and_characters() {
        let check = |size: Option<(usize, usize)>, env: &[(&str, &str)], expected: &str| {
            let get =
                |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let Screen { width, height, colour, utf8 } = Screen::of(size.is_some(), size, get);
            assert_eq!(format!("{width} {height:?} {colour} {utf8}"), expected, "{env:?}");
        };
        check(Some((100, 30)), &[("LANG", "en_GB.UTF-8"), ("COLUMNS", "5")], "100 Some(30) true true");
        check(Some((0, 0)), &[("LC_ALL", "C"), ("LANG", "C.utf8")], "80 Some(24) true false");
        check(Some((80, 24)), &[("NO_COLOR", "1")], "80 Some(24) false false");
        check(Some((80, 24)), &[("NO_COLOR", ""), ("TERM", "xterm")], "80 Some(24) true false");
        check(Some((80, 24)), &[("TERM", "dumb")], "80 Some(24) false false");
        check(None, &[], "200 None false false");
        check(None, &[("COLUMNS", "80"), ("LC_CTYPE", "C.UTF-8")], "80 None false true");
        check(None, &[("COLUMNS", "0")], "200 None false false");
    }
}
