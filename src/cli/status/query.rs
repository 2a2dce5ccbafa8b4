//! Asks a node for the snapshots of its networks, and gives them the form that was asked for.

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

/// How long a token that is signed for one request is good, in seconds: for clocks that are a bit apart.
const LIFETIME_S: u64 = 60;

/// The most networks of a node; none can be configured with more.
const MAX_NETWORKS: usize = 64;

/// What is to be asked, and whom.
pub(super) struct StatusQuery {
    url: String,
    /// What to do about the node on this host if it does not answer; none for another host's.
    advice: Option<String>,
    network: Option<String>,
    token: Token,
}

/// Where the token comes from.
enum Token {
    Signed(Box<Signer>),
    Given(Zeroizing<String>),
    /// Read each time, since somebody has to renew it.
    File(PathBuf),
}

impl StatusQuery {
    /// As the user put it. The configuration is read only if something of it is needed.
    pub(super) fn of(args: &Args, global: &Global) -> Result<Self, CliError> {
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
            (url, given) => Self::of_instance(&Instance::open(global)?, url.as_ref(), args, given),
        }
    }

    fn of_instance(
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

    /// The snapshots of all networks that were asked for, or of none.
    pub(super) fn ask(&self) -> Result<StatusReply, CliError> {
        let token = match &self.token {
            Token::Signed(signer) => Zeroizing::new(signer.token(LIFETIME_S)?),
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
                return Err(self.unknown("answers in a form that is not understood: without any node"));
            }
            snapshots.push(Snapshot { view, json: self.parse(&body)?, network });
        }
        // Only the clock of this host is surely the one that the node goes by.
        let now_ms = self.advice.is_some().then(now_ms);
        Ok(StatusReply { snapshots, now_ms })
    }

    fn networks(&self, token: &str) -> Result<Vec<String>, CliError> {
        let overview: Overview = self.parse(&self.get("/view", token)?)?;
        let mut networks: Vec<_> = overview.networks.into_iter().map(|entry| entry.network_id).collect();
        if networks.is_empty() {
            return Err(self.unknown("shows no network to the holder of this token"));
        }
        // They become part of a path.
        if networks.len() > MAX_NETWORKS || networks.iter().any(|network| !is_name(network)) {
            return Err(self.unknown("answers in a form that is not understood"));
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
            ClientError::Refused(401 | 403, detail) => self.unknown(&format!("refuses this token: {detail}")),
            error => self.unknown(&format!("does not show {path}: {error}")),
        })
    }

    fn parse<T: DeserializeOwned>(&self, body: &str) -> Result<T, CliError> {
        serde_json::from_str(body).map_err(|error| {
            let error = sanitize(&error.to_string(), 200);
            self.unknown(&format!("answers in a form that is not understood: {error}"))
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
    Err(CliError::new(EX_USAGE, format!("{}: expected a token, as distomon token prints it", path.display())))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The form of what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What the node answered.
pub(super) struct StatusReply {
    snapshots: Vec<Snapshot>,
    now_ms: Option<u64>,
}

/// The snapshot of a network.
struct Snapshot {
    network: String,
    view: View,
    json: Box<RawValue>,
}

impl StatusReply {
    /// What it comes to, all networks together.
    pub(super) fn outcome(&self) -> Outcome {
        let outcomes = self.snapshots.iter().map(|snapshot| snapshot.view.outcome(self.now_ms));
        outcomes.max().unwrap_or(Outcome::Unknown)
    }

    /// All of it as text that ends its last line.
    pub(super) fn text(&self, format: Format, screen: &Screen) -> String {
        if format == Format::Json {
            return self.json() + "\n";
        }
        self.lines(screen).iter().map(|line| line.render(usize::MAX, screen.colour) + "\n").collect()
    }

    /// All of it as lines for people.
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

    /// One object on one line: the views as they came, under the names of their networks.
    fn json(&self) -> String {
        let mut text = String::from("{");
        for (index, Snapshot { network, json, .. }) in self.snapshots.iter().enumerate() {
            // The name of a network has no character that JSON would want escaped.
            let _ = write!(text, "{}\"{network}\":", if index > 0 { "," } else { "" });
            for c in json.get().chars() {
                match c {
                    // Between values only: inside of texts JSON has them escaped.
                    '\n' | '\r' | '\t' => text.push(' '),
                    // Inside of texts only, where this means the same and moves no terminal.
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
