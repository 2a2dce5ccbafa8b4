//! The frame that all pages share, and the headers that close them up.

use std::borrow::Cow;
use std::sync::Once;

use maud::{DOCTYPE, Markup, html};
use rouille::{Request, Response, ResponseBody};

use super::assets::{ICON, STYLE};
use crate::message_id;
use crate::server::Instance;

/// How often a page fetches itself again, in seconds.
const REFRESH_S: u32 = 5;

/// What a page may load and who may show it: nothing and nobody but this site.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'";

/// The way from the request's path to this site's root, with a slash at its end.
pub(in crate::server) fn root(request: &Request) -> String {
    let path = request.raw_url().split('?').next().unwrap_or_default();
    match path.bytes().filter(|byte| *byte == b'/').count() {
        0 | 1 => "./".to_owned(),
        slashes => "../".repeat(slashes - 1),
    }
}

/// A page to be.
pub(super) struct Page<'a> {
    title: &'a str,
    root: String,
    status: u16,
    refreshing: bool,
    in_clear: bool,
    links: Links,
}

/// Where a page leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    None,
    LogOut,
    BackAndLogOut,
}

impl<'a> Page<'a> {
    /// A page that stands still, for anybody.
    pub(super) fn new(instance: &Instance, request: &Request, title: &'a str) -> Self {
        let in_clear = is_in_clear(instance, request);
        if in_clear {
            warn_once(instance);
        }
        Self { title, root: root(request), status: 200, refreshing: false, in_clear, links: Links::None }
    }

    /// Fetches itself again.
    pub(super) fn refreshing(mut self) -> Self {
        self.refreshing = true;
        self
    }

    /// With a button to log out.
    pub(super) fn logged_in(mut self) -> Self {
        self.links = Links::LogOut;
        self
    }

    /// With that button and a link to the networks.
    pub(super) fn one_of_many(mut self) -> Self {
        self.links = Links::BackAndLogOut;
        self
    }

    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The reply.
    pub(super) fn response(self, body: &Markup) -> Response {
        let field = |name: &'static str, value: &'static str| (Cow::Borrowed(name), Cow::Borrowed(value));
        Response {
            status_code: self.status,
            headers: vec![
                field("Content-Type", "text/html; charset=utf-8"),
                field("Content-Security-Policy", POLICY),
                field("X-Content-Type-Options", "nosniff"),
                // Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
                field("Referrer-Policy", "same-origin"),
                field("Cache-Control", "no-store"),
            ],
            data: ResponseBody::from_string(self.frame(body).into_string()),
            upgrade: None,
        }
    }

    fn frame(&self, body: &Markup) -> Markup {
        let root = &self.root;
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if self.refreshing { meta http-equiv="refresh" content=(REFRESH_S); }
                    title { (self.title) " – Distomon" }
                    link rel="stylesheet" href={ (root) (STYLE.path) };
                    link rel="icon" type="image/svg+xml" href={ (root) (ICON.path) };
                }
                body {
                    header {
                        a.brand href=(root) { img src={ (root) (ICON.path) } alt="" width="24" height="24"; "Distomon" }
                        @if self.links == Links::BackAndLogOut { nav { a href=(root) { "All networks" } } }
                        @if self.links != Links::None {
                            form method="post" action={ (root) "logout" } { button { "Log out" } }
                        }
                    }
                    main {
                        @if self.in_clear { (clear_banner()) }
                        (body)
                    }
                }
            }
        }
    }
}

fn clear_banner() -> Markup {
    html! {
        p.alert.caution role="note" {
            strong { "Not encrypted. " }
            "This page comes over plain http: whoever is on the way can read it, and the password. Put https in \
             front, and an https url into config.yml; or come through an SSH tunnel."
        }
    }
}

/// Whether a page crosses a network that others may listen to.
fn is_in_clear(instance: &Instance, request: &Request) -> bool {
    !instance.secure && !request.remote_addr().ip().to_canonical().is_loopback()
}

/// The banner tells whoever looks; this tells whoever runs it, once in the life of the process.
fn warn_once(instance: &Instance) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        log::warn!(
            MESSAGE_ID = message_id::IN_CLEAR, DISTOMON_INSTANCE = instance.name.as_str();
            "the dashboard is used over plain http from another host: put https in front, and an https url \
             into config.yml"
        );
    });
}
