//! `distomon explain`: how the node on this host comes to a verdict, step by step.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::client;
use super::failure::Failure;
use super::instance::Instance;
use super::line::clean;
use super::{EX_UNAVAILABLE, EX_USAGE, Global};
use crate::config::NodeUrl;
use crate::mesh::id::is_name;

/// How long the token that is signed for the request is good, in seconds.
const LIFETIME_S: u64 = 60;

/// The most characters of any text that the node answers with.
const TEXT: usize = 200;

const EXAMPLES: &str = "\
Examples:
  sudo distomon explain production node-3
  sudo distomon explain production node-3 --json | jq .ballot";

/// Explain the verdict on a node: who says what by which report, who abstains, and which rule decided
///
/// The node on this host is asked for its own reckoning; any other node's can be asked with --url, and all of
/// them reach the same verdict from the same reports.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The network: its network_id or its directory under networks/
    network: String,
    /// The node that the verdict is about
    node: String,
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
        Err(failure) => failure.tell("explain"),
    }
}

fn explain(args: &Args, global: &Global) -> Result<String, Failure> {
    if !is_name(&args.node) {
        return Err(Failure::new(EX_USAGE, "expected the node_id of a node"));
    }
    let instance = Instance::open(global)?;
    instance.check_login()?;
    let network = instance.network_id(&args.network)?;
    let token = instance.signer(Some(&network))?.token(LIFETIME_S)?;
    let url = match &args.url {
        Some(url) => url.as_str().to_owned(),
        None => instance.url()?,
    };
    let body = client::get(&format!("{url}/explain/{network}/{}", args.node), &token).map_err(|error| {
        Failure::new(
            EX_UNAVAILABLE,
            format!("the node at {url} does not explain: {error}\n{}", instance.advice()),
        )
    })?;
    if args.json {
        return Ok(body + "\n");
    }
    let answer: Value = serde_json::from_str(&body).map_err(|_| {
        Failure::new(EX_UNAVAILABLE, format!("the node at {url} answers in a form that is not understood"))
    })?;
    Ok(story(&answer))
}

/// A text of the node's, fit for a terminal.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), |text| clean(text, TEXT))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

fn date(ms: u64) -> String {
    // Dates of more than four digits cannot be shown.
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms.min(253_402_300_799_000));
    httpdate::fmt_http_date(time)
}

fn stamp(value: &Value) -> String {
    format!("({}, {})", number(&value[0]), number(&value[1]))
}

fn story(answer: &Value) -> String {
    let verdict = &answer["verdict"];
    let votes = &verdict["votes"];
    let node = text(&answer["node_id"]);
    let mut out = String::new();
    let cause =
        verdict["cause"].as_str().map_or(String::new(), |cause| format!(", cause: {}", clean(cause, TEXT)));
    let _ = writeln!(out, "{node} of {} is {}{cause}", text(&answer["network_id"]), text(&verdict["status"]));
    let _ = writeln!(
        out,
        "  since {}, as {} finds at {}",
        date(number(&verdict["since"])),
        text(&answer["viewer"]),
        date(number(&answer["at"]))
    );
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
        "5. Witnesses: {} of all nodes have reported since it fell silent.",
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
        let _ = write!(out, " ({})", clean(error, TEXT));
    }
    let _ = write!(out, ", by its report {}", stamp(&vote["report"]));
    if let Some(reason) = vote["abstains"].as_str() {
        let _ = write!(out, "; does not count: {}", clean(reason, TEXT));
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
        let text = story(&answer);
        for expected in [
            "c of net is down, cause: node\n",
            "its newest report is (5, 17); none has followed for 4.2 s",
            "a: offline (refused), by its report (1, 2)\n",
            "does not count: its report is too old",
            "2 say offline, which is a quorum",
            "more than half of all nodes have reported",
            "Decided by: a rule.",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "nothing of a node's steers the terminal");
        assert!(story(&Value::Null).contains("no report of it is held here"));
    }
}
