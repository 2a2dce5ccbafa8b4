//! The matrix of observations: a row for each observer, a column for each target.

use super::screen::Screen;
use super::table::MAX_NAME;
use super::view::{ProbeStatus, View};
use crate::cli::styled_line::{Style, StyledLine, sanitize};

/// Returns the matrix with its legend, or a hint if the terminal is too narrow. Empty for a single node.
pub(super) fn lines(view: &View, screen: &Screen) -> Vec<StyledLine> {
    let ids: Vec<&String> = view.nodes.keys().collect();
    if ids.len() < 2 {
        return Vec::new();
    }
    let names: Vec<String> = ids.iter().map(|id| sanitize(id, MAX_NAME)).collect();
    let digits = ids.len().to_string().len();
    let name_width = names.iter().map(String::len).max().unwrap_or(0).max(TITLE.len());
    let width = digits + 1 + name_width + ids.len() * (digits + 1);
    if width > screen.width {
        return vec![StyledLine::new(
            too_wide(width, screen, &sanitize(&view.network_id, MAX_NAME)),
            Style::Dim,
        )];
    }
    let symbols = Symbols::of(screen.utf8);
    let mut header = StyledLine::new(format!("{:digits$} {TITLE:name_width$}", ""), Style::Heading);
    for number in 1..=ids.len() {
        header.push(format!(" {number:digits$}"), Style::Heading);
    }
    let mut lines = vec![header];
    for (index, (observer, name)) in ids.iter().zip(&names).enumerate() {
        let report = view.data.get(*observer);
        let old = report.is_none_or(|report| report.fresh == Some(false));
        let style = if old { Style::Dim } else { Style::Plain };
        let mut line = StyledLine::new(format!("{:digits$} {name:name_width$}", index + 1), style);
        for target in &ids {
            let observation = report.and_then(|report| report.ping_data.get(*target));
            let observation =
                observation.filter(|_| target != observer).map(|observation| observation.status);
            let (symbol, style) = symbols.of_observation(observation);
            // The symbol is below the last digit of the number of its column.
            line.push(" ".repeat(digits), Style::Plain);
            line.push(symbol, if old { Style::Dim } else { style });
        }
        lines.push(line);
    }
    lines.push(symbols.legend());
    lines
}

const TITLE: &str = "observer \\ target";

struct Symbols {
    online: &'static str,
    offline: &'static str,
    unknown: &'static str,
    missing: &'static str,
}

impl Symbols {
    fn of(utf8: bool) -> Self {
        if utf8 {
            Self { online: "●", offline: "✗", unknown: "?", missing: "·" }
        } else {
            Self { online: "o", offline: "x", unknown: "?", missing: "." }
        }
    }

    fn of_observation(&self, observation: Option<ProbeStatus>) -> (&'static str, Style) {
        match observation {
            Some(ProbeStatus::Online) => (self.online, Style::Good),
            Some(ProbeStatus::Offline) => (self.offline, Style::Bad),
            Some(ProbeStatus::Unknown) => (self.unknown, Style::Unknown),
            None => (self.missing, Style::Dim),
        }
    }

    fn legend(&self) -> StyledLine {
        let Self { online, offline, unknown, missing } = self;
        let text = format!("{online} online  {offline} offline  {unknown} unknown  {missing} no observation");
        StyledLine::new(text, Style::Dim)
    }
}

fn too_wide(width: usize, screen: &Screen, network: &str) -> String {
    let has = screen.width;
    if screen.height.is_some() {
        format!(
            "the matrix requires {width} columns, this terminal has {has}: widen it, or run \
             COLUMNS={width} distomon status {network} | less -S"
        )
    } else {
        format!(
            "the matrix requires {width} columns, available are {has}: run COLUMNS={width} distomon status {network}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(json: &str, width: usize, utf8: bool) -> String {
        let view: View = serde_json::from_str(json).expect(json);
        let screen = Screen { width, height: None, colour: false, utf8 };
        let lines: Vec<_> = lines(&view, &screen).iter().map(|line| line.render(500, false)).collect();
        lines.join("\n")
    }

    const THREE: &str = r#"{"network_id":"lan","nodes":{"a":{},"b":{},"c":{}},"data":{
        "a":{"ping_data":{"a":{"status":"online"},"b":{"status":"online"},"c":{"status":"offline"}}},
        "b":{"ping_data":{"a":{"status":"online"},"c":{}}}}}"#;

    #[test]
    fn rows_are_observers_and_columns_targets() {
        let expected = "  observer \\ target 1 2 3
1 a                 · ● ✗
2 b                 ● · ?
3 c                 · · ·
● online  ✗ offline  ? unknown  · no observation";
        assert_eq!(render(THREE, 25, true), expected);
        let ascii = render(THREE, 25, false);
        assert!(ascii.is_ascii() && ascii.contains("1 a                 . o x"), "{ascii}");
        assert_eq!(render(r#"{"nodes":{"a":{}}}"#, 80, true), "");
    }

    #[test]
    fn too_narrow() {
        let text = render(THREE, 24, true);
        assert_eq!(
            text,
            "the matrix requires 25 columns, available are 24: run COLUMNS=25 distomon status lan"
        );
        let many: Vec<_> = (10..110).map(|i| format!(r#""n{i}":{{}}"#)).collect();
        let text = render(&format!(r#"{{"network_id":"\u001b","nodes":{{{}}}}}"#, many.join(",")), 200, true);
        assert_eq!(
            text,
            "the matrix requires 421 columns, available are 200: run COLUMNS=421 distomon status ?"
        );
        let wide = render(&format!(r#"{{"nodes":{{{}}}}}"#, many.join(",")), 421, true);
        let widths: Vec<_> = wide.lines().take(101).map(|line| line.chars().count()).collect();
        assert_eq!(widths, [421; 101]);
    }
}
