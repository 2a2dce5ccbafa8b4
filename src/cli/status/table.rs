//! The table of a network: a heading and a row for each node.

use std::time::{Duration, UNIX_EPOCH};

use super::outcome::Outcome;
use super::view::{NodeEntry, Observation, ProbeStatus, Report, Verdict, View};
use crate::cli::styled_line::{Style, StyledLine, sanitize};
use crate::mesh::wire::observation::Failure;

/// The length limit of a name in characters.
pub(super) const MAX_NAME: usize = 64;

/// The length limit of the summary in characters.
const MAX_HEADLINE: usize = 1000;

/// The last second of a date with a four-digit year, as Unix time in ms.
const LAST_DATE_MS: u64 = 253_402_300_799_000;

const HEADINGS: [&str; 8] = ["NODE", "STATUS", "SINCE", "RTT", "CLOCK", "VERSION", "REPORT", "NOTES"];

/// Returns the heading and the table. `stale` means that the queried node has stopped evaluating.
pub(super) fn lines(view: &View, stale: bool, utf8: bool) -> Vec<StyledLine> {
    let mut lines = vec![heading(view)];
    if let Some(headline) = &view.headline {
        let style = match view.outcome(None) {
            Outcome::AllUp => Style::Good,
            Outcome::Unknown => Style::Unknown,
            Outcome::Problem => Style::Bad,
        };
        lines.insert(0, StyledLine::new(sanitize(headline, MAX_HEADLINE), style));
    }
    let mut warn = |text: &str| lines.push(StyledLine::new(text, Style::Unknown));
    if stale {
        warn("this snapshot is old: the node has stopped evaluating, so the current state is unknown");
    }
    if view.isolated {
        warn("this node finds more than half of its peers offline and may be isolated: check its network");
    }
    if view.twin {
        lines.push(StyledLine::new(
            "another process signs with this node's key: stop one of the two and give it a new key",
            Style::Bad,
        ));
    }
    let rows: Vec<_> = view.nodes.iter().map(|(id, node)| row(view, id, node, utf8)).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].0.chars().count());
        widths.max().unwrap_or(0).max(HEADINGS[column].len())
    };
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let headings = HEADINGS.map(|text| (text.to_owned(), Style::Heading));
    for row in std::iter::once(headings).chain(rows) {
        let mut line = StyledLine::default();
        for ((text, style), width) in row.into_iter().zip(&widths) {
            let padding = " ".repeat(width.saturating_sub(text.chars().count()) + 2);
            line.push(text, style);
            line.push(padding, Style::Plain);
        }
        lines.push(line);
    }
    lines
}

fn heading(view: &View) -> StyledLine {
    let mut line = StyledLine::new(sanitize(&view.network_id, MAX_NAME), Style::Heading);
    line.push(format!(", seen by {}: ", sanitize(&view.node_id, MAX_NAME)), Style::Plain);
    let (nodes, online) = (view.nodes.len(), view.online());
    let count = format!("{nodes} {}, {online} online", if nodes == 1 { "node" } else { "nodes" });
    line.push(count, if online == nodes { Style::Good } else { Style::Bad });
    if let Some(at) = view.generated_at.filter(|&at| at <= LAST_DATE_MS) {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(at));
        line.push(format!("; {date}"), Style::Dim);
    }
    line
}

type Cell = (String, Style);

fn row(view: &View, id: &str, node: &NodeEntry, utf8: bool) -> [Cell; 8] {
    let own = view.data.get(&view.node_id);
    let observation = own.and_then(|report| report.ping_data.get(id));
    let report = view.data.get(id);
    let verdict = view.verdicts.get(id);
    let since = verdict.map_or(node.since, |verdict| verdict.since);
    let since = since.zip(view.generated_at).map(|(since, at)| duration(at.saturating_sub(since)));
    let rtt = observation.and_then(|observation| observation.response_time).map(milliseconds);
    let clock = observation.and_then(|observation| offset(observation, utf8));
    let version = report.and_then(|report| report.node_version.as_deref()).map(|text| sanitize(text, 32));
    let age = report.and_then(|report| report.age_ms).map(duration);
    let old = report.is_some_and(|report| report.fresh == Some(false));
    let (notes, style) = notes(view, id, node);
    let plain = |text: Option<String>| (text.unwrap_or_else(|| "-".into()), Style::Plain);
    [
        (sanitize(id, MAX_NAME), Style::Plain),
        verdict.map_or_else(|| status_cell(view.status(id)), verdict_cell),
        plain(since),
        plain(rtt),
        plain(clock),
        plain(version),
        (plain(age).0, if old { Style::Unknown } else { Style::Plain }),
        (notes, style),
    ]
}

fn verdict_cell(verdict: &Verdict) -> Cell {
    let style = match verdict.status.as_str() {
        "up" => Style::Good,
        "down" | "conflict" | "degraded" => Style::Bad,
        _ => Style::Unknown,
    };
    (sanitize(&verdict.status, MAX_NAME), style)
}

fn status_cell(status: ProbeStatus) -> Cell {
    let (word, style) = match status {
        ProbeStatus::Online => ("online", Style::Good),
        ProbeStatus::Offline => ("offline", Style::Bad),
        ProbeStatus::Unknown => ("unknown", Style::Unknown),
    };
    (word.into(), style)
}

/// Returns notes on a node, the most severe first.
fn notes(view: &View, id: &str, node: &NodeEntry) -> Cell {
    let missing = Report::default();
    let report = view.data.get(id).unwrap_or(&missing);
    let mut notes = Vec::new();
    if report.conflict {
        notes.push("conflict: it signed two different reports with the same number".to_owned());
    }
    let other = report.config.as_ref().zip(view.config.as_ref()).is_some_and(|(its, ours)| its != ours);
    let is_own = id == view.node_id;
    let cause = view.verdicts.get(id).and_then(|verdict| verdict.cause.as_deref());
    notes.extend(cause.map(|cause| format!("cause: {}", sanitize(cause, MAX_NAME))));
    let error = node.error.as_deref().filter(|error| !error.is_empty() && !is_own);
    notes.extend(error.map(describe_error));
    for (applies, note) in [
        (node.is_without_key(), "no public key, so it does not participate"),
        (report.leaving, "stopped on purpose"),
        (report.isolated && !is_own, "reports that it is isolated"),
        (report.overloaded, "reports that it is overloaded"),
        (other, "other configuration"),
        (report.fresh == Some(false), "report is old"),
        (is_own, "this node"),
    ] {
        if applies {
            notes.push(note.into());
        }
    }
    let style = if report.conflict { Style::Bad } else { Style::Plain };
    (notes.join("; "), style)
}

/// Describes an error.
fn describe_error(error: &str) -> String {
    let known = Failure::ALL.iter().find(|known| known.as_str() == error);
    known.map_or_else(|| sanitize(error, MAX_NAME), |known| format!("{known}: {}", known.meaning()))
}

/// Formats the offset of the node's clock and its uncertainty.
fn offset(observation: &Observation, utf8: bool) -> Option<String> {
    let ahead = observation.clock_offset_ms?;
    let within = observation.response_time.map(|rtt| {
        format!("{}{}", if utf8 { " ±" } else { " +/-" }, milliseconds(rtt / 2.0).trim_end_matches(" ms"))
    });
    Some(format!("{ahead:+}{} ms", within.unwrap_or_default()))
}

/// Formats a time in ms with about three digits.
fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

/// Formats a duration in its two largest units.
fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..=9 => format!("{s}.{} s", ms % 1000 / 100),
        10..=59 => format!("{s} s"),
        60..=3599 => format!("{} min {} s", s / 60, s % 60),
        3600..=86_399 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(json: &str, utf8: bool) -> String {
        let view: View = serde_json::from_str(json).expect(json);
        let lines: Vec<_> = lines(&view, false, utf8).iter().map(|line| line.render(200, false)).collect();
        lines.join("\n")
    }

    #[test]
    fn renders_a_row_for_each_node() {
        let json = r#"{"network_id":"lan","node_id":"a","generated_at":1763884912345,"config":"AA",
            "data":{"a":{"node_version":"0.1.0","age_ms":400,"fresh":true,"config":"AA","ping_data":{
                        "b":{"status":"online","response_time":0.8124,"clock_offset_ms":-3},
                        "c":{"status":"offline"}}},
                    "b":{"node_version":"0.2.0","age_ms":65000,"fresh":false,"config":"BB","leaving":true}},
            "nodes":{"a":{"keys":1},"b":{"status":"online","since":1763884900000,"keys":1},
                     "c":{"status":"offline","since":1763800000000,"error":"refused","keys":0}}}"#;
        let expected = "\
lan, seen by a: 3 nodes, 2 online; Sun, 23 Nov 2025 08:01:52 GMT
NODE  STATUS   SINCE      RTT      CLOCK          VERSION  REPORT     NOTES
a     online   -          -        -              0.1.0    0.4 s      this node
b     online   12 s       0.81 ms  -3 ±0.41 ms    0.2.0    1 min 5 s  stopped on purpose; other configuration; report is old
c     offline  23 h 35 min  -        -              -        -          refused: nothing listens at its address; no public key, so it does not participate";
        let squeeze = |text: &str| {
            let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            lines.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(squeeze(&render(json, true)), squeeze(expected));
        let ascii = render(json, false);
        assert!(ascii.is_ascii() && ascii.contains("-3 +/-0.41 ms"), "{ascii}");
        let starts: Vec<_> = ascii.lines().skip(1).map(|line| line.find("  ")).collect();
        assert_eq!(starts.len(), 4, "{ascii}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let json = r#"{"network_id":"\u001b[2J","node_id":"\u009b1m","generated_at":18446744073709551615,
            "data":{"x\u0007":{"node_version":"\u001b]0;title\u0007"}},
            "nodes":{"x\u0007":{"error":"\u001b[31m","since":99999999999999999}}}"#;
        let text = render(json, true);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.contains("?[2J"), "{text}");
    }

    #[test]
    fn times() {
        let check = |ms, expected: &str| assert_eq!(duration(ms), expected);
        check(0, "0.0 s");
        check(9_999, "9.9 s");
        check(59_999, "59 s");
        check(60_000, "1 min 0 s");
        check(3_600_000, "1 h 0 min");
        check(90_000_000, "1 d 1 h");
        check(u64::MAX, "213503982334 d 14 h");
        let check = |ms, expected: &str| assert_eq!(milliseconds(ms), expected);
        check(0.804, "0.80 ms");
        check(12.34, "12.3 ms");
        check(1234.5, "1234 ms");
        check(f64::NAN, "NaN ms");
    }
}
