//! `distomon explain`: how the node on this host comes to a verdict, step by step.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::error::CliError;
use super::query::query;
use super::styled_line::sanitize;
use super::{EX_UNAVAILABLE, EX_USAGE, Global, time_arg};
use crate::config::NodeUrl;
use crate::mesh::id::is_name;
use crate::present::timestamp;

/// The most characters of any text that the node answers with.
const TEXT: usize = 200;

const EXAMPLES: &str = "\
Examples:
  sudo distomon explain production node-3
  sudo distomon explain production node-3 --at 02:47
  sudo distomon explain production node-3 --at 15m
  sudo distomon explain production node-3 --json | jq .ballot";

/// Explain the verdict on a node: who says what by which report, who abstains, and which rule decided
///
/// The node on this host is asked for its own reckoning; any other node's can be asked with --url, and all of
/// them reach the same verdict from the same reports. With --at it tells how it came to the verdict that stood
/// then, as far back as it remembers: it keeps the last changes since it was started, and distomon changes
/// lists them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The network: its network_id or its directory under networks/
    network: String,
    /// The node that the verdict is about
    node: String,
    /// Explain the verdict that stood then: 2026-01-31T03:00:00Z, "2026-01-31 03:00", 03:00 (all UTC unless
    /// they name an offset), or how long ago: 90s, 15m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = time_arg::parse, allow_hyphen_values = true)]
    at: Option<u64>,
    /// Print the node's answer as JSON
    #[arg(long)]
    json: bool,
    /// Ask the node at this address instead of the one on this host
    #[arg(long, value_name = "URL", value_parser = NodeUrl::parse)]
    url: Option<NodeUrl>,
}

/// Prints the explanation. Exit status 0, 64 for a name that is none, 69 where the node does not answer it.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    match explain(args, global) {
        Ok(text) => {
            super::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => error.report("explain"),
    }
}

fn explain(args: &Args, global: &Global) -> Result<String, CliError> {
    if !is_name(&args.node) {
        return Err(CliError::new(EX_USAGE, "expected the node_id of a node"));
    }
    let at = args.at.map(|ms| format!("?at={ms}")).unwrap_or_default();
    let path = |network: &str| format!("/explain/{network}/{}{at}", args.node);
    let body = query(global, &args.network, args.url.as_ref(), "explain", path)?;
    if args.json {
        return Ok(body + "\n");
    }
    let answer: Value = serde_json::from_str(&body)
        .map_err(|_| CliError::new(EX_UNAVAILABLE, "the node answers in a form that is not understood"))?;
    Ok(render(&answer))
}

/// Unix time in ms, as a date.
fn date(value: &Value) -> String {
    timestamp::format(number(value))
}

/// A text of the node's, fit for a terminal.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), |text| sanitize(text, TEXT))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

fn stamp(value: &Value) -> String {
    format!("({}, {})", number(&value[0]), number(&value[1]))
}

fn render(answer: &Value) -> String {
    let verdict = &answer["verdict"];
    let votes = &verdict["votes"];
    let node = text(&answer["node_id"]);
    let mut out = String::new();
    let cause = verdict["cause"]
        .as_str()
        .map_or(String::new(), |cause| format!(", cause: {}", sanitize(cause, TEXT)));
    let (network, status) = (text(&answer["network_id"]), text(&verdict["status"]));
    let (viewer, since) = (text(&answer["viewer"]), date(&verdict["since"]));
    let at = date(&answer["at"]);
    if answer["asked_at"].is_null() {
        let _ = writeln!(out, "{node} of {network} is {status}{cause}");
        let _ = writeln!(out, "  since {since}, as {viewer} finds at {at}");
    } else {
        let until = match answer["until"].as_u64() {
            Some(_) => format!("and stood until {}", date(&answer["until"])),
            None => "and stands still".to_owned(),
        };
        let _ = writeln!(out, "{node} of {network} was {status}{cause} at {}", date(&answer["asked_at"]));
        let _ = writeln!(out, "  since {since}; {viewer} came to it at {at}, as follows, {until}");
    }
    let _ = writeln!(out, "\n1. Signs of life: {}", life(answer));
    let _ = writeln!(
        out,
        "2. Voters: {} could vote: they are alive and observe {node}; nodes with one key count once.",
        number(&votes["electorate"])
    );
    let _ = writeln!(out, "3. Votes:");
    let ballot = answer["ballot"].as_array().map(Vec::as_slice).unwrap_or_default();
    for vote in ballot {
        let _ = writeln!(out, "     {}", statement(vote));
    }
    if ballot.is_empty() {
        let _ = writeln!(out, "     nobody has said anything");
    }
    let offline = votes["offline"].as_array().map_or(0, Vec::len);
    let quorum = offline >= 2 && offline as u64 * 2 > number(&votes["electorate"]);
    let _ = writeln!(
        out,
        "4. Quorum: {offline} say offline, which is {} (more than half of those that could vote, and at least two).",
        if quorum { "a quorum" } else { "none" }
    );
    let witnessed = votes["witnessed"].as_bool() == Some(true);
    let _ = writeln!(
        out,
        "5. Witnesses: {} of all nodes find it offline, or have reported since a quorum did.",
        if witnessed { "more than half" } else { "no more than half" }
    );
    let _ = writeln!(out, "6. Decided by: {}.", text(&verdict["rule"]));
    out
}

fn life(answer: &Value) -> String {
    if answer["newest_report"].is_null() {
        return "no report of it is held here.".to_owned();
    }
    format!(
        "its newest report is {}; none has followed for {} (reports come every {} or sooner).",
        stamp(&answer["newest_report"]),
        seconds(number(&answer["silent_ms"])),
        seconds(number(&answer["interval_ms"]))
    )
}

fn statement(vote: &Value) -> String {
    let mut out = format!("{}: {}", text(&vote["voter"]), text(&vote["says"]));
    if let Some(error) = vote["error"].as_str() {
        let _ = write!(out, " ({})", sanitize(error, TEXT));
    }
    let _ = write!(out, ", by its report {}", stamp(&vote["report"]));
    if let Some(reason) = vote["abstains"].as_str() {
        let _ = write!(out, "; does not count: {}", sanitize(reason, TEXT));
    } else if vote["refuted"].as_bool() == Some(true) {
        out.push_str("; refuted: the node has reported since");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story() {
        let answer = serde_json::json!({
            "network_id": "net", "node_id": "c", "viewer": "a", "at": 1_000_000, "silent_ms": 4_210,
            "newest_report": [5, 17], "interval_ms": 1_000,
            "verdict": {"status": "down", "since": 995_000, "cause": "node", "rule": "a rule",
                        "votes": {"offline": ["a", "b"], "electorate": 2, "witnessed": true}},
            "ballot": [
                {"voter": "a", "says": "offline", "error": "refused", "report": [1, 2], "refuted": false},
                {"voter": "b\u{1b}[31m", "says": "offline", "report": [3, 4], "abstains": "its report is too old"},
            ],
        });
        let text = render(&answer);
        for expected in [
            "c of net is down, cause: node\n",
            "its newest report is (5, 17); none has followed for 4.2 s",
            "a: offline (refused), by its report (1, 2)\n",
            "does not count: its report is too old",
            "2 say offline, which is a quorum",
            "more than half of all nodes find it offline",
            "since 1970-01-01T00:16:35Z, as a finds at 1970-01-01T00:16:40Z",
            "Decided by: a rule.",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "nothing of a node's steers the terminal");
        for (until, expected) in [
            (Value::Null, "and stands still"),
            (Value::from(2_000_000), "and stood until 1970-01-01T00:33:20Z"),
        ] {
            let mut answer = answer.clone();
            answer["asked_at"] = Value::from(1_500_000);
            answer["until"] = until;
            let text = render(&answer);
            assert!(text.contains("c of net was down, cause: node at 1970-01-01T00:25:00Z\n"), "{text}");
            assert!(text.contains("a came to it at 1970-01-01T00:16:40Z, as follows, "), "{text}");
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(render(&Value::Null).contains("no report of it is held here"));
    }
}
