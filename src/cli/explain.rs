//! `distomon explain`: how a node reached a verdict, step by step.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::error::CliError;
use super::query::query;
use super::styled_line::sanitize;
use super::{EX_UNAVAILABLE, EX_USAGE, Global, time_arg};
use crate::config::NodeUrl;
use crate::mesh::id::is_name;
use crate::present::duration::format_seconds;
use crate::present::explanation::{
    NO_REPORT, NO_VOTES, quorum_sentence, vote_note, voters_sentence, witness_sentence,
};
use crate::present::timestamp;

/// The length limit of a text in the reply, in characters.
const MAX_TEXT: usize = 200;

const EXAMPLES: &str = "\
Examples:
  sudo distomon explain production node-3
  sudo distomon explain production node-3 --at 02:47
  sudo distomon explain production node-3 --at 15m
  sudo distomon explain production node-3 --json | jq .ballot";

/// Explain the verdict on a node: the votes, the abstentions and the rule that decided
///
/// The explanation is that of the node on this host, or with --url that of another node; all nodes reach the same
/// verdict from the same reports. With --at, it is for the verdict at that time. A node remembers the latest changes
/// since its start; distomon changes lists them.
///
/// Exit status 0, 64 for an invalid name, 69 if the node does not explain the verdict, 77 for a lack of permission, 78
/// for a configuration that is invalid or has no login or key.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The network: its network_id or its directory under networks/
    network: String,
    /// The node that the verdict is about
    node: String,
    /// Explain the verdict at this time: 2026-01-31T03:00:00Z, "2026-01-31 03:00", 03:00 (UTC without an offset), or
    /// a duration before now: 90s, 15m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = time_arg::parse, allow_hyphen_values = true)]
    at: Option<u64>,
    /// Print the node's reply as JSON
    #[arg(long)]
    json: bool,
    /// Query the node at this address instead of the one on this host
    #[arg(long, value_name = "URL", value_parser = NodeUrl::parse)]
    url: Option<NodeUrl>,
}

/// Prints the explanation.
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
    let reply: Value = serde_json::from_str(&body)
        .map_err(|_| CliError::new(EX_UNAVAILABLE, "the node sent a malformed reply"))?;
    Ok(render(&reply))
}

/// Formats Unix time in ms.
fn date(value: &Value) -> String {
    timestamp::format(number(value))
}

/// Returns a text of the reply, sanitized for a terminal.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), |text| sanitize(text, MAX_TEXT))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn count(value: &Value) -> usize {
    usize::try_from(number(value)).unwrap_or(usize::MAX)
}

fn report_id(value: &Value) -> String {
    format!("({}, {})", number(&value[0]), number(&value[1]))
}

/// Renders a reply to `/explain` as text.
fn render(reply: &Value) -> String {
    let verdict = &reply["verdict"];
    let votes = &verdict["votes"];
    let node = text(&reply["node_id"]);
    let mut out = String::new();
    let cause = verdict["cause"]
        .as_str()
        .map_or(String::new(), |cause| format!(", cause: {}", sanitize(cause, MAX_TEXT)));
    let (network, status) = (text(&reply["network_id"]), text(&verdict["status"]));
    let (viewer, since) = (text(&reply["viewer"]), date(&verdict["since"]));
    let at = date(&reply["at"]);
    if reply["asked_at"].is_null() {
        let _ = writeln!(out, "{node} of {network} is {status}{cause}");
        let _ = writeln!(out, "  since {since}, according to {viewer} at {at}");
    } else {
        let until = match reply["until"].as_u64() {
            Some(_) => format!("in force until {}", date(&reply["until"])),
            None => "still in force".to_owned(),
        };
        let _ = writeln!(out, "{node} of {network} was {status}{cause} at {}", date(&reply["asked_at"]));
        let _ = writeln!(out, "  since {since}, {until}; {viewer} reached it at {at}:");
    }
    let _ = writeln!(out, "\n1. Signs of life: {}", liveness(reply));
    let electorate = count(&votes["electorate"]);
    let _ = writeln!(out, "2. Voters: {}", voters_sentence(electorate));
    let _ = writeln!(out, "3. Votes:");
    let ballot = reply["ballot"].as_array().map(Vec::as_slice).unwrap_or_default();
    for vote in ballot {
        let _ = writeln!(out, "     {}", vote_line(vote));
    }
    if ballot.is_empty() {
        let _ = writeln!(out, "     {NO_VOTES}");
    }
    let offline = votes["offline"].as_array().map_or(0, Vec::len);
    let _ = writeln!(out, "4. Quorum: {}", quorum_sentence(offline, electorate));
    let is_witnessed = votes["witnessed"].as_bool() == Some(true);
    let _ = writeln!(out, "5. Witnesses: {}", witness_sentence(is_witnessed));
    let _ = writeln!(out, "6. Decided by: {}.", text(&verdict["rule"]));
    out
}

fn liveness(reply: &Value) -> String {
    if reply["newest_report"].is_null() {
        return NO_REPORT.to_owned();
    }
    format!(
        "its newest report is {}; silent for {} (reports are due every {} or sooner).",
        report_id(&reply["newest_report"]),
        format_seconds(number(&reply["silent_ms"])),
        format_seconds(number(&reply["interval_ms"]))
    )
}

/// Describes one vote on a line.
fn vote_line(vote: &Value) -> String {
    let mut out = format!("{}: {}", text(&vote["voter"]), text(&vote["says"]));
    if let Some(error) = vote["error"].as_str() {
        let _ = write!(out, " ({})", sanitize(error, MAX_TEXT));
    }
    let _ = write!(out, ", by its report {}", report_id(&vote["report"]));
    let abstains = vote["abstains"].as_str().map(|reason| sanitize(reason, MAX_TEXT));
    out += &vote_note(abstains.as_deref(), vote["refuted"].as_bool() == Some(true));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_each_step() {
        let reply = serde_json::json!({
            "network_id": "net", "node_id": "c", "viewer": "a", "at": 1_000_000, "silent_ms": 4_210,
            "newest_report": [5, 17], "interval_ms": 1_000,
            "verdict": {"status": "down", "since": 995_000, "cause": "node", "rule": "a rule",
                        "votes": {"offline": ["a", "b"], "electorate": 2, "witnessed": true}},
            "ballot": [
                {"voter": "a", "says": "offline", "error": "refused", "report": [1, 2], "refuted": false},
                {"voter": "b\u{1b}[31m", "says": "offline", "report": [3, 4], "abstains": "its report is too old"},
            ],
        });
        let text = render(&reply);
        for expected in [
            "c of net is down, cause: node\n",
            "its newest report is (5, 17); silent for 4.2 s",
            "a: offline (refused), by its report (1, 2)\n",
            "does not count: its report is too old",
            "2 say offline, which is a quorum",
            "more than half of all nodes find it offline",
            "since 1970-01-01T00:16:35Z, according to a at 1970-01-01T00:16:40Z",
            "Decided by: a rule.",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "no control character reaches the terminal");
        for (until, expected) in
            [(Value::Null, "still in force"), (Value::from(2_000_000), "in force until 1970-01-01T00:33:20Z")]
        {
            let mut reply = reply.clone();
            reply["asked_at"] = Value::from(1_500_000);
            reply["until"] = until;
            let text = render(&reply);
            assert!(text.contains("c of net was down, cause: node at 1970-01-01T00:25:00Z\n"), "{text}");
            assert!(text.contains("; a reached it at 1970-01-01T00:16:40Z:\n"), "{text}");
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(render(&Value::Null).contains("this node has no report of it"));
    }
}
