//! A network of real nodes on loopback addresses.

use std::fmt::Write as _;

use tempfile::TempDir;

use crate::host::{Host, NETWORK};
use crate::wait::wait_or;
use crate::watcher::{WATCHER, Watcher};

/// A network in a temporary directory. Dropping it kills its processes and removes the directory.
pub(crate) struct Network {
    pub(crate) hosts: Vec<Host>,
    /// The test itself, as an outbound-only member.
    pub(crate) watcher: Watcher,
    pub(crate) dir: TempDir,
    /// Lines of config.yml that apply to all members.
    pub(crate) settings: String,
}

impl Network {
    /// Writes the directories of nodes with these ids and different addresses. No node runs.
    pub(crate) fn new(ids: &[&str]) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let watcher = Watcher::new(NETWORK);
        let hosts = ids.iter().map(|id| Host::new(id, dir.path())).collect();
        let settings = "defaults: {poll_rate: 0.2, retry: 2, timeout: 1}\n".to_owned();
        let network = Self { hosts, watcher, dir, settings };
        network.write_configs();
        network
    }

    /// Creates a network in which all nodes with these ids run.
    pub(crate) fn running(ids: &[&str]) -> Self {
        let mut network = Self::new(ids);
        for host in &mut network.hosts {
            host.start();
        }
        network
    }

    /// Writes the configuration of every node.
    pub(crate) fn write_configs(&self) {
        for host in &self.hosts {
            host.write(&self.config_yml(|id| self.url_of(id)));
        }
    }

    /// Returns the url of a node, or `None` for the watcher.
    pub(crate) fn url_of(&self, id: &str) -> Option<String> {
        self.hosts.iter().find(|host| host.id == id).map(Host::url)
    }

    /// Returns the text of config.yml with the urls that `url` returns: `None` for an outbound-only node.
    pub(crate) fn config_yml(&self, url: impl Fn(&str) -> Option<String>) -> String {
        let mut text = format!("network_id: {NETWORK}\n{}node_config:\n", self.settings);
        let members = self.hosts.iter().map(|host| (host.id.as_str(), &host.keypair));
        for (id, keypair) in members.chain([(WATCHER, self.watcher.keypair())]) {
            let _ = writeln!(text, "  - node_id: {id}");
            if let Some(url) = url(id) {
                let _ = writeln!(text, "    url: {url}");
            }
            let _ = writeln!(text, "    public_key: \"{}\"", keypair.public().to_base64_spki());
        }
        text
    }

    pub(crate) fn host(&self, id: &str) -> &Host {
        self.hosts.iter().find(|host| host.id == id).expect("a node of the network")
    }

    pub(crate) fn host_mut(&mut self, id: &str) -> &mut Host {
        self.hosts.iter_mut().find(|host| host.id == id).expect("a node of the network")
    }

    /// Returns the logs of all nodes.
    pub(crate) fn logs(&self) -> String {
        let logs: Vec<_> = self.hosts.iter().map(|host| format!("--- {}\n{}", host.id, host.log())).collect();
        logs.concat()
    }

    /// Returns the status of `target` in the newest report of `observer` that the node `at` holds.
    fn reported_status(&self, at: &str, observer: &str, target: &str) -> Option<String> {
        let reports = self.watcher.reports(self.host(at))?;
        let report = reports.get(observer)?;
        Some(report.observation(target)?.status.as_str().to_owned())
    }

    /// Waits as [`crate::wait::wait`] does. A failure shows the logs of all nodes.
    pub(crate) fn wait<T>(&self, what: &str, condition: impl FnMut() -> Option<T>) -> T {
        wait_or(what, || self.logs(), condition)
    }

    /// Waits until the node `at` holds a report of `observer` with this status of `target`.
    pub(crate) fn wait_reported(&self, at: &str, observer: &str, target: &str, status: &str) {
        let what = format!("at {at}: {observer} reports {target} {status}");
        wait_or(
            &what,
            || self.logs(),
            || (self.reported_status(at, observer, target).as_deref() == Some(status)).then_some(()),
        );
    }

    /// Waits until every running node holds reports of all running nodes that find each other online.
    pub(crate) fn wait_all_online(&self) {
        let ids: Vec<_> = self.hosts.iter().filter(|host| host.is_started()).map(|host| &host.id).collect();
        for at in &ids {
            for observer in &ids {
                for target in ids.iter().filter(|target| *target != observer) {
                    self.wait_reported(at, observer, target, "online");
                }
            }
        }
    }
}
