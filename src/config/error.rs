//! What is wrong with a configuration, where, and what was expected instead: all of it at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a file: line and column count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// Where in the file. None: the file as a whole.
    pub at: Option<Position>,
    /// The key, as `node_config[2].poll_rate`. Empty: none in particular.
    pub key: String,
    /// What was expected, what was found, what to do.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(Position { line, column }) = self.at {
            write!(f, "{line}:{column}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)
    }
}

/// All mistakes of a configuration, in the order in which its files are read and then by place. Shown as
/// one line for each: `path:line:column: key: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// One mistake about the file as a whole.
    pub(super) fn whole_file(path: &Path, message: impl Into<String>) -> Self {
        Self(vec![ConfigError {
            path: path.to_owned(),
            at: None,
            key: String::new(),
            message: message.into(),
        }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What reading a file of the configuration finds, as it goes on.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) path: PathBuf,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
}

impl Page {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, errors: Vec::new(), warnings: Vec::new() }
    }

    /// Notes a mistake at a place.
    pub(super) fn error(&mut self, at: Position, key: &str, message: impl Into<String>) {
        self.errors.push(ConfigError {
            path: self.path.clone(),
            at: Some(at),
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Notes a mistake about another file, or this one as a whole.
    pub(super) fn file_error(&mut self, path: &Path, message: impl Into<String>) {
        self.errors.extend(ConfigErrors::whole_file(path, message).0);
    }

    /// Notes what is allowed and yet surprising.
    pub(super) fn warn(&mut self, message: impl fmt::Display) {
        self.warnings.push(format!("{}: {message}", self.path.display()));
    }

    /// The mistakes by place; those about other files last.
    pub(super) fn into_sorted(mut self) -> (Vec<ConfigError>, Vec<String>) {
        self.errors.sort_by_key(|error| (error.path != self.path, error.at));
        (self.errors, self.warnings)
    }
}
