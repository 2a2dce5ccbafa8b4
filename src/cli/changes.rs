//! `distomon changes`: the latest changes of verdicts.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Deserialize;

use super::error::CliError;
use super::query::query;
use super::styled_line::sanitize;
use super::{EX_UNAVAILABLE, EX_USAGE, Global};
use crate::config::NodeUrl;
use crate::mesh::id::{MAX_NAME, is_name};
use crate::present::timestamp;

/// The length limit of a cause in characters.
const MAX_CAUSE: usize = 100;

const EXAMPLES: &str = "\
Examples:
  sudo distomon changes production
  sudo distomon changes production --node node-3 --limit 10
  sudo distomon changes production --json | jq -r '.changes[].status'";

/// List changes of verdicts, newest first
///
/// The node on this host remembers the latest changes since its start, at most 64 for each node and fewer in a large
/// network; distomon explain --at explains them. The journal has all changes.
///
/// Exit status 0, 64 for an invalid name, 69 if the node does not return its changes, 77 for a lack of permission, 78 for
/// a configuration that is invalid or has no login or key.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The network: its network_id or its directory under networks/
    network: String,
    /// Only changes of the verdict on this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// The maximum number of changes
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Print the node's reply as JSON
    #[arg(long)]
    json: bool,
    /// Query the node at this address instead of the one on this host
    #[arg(long, value_name = "URL", value_parser = NodeUrl::parse)]
    url: Option<NodeUrl>,
}

#[derive(Deserialize)]
struct ChangesReply {
    changes: Vec<Change>,
    more: bool,
}

#[derive(Deserialize)]
struct Change {
    at: u64,
    node_id: String,
    from: Option<String>,
    status: String,
    cause: Option<String>,
    offline: u64,
    electorate: u64,
}

/// Prints the changes.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    match changes(args, global) {
        Ok(text) => {
            super::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => error.report("changes"),
    }
}

fn changes(args: &Args, global: &Global) -> Result<String, CliError> {
    let node = match &args.node {
        Some(node) if !is_name(node) => {
            return Err(CliError::new(EX_USAGE, "--node: expected the node_id of a node"));
        }
        Some(node) => format!("&node={node}"),
        None => String::new(),
    };
    let path = |network: &str| format!("/changes/{network}?limit={}{node}", args.limit);
    let body = query(global, &args.network, args.url.as_ref(), "return its changes", path)?;
    if args.json {
        return Ok(body + "\n");
    }
    let reply = serde_json::from_str(&body)
        .map_err(|_| CliError::new(EX_UNAVAILABLE, "the node sent a malformed reply"))?;
    Ok(table(&reply))
}

fn table(reply: &ChangesReply) -> String {
    let mut out = String::new();
    for change in &reply.changes {
        let name = |text: &str| sanitize(text, MAX_NAME);
        let _ = write!(
            out,
            "{}  {} is {}",
            timestamp::format(change.at),
            name(&change.node_id),
            name(&change.status)
        );
        if let Some(cause) = &change.cause {
            let _ = write!(out, ", cause: {}", sanitize(cause, MAX_CAUSE));
        }
        match &change.from {
            Some(from) if *from != change.status => {
                let _ = write!(out, " (was {})", name(from));
            }
            _ => {}
        }
        if change.offline > 0 {
            let _ = write!(out, "; {} of {} observers do not reach it", change.offline, change.electorate);
        }
        out.push('\n');
    }
    if reply.changes.is_empty() {
        out.push_str("no verdict has changed\n");
    } else if reply.more {
        out.push_str("older changes are omitted: raise --limit, or search the journal\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_a_line_for_each_change() {
        let reply = serde_json::json!({"more": true, "changes": [
            {"at": 1_769_828_400_000_u64, "node_id": "c", "from": "up", "status": "down", "cause": "node",
             "offline": 2, "electorate": 2},
            {"at": 1_769_828_300_000_u64, "node_id": "c\u{1b}[31m", "from": null, "status": "up", "cause": null,
             "offline": 0, "electorate": 2},
        ]});
        let text = table(&serde_json::from_value(reply).expect("a reply"));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(
            lines[0],
            "2026-01-31T03:00:00Z  c is down, cause: node (was up); 2 of 2 observers do not reach it"
        );
        assert!(lines[1].starts_with("2026-01-31T02:58:20Z  c") && lines[1].ends_with(" is up"), "{text}");
        assert!(!text.contains('\u{1b}'), "no control character reaches the terminal");
        assert_eq!(table(&ChangesReply { changes: Vec::new(), more: false }), "no verdict has changed\n");
    }
}
