//! The temporary directory of the demo, and the commands that start its nodes.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::shell_word;

/// Variables that systemd sets for a service: the demo may run in one, but its nodes are not services.
const SERVICE_VARIABLES: [&str; 13] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "JOURNAL_STREAM",
    "INVOCATION_ID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "STATE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "MAINPID",
];

/// Directory that only this user can access, removed on drop.
pub(super) struct DemoDir {
    path: PathBuf,
    removed: bool,
}

impl DemoDir {
    /// Creates the directory.
    pub(super) fn create() -> io::Result<Self> {
        let mut attempts = 0;
        loop {
            let path = std::env::temp_dir().join(format!("distomon-demo-{:08x}", fastrand::u32(..)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, removed: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts < 100 => attempts += 1,
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
                }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the command that starts the node `id`.
    pub(super) fn command(&self, id: &str) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg("--config").arg(self.path.join(id)).arg("--state").arg(self.state(id));
        // The node ends with the demo, even if the demo is killed.
        command.arg("--exit-with-stdin");
        for name in SERVICE_VARIABLES {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// Returns the command line that starts the node `id` in a terminal.
    pub(super) fn command_line(&self, id: &str) -> String {
        let program = std::env::current_exe().unwrap_or_else(|_| "distomon".into());
        let (config, state) = (self.path.join(id), self.state(id));
        let [program, config, state] = [&program, &config, &state].map(|path| shell_word(path));
        format!("{program} run --config {config} --state {state}")
    }

    fn state(&self, id: &str) -> PathBuf {
        self.path.join(id).join("state")
    }

    /// Removes the directory.
    pub(super) fn remove(mut self) -> io::Result<()> {
        self.remove_once()
    }

    fn remove_once(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.removed, true) {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.path).map_err(|error| {
            io::Error::new(error.kind(), format!("removing {}: {error}", self.path.display()))
        })
    }
}

impl Drop for DemoDir {
    fn drop(&mut self) {
        if let Err(error) = self.remove_once() {
            eprintln!("distomon demo: {error}");
        }
    }
}
