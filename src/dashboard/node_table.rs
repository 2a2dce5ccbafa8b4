//! The table of a network's nodes, in pages and with a search.

use maud::{Markup, html};

use super::format;
use super::route::Links;
use crate::mesh::member_state::MemberState;
use crate::mesh::membership::Member;
use crate::mesh::{Snapshot, id};
use crate::present::causes::join_causes;
use crate::present::own_observation::own_observation;
use crate::present::summary::severity;

/// The smallest clock offset that is highlighted, in ms.
const HIGHLIGHTED_OFFSET_MS: u64 = 1_000;

/// The number of nodes on a page of the table.
const PAGE_SIZE: usize = 100;

/// A search for nodes, and a page of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeQuery {
    /// A part of the name or site.
    text: String,
    /// The number of the page, at least 1.
    page: usize,
}

impl NodeQuery {
    /// Creates a query from the parameters of a URL. An invalid page counts as the first one.
    pub fn new(text: Option<&str>, page: Option<&str>) -> Self {
        let text = text.unwrap_or_default().trim().chars().take(id::MAX_NAME).collect();
        let page = page.and_then(|page| page.parse().ok()).unwrap_or(1);
        Self { text, page: page.max(1) }
    }

    fn matches(&self, member: &Member) -> bool {
        let text = self.text.to_lowercase();
        let site = member.site.as_ref().map(|site| site.as_str().to_lowercase());
        member.id.as_str().to_lowercase().contains(&text) || site.is_some_and(|site| site.contains(&text))
    }
}

struct NodeTable<'a> {
    snapshot: &'a Snapshot,
    links: Links<'a>,
    has_sites: bool,
}

/// Renders the section of a network's page. The worst nodes come first, then the order is by name.
pub(super) fn section(snapshot: &Snapshot, links: Links<'_>, query: &NodeQuery) -> Markup {
    let members = snapshot.membership().members();
    let severity_of =
        |index: usize| snapshot.verdicts().nodes.get(index).map_or(0, |verdict| severity(verdict.status));
    let mut found: Vec<usize> = (0..members.len()).filter(|&index| query.matches(&members[index])).collect();
    found.sort_by_key(|&index| (std::cmp::Reverse(severity_of(index)), index));
    let pages = found.len().div_ceil(PAGE_SIZE).max(1);
    let page = query.page.min(pages);
    let shown: Vec<usize> = found.iter().copied().skip((page - 1) * PAGE_SIZE).take(PAGE_SIZE).collect();
    let has_sites = members.iter().any(|member| member.site.is_some());
    let table = NodeTable { snapshot, links, has_sites };
    html! {
        section #nodes aria-labelledby="nodes-title" {
            h2 #nodes-title { "Nodes" }
            @if members.len() > PAGE_SIZE || !query.text.is_empty() {
                form.search role="search" method="get" action={ (links.network()) "#nodes" } {
                    label for="q" { "Name or site" } " "
                    input #q type="search" name="q" value=(query.text) maxlength="64"; " "
                    button { "Find" } " " (found.len()) " of " (members.len()) " nodes"
                }
            }
            (table.render(&shown))
            @if pages > 1 { (page_links(links, query, page, pages)) }
        }
    }
}

fn page_links(links: Links<'_>, query: &NodeQuery, page: usize, pages: usize) -> Markup {
    let (network, text) = (links.network(), form_urlencode(&query.text));
    let to = |page: usize| format!("{network}?q={text}&page={page}#nodes");
    html! {
        nav.pages aria-label="Pages of nodes" {
            @if page > 1 { a href=(to(page - 1)) rel="prev" { "← previous" } } " "
            "page " (page) " of " (pages) " "
            @if page < pages { a href=(to(page + 1)) rel="next" { "next →" } }
        }
    }
}

/// Encodes text for a query (application/x-www-form-urlencoded, URL standard, section 5).
fn form_urlencode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

impl NodeTable<'_> {
    fn render(&self, indices: &[usize]) -> Markup {
        html! {
            div.box tabindex="0" {
                table.list {
                    thead { tr {
                        th scope="col" { "Node" }
                        @if self.has_sites { th scope="col" { "Site" } }
                        th scope="col" { "Verdict" }
                        th scope="col" { "Since" }
                        th.num scope="col" { "Do not reach it" }
                        th.num scope="col" { "Clock" }
                        th scope="col" { "Version" }
                        th scope="col" { "Notes" }
                    } }
                    tbody {
                        @for index in indices { (self.row(*index)) }
                        @if indices.is_empty() { tr { td colspan="8" { "No node has this text in its name or site." } } }
                    }
                }
            }
        }
    }

    fn row(&self, index: usize) -> Markup {
        let membership = self.snapshot.membership();
        let (member, state) = (&membership.members()[index], &self.snapshot.states()[index]);
        let verdict = self.snapshot.verdicts().nodes.get(index);
        let votes = verdict.map(|verdict| &verdict.vote_count).filter(|votes| votes.electorate > 0);
        let tracked = self.snapshot.tracker().nodes().nth(index);
        html! {
            tr {
                th scope="row" {
                    a href=(self.links.node(&member.id)) title=[member.url.as_deref()] { (member.id) }
                    @if index == membership.me() { " " small { "this node" } }
                }
                @if self.has_sites { td { @if let Some(site) = &member.site { (site.as_str()) } } }
                td {
                    @if let Some(verdict) = verdict {
                        (format::node_status(verdict.status))
                        @if !verdict.causes.is_empty() { " " small { (join_causes(&verdict.causes)) } }
                    }
                }
                td { @if let Some(tracked) = tracked { (format::time_ago(tracked.since_ms)) } }
                td.num { @if let Some(votes) = votes { (votes.offline) " of " (votes.electorate) } }
                td.num { (self.clock_offset(index)) }
                td { @if let Some(latest) = &state.latest { (latest.report().version) } }
                td { (notes(self.snapshot, member, state)) }
            }
        }
    }

    /// Renders the offset of a node's clock as this node measures it.
    fn clock_offset(&self, index: usize) -> Markup {
        let is_me = index == self.snapshot.membership().me();
        let observation = own_observation(self.snapshot, index).filter(|_| !is_me);
        let offset = observation.and_then(|observation| Some((observation, observation.clock_offset_ms?)));
        html! {
            @if let Some((observation, ms)) = offset {
                span.highlighted[ms.unsigned_abs() >= HIGHLIGHTED_OFFSET_MS]
                    title={ "exact to ± " (format::milliseconds(observation.rtt_us.unwrap_or(0) / 2)) " ms" } {
                    (format::clock_offset(ms))
                }
            }
        }
    }
}

/// A peculiarity of a node.
struct Note {
    is_warning: bool,
    label: &'static str,
    meaning: &'static str,
}

impl Note {
    const fn hint(label: &'static str, meaning: &'static str) -> Self {
        Self { is_warning: false, label, meaning }
    }

    const fn warning(label: &'static str, meaning: &'static str) -> Self {
        Self { is_warning: true, label, meaning }
    }
}

const CONFLICT: Note = Note::warning(
    "conflict",
    "It signed two different reports with one number: a cloned machine, a restored snapshot or a stolen key. This \
     node stores both as evidence.",
);
const NO_KEY: Note =
    Note::hint("no key", "The configuration has no public key for it, so it does not participate yet.");
const NO_URL: Note =
    Note::hint("calls out", "It has no url: no node probes it, and its own reports are its signs of life.");
const NO_REPORT: Note =
    Note::hint("no report yet", "This node has received no report of it since it started.");
const ISOLATED: Note =
    Note::warning("isolated", "It sees more than half of the others offline, so it may be isolated itself.");
const OVERLOADED: Note =
    Note::warning("overloaded", "Its threads run late, so others wait longer before they call it down.");
const OTHER_CONFIGURATION: Note =
    Note::warning("other configuration", "Its config.yml has other nodes or keys than this node's.");

/// Renders the peculiarities of a node.
pub(super) fn notes(snapshot: &Snapshot, member: &Member, state: &MemberState) -> Markup {
    let report = state.latest.as_ref().map(|latest| latest.report());
    let has_key = !member.keys.is_empty();
    let is_isolated = report.is_some_and(|report| report.isolated);
    let is_overloaded = report.is_some_and(|report| report.overloaded == Some(true));
    let has_other_config = report.is_some_and(|report| report.config != snapshot.membership().digest());
    let notes = [
        (state.equivocation.is_some(), CONFLICT),
        (!has_key, NO_KEY),
        (member.url.is_none(), NO_URL),
        (has_key && report.is_none(), NO_REPORT),
        (is_isolated, ISOLATED),
        (is_overloaded, OVERLOADED),
        (has_other_config, OTHER_CONFIGURATION),
    ];
    html! {
        @for (_, note) in notes.iter().filter(|(applies, _)| *applies) {
            span.note.warning[note.is_warning] title=(note.meaning) { (note.label) } " "
        }
    }
}
