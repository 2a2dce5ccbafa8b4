//! `distomon status`: the snapshot of a running node, as a table or as JSON.

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
  1   a node is down, degraded or stopped, or in conflict: a clone or a thief
  2   it cannot be told: the node that is asked does not answer, has stopped
      observing or is cut off itself, or a node is unknown or was never seen
  64  a mistake in the arguments; 66, 77: a file that cannot be read;
  78  a mistake in the configuration, no login, no key";

/// Format who is up, as the node on this host finds it
///
/// First the answer in one sentence. Then a row for each node: the verdict and since when; the network's share of the round trip; how far its clock
/// is ahead; its version; how old its newest report is. Below it, who finds whom how.
///
/// The node is asked with a token signed with its own key, as by distomon token.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Only this network: its network_id or its directory under networks/
    network: Option<String>,
    /// Format it again every so many seconds, 0.1 to 86400 [default: 1], until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds)]
    watch: Option<Duration>,
    /// Print an object with the whole view of each network, as GET /view/{network_id} gives it; with --watch
    /// one on each line
    #[arg(long)]
    json: bool,
    /// Ask the node at this address instead of the one on this host
    #[arg(long, value_name = "URL", value_parser = NodeUrl::parse)]
    url: Option<NodeUrl>,
    /// Use the token in this file instead of signing one; -: standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Shows the snapshot, once or until it is told to stop.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    let query = match StatusQuery::of(args, global) {
        Ok(query) => query,
        Err(error) => return error.report("status"),
    };
    let show = if args.json { Format::Json } else { Format::Table };
    if let Some(interval) = args.watch {
        return watch::run(query, show, interval);
    }
    match query.ask() {
        Ok(answer) => {
            // Lines that are too long go on below: that loses nothing.
            super::print(&answer.text(show, &Screen::now()));
            ExitCode::from(answer.outcome().code())
        }
        Err(error) => error.report("status"),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    let expected = "expected seconds, from 0.1 to 86400; a network's name goes before --watch";
    seconds.map(Duration::from_secs_f64).ok_or_else(|| expected.into())
}
