//! `distomon status`: the snapshot of a running node as a table or as JSON.

mod matrix;
mod outcome;
mod query;
mod screen;
mod table;
mod view;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::Global;
use crate::config::NodeUrl;
use query::{Format, StatusQuery};
use screen::Screen;

const EXAMPLES: &str = "\
Examples:
  sudo distomon status
  sudo distomon status production --watch 5
  sudo distomon status --json | jq '.[].nodes | map_values(.status)'
  sudo distomon status --url http://10.0.0.2:8000
  distomon status --url http://10.0.0.2:8000 --token-file TOKEN

Exit status:
  0   every node is up
  1   a node is down, degraded, stopped or in conflict
  2   unknown: the queried node does not answer, has stopped evaluating or is
      isolated, or a node is unknown or was never seen
  64  invalid arguments
  66  a file that cannot be read
  71  an error of the operating system
  77  a lack of permission
  78  a configuration that is invalid or has no login or key";

/// Show the verdicts of the node on this host
///
/// The first line is a summary. The table has a row for each node: its verdict and since when, the round-trip time
/// without processing, the offset of its clock, its version, and the age of its newest report. The matrix below shows
/// which nodes each observer finds online.
///
/// The query has a token signed with the key of the node on this host, as from distomon token.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Only this network: its network_id or its directory under networks/
    network: Option<String>,
    /// Repeat at this interval in seconds, 0.1 to 86400 [default: 1], until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds)]
    watch: Option<Duration>,
    /// Print a JSON object with the view of each network, as GET /view/{network_id} returns it; with --watch, one
    /// object on each line
    #[arg(long)]
    json: bool,
    /// Query the node at this address instead of the one on this host
    #[arg(long, value_name = "URL", value_parser = NodeUrl::parse)]
    url: Option<NodeUrl>,
    /// Use the token in this file, or - for standard input, instead of signing one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Shows the snapshot once, or until a signal stops it.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    let query = match StatusQuery::from_args(args, global) {
        Ok(query) => query,
        Err(error) => return error.report("status"),
    };
    let format = if args.json { Format::Json } else { Format::Table };
    if let Some(interval) = args.watch {
        return watch::run(query, format, interval);
    }
    match query.send() {
        Ok(reply) => {
            // The terminal wraps long lines, so nothing is truncated.
            super::print(&reply.text(format, &Screen::now()));
            ExitCode::from(reply.outcome().code())
        }
        Err(error) => error.report("status"),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    let expected = "expected seconds, 0.1 to 86400; put the network before --watch";
    seconds.map(Duration::from_secs_f64).ok_or_else(|| expected.into())
}
