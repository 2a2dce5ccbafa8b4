//! The frame that all pages share, and the headers that close them up.

use std::borrow::Cow;
use std::sync::Once;

use maud::{DOCTYPE, Markup, html};
use rouille::{Request, Response, ResponseBody};

use super::assets::{self, BLIND, ICON, LIVE, MATRIX, STYLE};
use super::gzip;
use super::sheet::Sheet;
use super::state::State;
use super::theme::{self, Theme};
use crate::journal::message_id;
use crate::server::ServedInstance;
use crate::server::auth::is_secure;
use crate::server::redirect::login_page_path;

/// How often a page fetches itself again where no script does it, in seconds.
const REFRESH_S: u32 = 10;

/// What a page may load and who may show it: this site's own files, and nobody.
const POLICY: &str = "default-src 'self'; object-src 'none'; frame-src 'none'; worker-src 'none'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The way from the request's path to this site's root, with a slash at its end.
pub(crate) fn root(request: &Request) -> String {
    root_of(request.raw_url().split('?').next().unwrap_or_default())
}

/// The same from a path.
pub(super) fn root_of(path: &str) -> String {
    match path.bytes().filter(|byte| *byte == b'/').count() {
        0 | 1 => "./".to_owned(),
        slashes => "../".repeat(slashes - 1),
    }
}

/// What is told of a node that is stuck.
const STUCK: &str =
    "This node answers, but has stopped to judge: what you see is old. Its journal says more.";

/// The title of a page: first how things stand, so that a narrow tab tells it.
pub(super) fn title(sheet: &Sheet) -> String {
    format!("{} {} – Distomon", sheet.state.symbol(), sheet.title)
}

/// A page to be.
pub(super) struct Page<'a> {
    title: String,
    root: String,
    path: String,
    status: u16,
    theme: Theme,
    in_clear: bool,
    is_logged_in: bool,
    sheet: Option<&'a Sheet>,
    stuck: bool,
}

impl<'a> Page<'a> {
    /// A page that stands still, for anybody.
    pub(super) fn new(instance: &ServedInstance, request: &Request, title: String) -> Self {
        let in_clear = is_in_clear(instance, request);
        if in_clear {
            warn_once();
        }
        Self {
            title,
            root: root(request),
            path: request.raw_url().to_owned(),
            status: 200,
            theme: theme::of(request),
            in_clear,
            is_logged_in: false,
            sheet: None,
            stuck: false,
        }
    }

    /// With a button to log out.
    pub(super) fn logged_in(mut self) -> Self {
        self.is_logged_in = true;
        self
    }

    /// Which keeps itself up to date.
    pub(super) fn of(mut self, sheet: &'a Sheet) -> Self {
        self.sheet = Some(sheet);
        self
    }

    /// Whether the node has stopped to judge, so that what it shows is old.
    pub(super) fn stuck(mut self, stuck: bool) -> Self {
        self.stuck = stuck;
        self
    }

    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The reply.
    pub(super) fn response(self, request: &Request, body: &Markup) -> Response {
        let field = |name: &'static str, value: &'static str| (Cow::Borrowed(name), Cow::Borrowed(value));
        let headers = vec![
            field("Content-Type", "text/html; charset=utf-8"),
            field("Content-Security-Policy", POLICY),
            field("X-Content-Type-Options", "nosniff"),
            // Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
            field("Referrer-Policy", "same-origin"),
            field("Cache-Control", "no-store"),
        ];
        let empty =
            Response { status_code: self.status, headers, data: ResponseBody::empty(), upgrade: None };
        gzip::with_body(request, empty, self.frame(body).into_string().as_bytes())
    }

    fn frame(&self, body: &Markup) -> Markup {
        let root = &self.root;
        let state = self.sheet.map(|sheet| sheet.state);
        let icon = if self.stuck { &*BLIND } else { state.map_or(&*ICON, |state| state.icon()) };
        html! {
            (DOCTYPE)
            html lang="en" class=[self.stuck.then_some("stale")] data-theme=[self.theme.attribute()] data-state=[state.map(State::as_str)] {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    @if self.sheet.is_some() {
                        noscript { meta http-equiv="refresh" content=(REFRESH_S); }
                    }
                    title { @if self.stuck { "? stale – " } (self.title) }
                    link rel="stylesheet" href={ (root) (STYLE.path) };
                    link rel="icon" type="image/svg+xml" href={ (root) (icon.path) };
                    // The matrix first: it must listen when the first answer comes.
                    @if self.sheet.is_some() { script src={ (root) (MATRIX.path) } defer {} }
                    script src={ (root) (LIVE.path) } defer {}
                }
                (self.body(body))
            }
        }
    }

    fn body(&self, body: &Markup) -> Markup {
        let root = &self.root;
        let here = &self.path;
        let path = here.split(['?', '#']).next().unwrap_or_default();
        html! {
            // What a script needs to ask for what has changed, and to come back after a login.
            body data-root=(root) data-path=(path) data-made-for=[self.sheet.map(|sheet| &sheet.made_for)]
                data-build=[self.sheet.map(|_| assets::build())]
                data-blind-icon=[self.sheet.map(|_| &BLIND.path)] {
                a.skip href="#main" { "To the content" }
                header {
                    a.brand href=(root) { img src={ (root) (ICON.path) } alt="" width="24" height="24"; "Distomon" }
                    nav aria-label="Where you are" {
                        @if let Some(sheet) = self.sheet {
                            ol {
                                @for (at, (name, to)) in sheet.trail.iter().enumerate() {
                                    li {
                                        @if at + 1 == sheet.trail.len() { a href={ (root) (to) } aria-current="page" { (name) } }
                                        @else { a href={ (root) (to) } { (name) } }
                                    }
                                }
                            }
                        }
                    }
                    (theme::form(root, here, self.theme))
                    @if self.is_logged_in {
                        form #logout method="post" action={ (root) "logout" } { button { "Log out" } }
                    }
                }
                @if self.sheet.is_some() {
                    div #stale.banner role="alert" hidden[!self.stuck] { @if self.stuck { (STUCK) } }
                    div #ended.banner role="alert" hidden {
                        strong { "Your login has ended. " }
                        a href={ (root) (login_page_path(here)) "&ended=1" } { "Log in again" } " to go on where you are."
                    }
                    p #live.quiet role="status" aria-live="polite" {}
                }
                main #main tabindex="-1" {
                    @if self.in_clear { (clear_banner()) }
                    (body)
                }
                footer {
                    p {
                        "Distomon " (crate::VERSION)
                        @if self.sheet.is_some() {
                            " · as of " span #asof { (super::words::clock(crate::store::clock::wall_us() / 1000)) }
                            noscript { ", renewed every " (REFRESH_S) " s" }
                        }
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
fn is_in_clear(instance: &ServedInstance, request: &Request) -> bool {
    !is_secure(instance, request) && !request.remote_addr().ip().to_canonical().is_loopback()
}

/// The banner tells whoever looks; this tells whoever runs it, once in the life of the process.
fn warn_once() {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        log::warn!(
            MESSAGE_ID = message_id::PLAIN_HTTP;
            "the dashboard is used over plain http from another host: put https in front, and an https url \
             into config.yml"
        );
    });
}
