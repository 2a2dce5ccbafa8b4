//! Replies with pages of the dashboard.

use std::borrow::Cow;
use std::sync::Once;

use rouille::{Request, Response, ResponseBody, input};

use super::auth::is_secure;
use super::gzip;
use super::served_instance::ServedInstance;
use crate::dashboard::theme::{self, Theme};
use crate::dashboard::{
    CONTENT_SECURITY_POLICY, LoginForm, LoginProblem, PageRequest, RenderedPage, login_page,
};
use crate::journal::message_id;
use crate::store::clock;

/// Returns the parts of a request that the frame of a page depends on. Logs the first page that crosses a network
/// without encryption.
pub(super) fn page_request<'r>(instance: &ServedInstance, request: &'r Request) -> PageRequest<'r> {
    let is_plain_http =
        !is_secure(instance, request) && !request.remote_addr().ip().to_canonical().is_loopback();
    if is_plain_http {
        log_plain_http();
    }
    let theme = input::cookies(request).find(|(name, _)| *name == theme::COOKIE);
    PageRequest {
        url: request.raw_url(),
        theme: theme.and_then(|(_, value)| Theme::parse(value)).unwrap_or_default(),
        is_plain_http,
        now_ms: clock::wall_us() / 1000,
    }
}

/// Replies with a page and the headers that isolate it from other sites.
pub(super) fn page_reply(request: &Request, page: &RenderedPage) -> Response {
    let field = |name: &'static str, value: &'static str| (Cow::Borrowed(name), Cow::Borrowed(value));
    let headers = vec![
        field("Content-Type", "text/html; charset=utf-8"),
        field("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        field("X-Content-Type-Options", "nosniff"),
        // With `no-referrer`, browsers would send `Origin: null` with the forms of this site.
        field("Referrer-Policy", "same-origin"),
        field("Cache-Control", "no-store"),
    ];
    let empty = Response { status_code: page.status, headers, data: ResponseBody::empty(), upgrade: None };
    gzip::with_body(request, empty, page.html.as_bytes())
}

/// Replies with the login page, which continues at `next` after the login.
pub(super) fn login_reply(
    instance: &ServedInstance,
    request: &Request,
    problem: Option<LoginProblem>,
    next: Option<&str>,
) -> Response {
    let form = LoginForm { has_password: instance.login.is_some(), problem, next };
    let response = page_reply(request, &login_page(&page_request(instance, request), &form));
    match problem.filter(|_| form.has_password) {
        Some(LoginProblem::TooManyAttempts { retry_after_s }) => {
            response.with_additional_header("Retry-After", retry_after_s.to_string())
        }
        _ => response,
    }
}

/// Warns the operator once per process; the pages warn their readers.
fn log_plain_http() {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| {
        log::warn!(
            MESSAGE_ID = message_id::PLAIN_HTTP;
            "the dashboard is used over plain http from another host: put https in front, and an https url \
             into config.yml"
        );
    });
}
