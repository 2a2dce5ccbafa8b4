//! The routes of the dashboard: login, cookies and HTTP around its pages.

use std::borrow::Cow;

use rouille::{Request, Response, ResponseBody, input};

use super::auth::{Auth, Viewer};
use super::etag::matches_etag;
use super::gzip;
use super::page_reply::{login_reply, page_reply, page_request};
use super::problem::problem;
use super::redirect::{is_local_path, path_of, redirect};
use super::served_instance::ServedInstance;
use super::view::time_param;
use crate::dashboard::assets::Asset;
use crate::dashboard::route::{PageRoute, Route};
use crate::dashboard::theme::{self, Theme};
use crate::dashboard::{
    Dashboard, KnownState, LoginProblem, NodeQuery, PageError, PageQuery, RequestedTime, Session,
};

/// The lifetime of the theme's cookie, in seconds.
const THEME_COOKIE_S: u32 = 365 * 24 * 3600;

/// The routes of the dashboard.
#[derive(Default)]
pub(super) struct DashboardRoutes {
    dashboard: Dashboard,
}

impl DashboardRoutes {
    /// Answers a request for a page, a form or an asset. Returns `None` for other paths and methods.
    pub(super) fn respond(
        &self,
        instance: &ServedInstance,
        auth: &Auth,
        request: &Request,
    ) -> Option<Response> {
        let path = path_of(request);
        let is_get = matches!(request.method(), "GET" | "HEAD");
        let Some(route) = Route::parse(path) else {
            return Asset::find(path).filter(|_| is_get).map(|asset| asset_reply(asset, request));
        };
        match (request.method(), route) {
            ("POST", Route::Login) => Some(auth.post_login(instance, request)),
            ("POST", Route::Logout) => Some(auth.post_logout(instance, request)),
            ("POST", Route::Theme) => Some(post_theme(request)),
            (_, Route::Login) if is_get => Some(get_login(instance, request)),
            (_, Route::Page(page)) if is_get => Some(self.get_page(instance, auth, request, page)),
            (_, Route::Live(page)) if is_get => Some(self.get_live(instance, auth, request, page)),
            _ => None,
        }
    }

    fn get_page(
        &self,
        instance: &ServedInstance,
        auth: &Auth,
        request: &Request,
        page: Option<PageRoute<'_>>,
    ) -> Response {
        let viewer = match auth.page_viewer(instance, request) {
            Ok(viewer) => viewer,
            Err(redirect) => return redirect,
        };
        let (session, query) = (session(instance, &viewer), page_query(request, page));
        let page = self.dashboard.page(session, &query, &page_request(instance, request));
        auth.renew(instance, &viewer, request, page_reply(request, &page))
    }

    /// Handles `GET /live/…`: replies with the changes of a page since the last request, as JSON.
    fn get_live(
        &self,
        instance: &ServedInstance,
        auth: &Auth,
        request: &Request,
        page: Option<PageRoute<'_>>,
    ) -> Response {
        let viewer = match auth.viewer(instance, request) {
            Ok(viewer) => viewer,
            Err(reply) => return reply,
        };
        let reply = self.live_reply(session(instance, &viewer), request, page);
        auth.renew(instance, &viewer, request, reply)
    }

    fn live_reply(&self, session: Session<'_>, request: &Request, page: Option<PageRoute<'_>>) -> Response {
        let param = |name: &str| request.get_param(name).unwrap_or_default();
        let (regions, matrix) = (param("have"), param("since"));
        let known = KnownState { regions: &regions, matrix: &matrix };
        match self.dashboard.live_update(session, &page_query(request, page), known) {
            Ok(json) => json_reply(request, &json),
            Err(PageError::NotFound(detail)) => problem(404, "Not Found", detail),
            Err(PageError::InvalidTime(detail)) => problem(400, "Bad Request", detail),
            Err(PageError::AccessDenied) => {
                problem(403, "Forbidden", "the login does not grant access to this network")
            }
        }
    }
}

fn session<'a>(instance: &'a ServedInstance, viewer: &'a Viewer) -> Session<'a> {
    Session { networks: &instance.nodes, readable: viewer.networks() }
}

fn page_query<'a>(request: &Request, route: Option<PageRoute<'a>>) -> PageQuery<'a> {
    let (text, page) = (request.get_param("q"), request.get_param("page"));
    let time = match time_param(request) {
        Ok(None) => RequestedTime::Current,
        Ok(Some(ms)) => RequestedTime::At(ms),
        Err(()) => RequestedTime::Invalid,
    };
    PageQuery { route, nodes: NodeQuery::new(text.as_deref(), page.as_deref()), time }
}

/// Handles `GET /login`: replies with the form, which continues at `next` of the query.
fn get_login(instance: &ServedInstance, request: &Request) -> Response {
    let problem = request.get_param("ended").map(|_| LoginProblem::SessionExpired);
    login_reply(instance, request, problem, request.get_param("next").as_deref())
}

/// Handles `POST /theme`, a form with `theme` and `next`: sets the theme's cookie. Any site may send this form, since it
/// changes only colours.
fn post_theme(request: &Request) -> Response {
    let fields = input::post::raw_urlencoded_post_input(request).unwrap_or_default();
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let theme = field("theme").and_then(Theme::parse).unwrap_or_default();
    let next = field("next").filter(|next| is_local_path(next)).unwrap_or("/");
    let (name, value) = (theme::COOKIE, theme.as_str());
    let cookie = format!("{name}={value}; Path=/; Max-Age={THEME_COOKIE_S}; HttpOnly; SameSite=Strict");
    redirect(request, next).with_additional_header("Set-Cookie", cookie)
}

fn asset_reply(asset: &'static Asset, request: &Request) -> Response {
    let is_known = request.header("If-None-Match").is_some_and(|list| matches_etag(list, &asset.etag));
    let field = |name: &'static str, value: &'static str| (Cow::Borrowed(name), Cow::Borrowed(value));
    let headers = vec![
        field("Content-Type", asset.media_type),
        // The path changes with the content.
        field("Cache-Control", "public, max-age=31536000, immutable"),
        field("ETag", &asset.etag),
        field("X-Content-Type-Options", "nosniff"),
        field("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    let status_code = if is_known { 304 } else { 200 };
    let empty = Response { status_code, headers, data: ResponseBody::empty(), upgrade: None };
    if is_known { empty } else { gzip::with_body(request, empty, asset.text.as_bytes()) }
}

fn json_reply(request: &Request, json: &[u8]) -> Response {
    let headers =
        vec![("Content-Type".into(), "application/json".into()), ("Cache-Control".into(), "no-store".into())];
    let empty = Response { status_code: 200, headers, data: ResponseBody::empty(), upgrade: None };
    gzip::with_body(request, empty, json)
}

#[cfg(test)]
mod tests;
