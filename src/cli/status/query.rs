//! Queries for the snapshots of a node, and their output as text or JSON.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::outcome::Outcome;
use super::screen::Screen;
use super::view::{Overview, View};
use super::{Args, matrix, table};
use crate::cli::client::{self, ClientError};
use crate::cli::error::CliError;
use crate::cli::instance::{Instance, Signer};
use crate::cli::styled_line::{StyledLine, sanitize};
use crate::cli::{EX_USAGE, Global, secret_file};
use crate::config::NodeUrl;
use crate::crypto::token::MAX_TOKEN;
use crate::mesh::id::is_name;

/// The lifetime of a token for one request in seconds, which allows for a clock offset.
const TOKEN_LIFETIME_S: u64 = 60;

/// The maximum number of networks of a node, as in its configuration.
const MAX_NETWORKS: usize = 64;

/// Query for the snapshots of one or all networks of a node.
pub(super) struct StatusQuery {
    url: String,
    /// The next step if the node does not answer; `None` for a node on another host.
    advice: Option<String>,
    network: Option<String>,
    token: Token,
}

/// Source of the token.
enum Token {
    Signed(Box<Signer>),
    Given(Zeroizing<String>),
    /// Read for each query, since the user may renew it.
    File(PathBuf),
}

impl StatusQuery {
    /// Creates the query for the arguments. Reads the configuration only if required.
    pub(super) fn from_args(args: &Args, global: &Global) -> Result<Self, CliError> {
        let given = match &args.token_file {
            Some(path) if args.watch.is_none() || path == Path::new("-") => Some(Token::Given(token(path)?)),
            Some(path) => Some(Token::File(path.clone())),
            None => None,
        };
        match (&args.url, given) {
            (Some(url), Some(token)) => {
                let network = args.network.clone();
                if network.as_deref().is_some_and(|name| !is_name(name)) {
                    return Err(CliError::new(EX_USAGE, "expected the network_id of a network"));
                }
                Ok(Self { url: url.as_str().into(), advice: None, network, token })
            }
            (url, given) => Self::for_instance(&Instance::open(global)?, url.as_ref(), args, given),
        }
    }

    fn for_instance(
        instance: &Instance,
        url: Option<&NodeUrl>,
        args: &Args,
        given: Option<Token>,
    ) -> Result<Self, CliError> {
        let network = args.network.as_deref().map(|name| instance.network_id(name)).transpose()?;
        let token = match given {
            Some(token) => token,
            None => Token::Signed(Box::new(instance.signer(network.as_deref())?)),
        };
        if let Some(url) = url {
            return Ok(Self { url: url.as_str().into(), advice: None, network, token });
        }
        instance.check_login()?;
        Ok(Self { url: instance.url()?, advice: Some(instance.advice()), network, token })
    }

    /// Returns the snapshots of all requested networks.
    pub(super) fn send(&self) -> Result<StatusReply, CliError> {
        let token = match &self.token {
            Token::Signed(signer) => Zeroizing::new(signer.token(TOKEN_LIFETIME_S)?),
            Token::Given(token) => token.clone(),
            Token::File(path) => token(path)?,
        };
        let networks = match &self.network {
            Some(network) => vec![network.clone()],
            None => self.networks(&token)?,
        };
        let mut snapshots = Vec::new();
        for network in networks {
            let body = self.get(&format!("/view/{network}"), &token)?;
            let view: View = self.parse(&body)?;
            if view.nodes.is_empty() {
                return Err(self.unknown("sent a malformed reply: no nodes"));
            }
            snapshots.push(Snapshot { view, json: self.parse(&body)?, network });
        }
        // Only a node on this host certainly has the same clock.
        let now_ms = self.advice.is_some().then(now_ms);
        Ok(StatusReply { snapshots, now_ms })
    }

    fn networks(&self, token: &str) -> Result<Vec<String>, CliError> {
        let overview: Overview = self.parse(&self.get("/view", token)?)?;
        let mut networks: Vec<_> = overview.networks.into_iter().map(|entry| entry.network_id).collect();
        if networks.is_empty() {
            return Err(self.unknown("shows no network with this token"));
        }
        // The names become part of a path.
        if networks.len() > MAX_NETWORKS || networks.iter().any(|network| !is_name(network)) {
            return Err(self.unknown("sent a malformed reply"));
        }
        networks.sort();
        networks.dedup();
        Ok(networks)
    }

    fn get(&self, path: &str, token: &str) -> Result<String, CliError> {
        client::get(&format!("{}{path}", self.url), token).map_err(|error| match error {
            ClientError::Unreachable(why) => {
                let advice = self.advice.as_ref().map(|advice| format!("\n{advice}"));
                self.unknown(&format!("does not answer: {why}{}", advice.unwrap_or_default()))
            }
            ClientError::Refused(401 | 403, detail) => self.unknown(&format!("rejects this token: {detail}")),
            error => self.unknown(&format!("does not return {path}: {error}")),
        })
    }

    fn parse<T: DeserializeOwned>(&self, body: &str) -> Result<T, CliError> {
        serde_json::from_str(body).map_err(|error| {
            let error = sanitize(&error.to_string(), 200);
            self.unknown(&format!("sent a malformed reply: {error}"))
        })
    }

    fn unknown(&self, what: &str) -> CliError {
        CliError::new(Outcome::Unknown.code(), format!("the node at {} {what}", self.url))
    }
}

fn token(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let token = secret_file::read(path, "token", MAX_TOKEN)?;
    if client::is_token(&token) {
        return Ok(token);
    }
    Err(CliError::new(EX_USAGE, format!("{}: expected a token as from distomon token", path.display())))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Text for people.
    Table,
    /// JSON for programs.
    Json,
}

/// Snapshots from one query.
pub(super) struct StatusReply {
    snapshots: Vec<Snapshot>,
    now_ms: Option<u64>,
}

/// Snapshot of one network.
struct Snapshot {
    network: String,
    view: View,
    json: Box<RawValue>,
}

impl StatusReply {
    /// Returns the outcome of all networks together.
    pub(super) fn outcome(&self) -> Outcome {
        let outcomes = self.snapshots.iter().map(|snapshot| snapshot.view.outcome(self.now_ms));
        outcomes.max().unwrap_or(Outcome::Unknown)
    }

    /// Formats all snapshots; the last line ends with a line feed.
    pub(super) fn text(&self, format: Format, screen: &Screen) -> String {
        if format == Format::Json {
            return self.json() + "\n";
        }
        self.lines(screen).iter().map(|line| line.render(usize::MAX, screen.colour) + "\n").collect()
    }

    /// Formats all snapshots as lines for people.
    pub(super) fn lines(&self, screen: &Screen) -> Vec<StyledLine> {
        let mut lines = Vec::new();
        for Snapshot { view, .. } in &self.snapshots {
            if !lines.is_empty() {
                lines.push(StyledLine::default());
            }
            lines.extend(table::lines(view, view.is_stale(self.now_ms), screen.utf8));
            let matrix = matrix::lines(view, screen);
            if !matrix.is_empty() {
                lines.push(StyledLine::default());
                lines.extend(matrix);
            }
        }
        lines
    }

    /// Formats all views, otherwise unchanged, as one object on one line, by network.
    fn json(&self) -> String {
        let mut text = String::from("{");
        for (index, Snapshot { network, json, .. }) in self.snapshots.iter().enumerate() {
            // The name of a network needs no escapes in JSON.
            let _ = write!(text, "{}\"{network}\":", if index > 0 { "," } else { "" });
            for c in json.get().chars() {
                match c {
                    // Only between values: in strings, JSON requires escapes for them.
                    '\n' | '\r' | '\t' => text.push(' '),
                    // Only in strings, where the escape is equivalent and does not control a terminal.
                    '\u{7f}'..='\u{9f}' => {
                        let _ = write!(text, "\\u{:04x}", u32::from(c));
                    }
                    c => text.push(c),
                }
            }
        }
        text.push('}');
        text
    }
}
