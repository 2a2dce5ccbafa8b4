//! Errors in configuration files, with their positions.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A position in a file. Lines and columns start at 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One error in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The position in the file; `None` for the whole file.
    pub at: Option<Position>,
    /// The path of the key, as `node_config[2].poll_rate`; empty for the whole file.
    pub key: String,
    /// What was found, what was expected, and what to do.
    pub message: String,
    /// The kind of the system's error, if a file could not be read or written.
    pub io_kind: Option<io::ErrorKind>,
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

impl std::error::Error for ConfigError {}

/// All errors in a configuration, ordered by file, then by position. Displayed as one line each:
/// `path:line:column: key: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// Returns one error about a whole file.
    pub(super) fn in_file(path: &Path, message: impl Into<String>) -> Self {
        Self(vec![ConfigError {
            path: path.to_owned(),
            at: None,
            key: String::new(),
            message: message.into(),
            io_kind: None,
        }])
    }

    /// Sets the kind of the system's error that caused these errors.
    pub(super) fn with_io_kind(mut self, kind: Option<io::ErrorKind>) -> Self {
        for error in &mut self.0 {
            error.io_kind = kind;
        }
        self
    }

    /// Returns whether this user lacks the permission to read or write one of the files.
    pub fn is_permission_denied(&self) -> bool {
        self.0.iter().any(|error| error.io_kind == Some(io::ErrorKind::PermissionDenied))
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

/// The errors and warnings found in one file.
#[derive(Debug)]
pub(super) struct Diagnostics {
    pub(super) path: PathBuf,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
}

impl Diagnostics {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, errors: Vec::new(), warnings: Vec::new() }
    }

    /// Records an error at a position.
    pub(super) fn error(&mut self, at: Position, key: &str, message: impl Into<String>) {
        self.errors.push(ConfigError {
            path: self.path.clone(),
            at: Some(at),
            key: key.to_owned(),
            message: message.into(),
            io_kind: None,
        });
    }

    /// Records errors about other files.
    pub(super) fn extend(&mut self, errors: ConfigErrors) {
        self.errors.extend(errors.0);
    }

    /// Records a warning: something valid that is probably not intended.
    pub(super) fn warn(&mut self, message: impl fmt::Display) {
        self.warnings.push(format!("{}: {message}", self.path.display()));
    }

    /// Returns the errors, ordered by position with those about other files last, and the warnings.
    pub(super) fn into_sorted(mut self) -> (Vec<ConfigError>, Vec<String>) {
        self.errors.sort_by_key(|error| (error.path != self.path, error.at));
        (self.errors, self.warnings)
    }
}
