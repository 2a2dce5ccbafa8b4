//! The frame that all pages share: head, header, banners and footer.

use maud::{DOCTYPE, Markup, html};

use super::assets::{self, LIVE_UPDATES, LOGO, MATRIX, STYLE, UNKNOWN};
use super::format;
use super::health::Health;
use super::page_content::PageContent;
use super::route::{login_page_path, relative_root};
use super::theme::{self, Theme};

/// The interval at which a page reloads itself in browsers that run no scripts, in seconds.
const REFRESH_S: u32 = 10;

/// A `Content-Security-Policy` under which a page loads only files of this site, and no site may frame it.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; object-src 'none'; frame-src 'none'; \
    worker-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The parts of a request that the frame of a page depends on.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<'r> {
    /// The path with its query.
    pub url: &'r str,
    /// The colours that the reader chose.
    pub theme: Theme,
    /// Whether the page crosses a network without encryption.
    pub is_plain_http: bool,
    /// The time of the request: Unix time in ms.
    pub now_ms: u64,
}

impl<'r> PageRequest<'r> {
    /// Returns the path without its query.
    pub(super) fn path(&self) -> &'r str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// Returns the relative path to the root.
    pub(super) fn root(&self) -> String {
        relative_root(self.path())
    }
}

/// A page as HTML.
#[derive(Debug)]
pub struct RenderedPage {
    /// The HTTP status.
    pub status: u16,
    /// The document.
    pub html: String,
}

/// The frame of a page.
pub(super) struct PageFrame<'a> {
    pub(super) request: &'a PageRequest<'a>,
    pub(super) title: &'a str,
    /// Whether the page has a button to log out.
    pub(super) is_logged_in: bool,
    /// The content that scripts keep up to date, or `None` for a page that never changes.
    pub(super) live_content: Option<&'a PageContent>,
    /// The last tick of the event loop if that has stopped: Unix time in ms.
    pub(super) stalled_since_ms: Option<u64>,
}

impl PageFrame<'_> {
    /// Renders the page with this body.
    pub(super) fn render(&self, body: &Markup) -> String {
        let root = self.request.root();
        let is_stale = self.stalled_since_ms.is_some();
        let health = self.live_content.map(|content| content.health);
        let icon = if is_stale { &*UNKNOWN } else { health.map_or(&*LOGO, Health::icon) };
        let page = html! {
            (DOCTYPE)
            html lang="en" class=[is_stale.then_some("stale")] data-theme=[self.request.theme.attribute()] data-health=[health.map(Health::as_str)] {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    @if self.live_content.is_some() {
                        noscript { meta http-equiv="refresh" content=(REFRESH_S); }
                    }
                    title { @if is_stale { "? stale – " } (self.title) }
                    link rel="stylesheet" href={ (root) (STYLE.path) };
                    link rel="icon" type="image/svg+xml" href={ (root) (icon.path) };
                    // The matrix comes first: it must listen before the first update arrives.
                    @if self.live_content.is_some() { script src={ (root) (MATRIX.path) } defer {} }
                    script src={ (root) (LIVE_UPDATES.path) } defer {}
                }
                (self.body(&root, body))
            }
        };
        page.into_string()
    }

    fn body(&self, root: &str, body: &Markup) -> Markup {
        let here = self.request.url;
        let is_live = self.live_content.is_some();
        html! {
            // The attributes are for the script that requests updates.
            body data-root=(root) data-path=(self.request.path())
                data-config-digest=[self.live_content.map(|content| &content.config_digest)]
                data-build=[is_live.then(assets::build)]
                data-unknown-icon=[is_live.then_some(&UNKNOWN.path)] {
                a.skip href="#main" { "Skip to the content" }
                header {
                    a.brand href=(root) { img src={ (root) (LOGO.path) } alt="" width="24" height="24"; "Distomon" }
                    nav aria-label="Breadcrumbs" {
                        @if let Some(content) = self.live_content { (breadcrumbs(root, content)) }
                    }
                    (theme::form(root, here, self.request.theme))
                    @if self.is_logged_in {
                        form #logout method="post" action={ (root) "logout" } { button { "Log out" } }
                    }
                }
                @if is_live {
                    (stale_banner(self.stalled_since_ms))
                    div #ended.banner role="alert" hidden {
                        strong { "Your session has expired. " }
                        a href={ (root) (login_page_path(here)) "&ended=1" } { "Log in again" } " to continue on this page."
                    }
                    p #live.visually-hidden role="status" aria-live="polite" {}
                }
                main #main tabindex="-1" {
                    @if self.request.is_plain_http { (plain_http_warning()) }
                    (body)
                }
                footer {
                    p {
                        "Distomon " (crate::VERSION)
                        @if is_live {
                            " · as of " span #asof { (format::time(self.request.now_ms)) }
                            noscript { ", reloaded every " (REFRESH_S) " s" }
                        }
                    }
                }
            }
        }
    }
}

fn breadcrumbs(root: &str, content: &PageContent) -> Markup {
    let last = content.breadcrumbs.len().saturating_sub(1);
    html! {
        ol {
            @for (position, (name, path)) in content.breadcrumbs.iter().enumerate() {
                li { a href={ (root) (path) } aria-current=[(position == last).then_some("page")] { (name) } }
            }
        }
    }
}

/// Renders the banner of a node that answers but has stopped evaluating; hidden while the node works.
fn stale_banner(stalled_since_ms: Option<u64>) -> Markup {
    html! {
        div #stale.banner role="alert" hidden[stalled_since_ms.is_none()] {
            @if let Some(since_ms) = stalled_since_ms {
                "This node has stopped evaluating; the data below is from " (format::time(since_ms))
                ". Its journal shows why."
            }
        }
    }
}

fn plain_http_warning() -> Markup {
    html! {
        p.alert.caution role="note" {
            strong { "Not encrypted. " }
            "This page uses plain http: anyone on the network path can read it, and the password. Put https in \
             front and an https url into config.yml, or use an SSH tunnel."
        }
    }
}
