//! Who may read: passwords become tokens, tokens become [`Viewer`]s.
//!
//! A token is a JWT that one of this instance's nodes signed, or another member of one of its networks.
//! Scripts get one at `POST /token`; people log in with a form and hold one in a cookie, which is renewed
//! while they look on. Nothing here changes anything: tokens only read.

use std::time::Instant;

use log::{info, warn};
use rouille::{Request, Response};
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use self::checker::Checker;
use super::client_address::ClientPrefix;
use super::login_limiter::{LoginLimiter, TooManyAttempts};
use super::problem::problem;
use super::served_instance::ServedInstance;
use crate::crypto::password::Password;
use crate::crypto::token::{self, Claims, MAX_LIFETIME_S, SUBJECT, TokenError};
use crate::journal::log_limiter::LogLimiter;
use crate::journal::message_id;
use crate::mesh::id::NetworkId;
use crate::store::clock;

mod checker;
mod credentials;
mod form;

pub(crate) use credentials::is_secure;
pub(crate) use form::{go_to, is_local, login_page};

/// How long after the password was given it must be given again, in seconds.
pub const MAX_SESSION_S: u64 = 24 * 3600;

/// The room for names of networks in a token, in bytes: base64 makes a third more of it, and browsers drop
/// cookies over 4096.
const MAX_AUDIENCE: usize = 2400;

/// A challenge without `error`, for requests that show no token (RFC 6750, section 3.1).
const CHALLENGE: &str = "Bearer realm=\"distomon\"";

/// Passwords and tokens.
#[derive(Default)]
pub struct Login {
    attempts: LoginLimiter,
    checker: Checker,
    lines: LogLimiter,
}

/// Somebody whose token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    networks: Vec<NetworkId>,
    session: Option<Session>,
}

/// A token that this instance issued for a cookie, and may renew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Session {
    /// When the password was given, and the token issued, in seconds since 1970.
    auth_time_s: u64,
    issued_s: u64,
}

impl Viewer {
    /// Whether this network is open to the viewer.
    pub fn may_read(&self, network: &NetworkId) -> bool {
        self.networks.contains(network)
    }

    /// The networks of the instance that are open to the viewer, in order.
    pub fn networks(&self) -> &[NetworkId] {
        &self.networks
    }

    /// Someone to whom these are open.
    #[cfg(test)]
    pub(crate) fn of(networks: &[&NetworkId]) -> Self {
        Self { networks: networks.iter().map(|id| (*id).clone()).collect(), session: None }
    }
}

#[derive(Serialize)]
struct Granted<'a> {
    access_token: &'a str,
    token_type: &'a str,
    expires_in: u64,
}

impl Login {
    /// Nobody has tried yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `POST /token`: a token for HTTP Basic with the user `admin`.
    pub fn post_token(&self, instance: &ServedInstance, request: &Request) -> Response {
        let Some(password) = &instance.login else { return no_login() };
        let Some(basic) = credentials::basic(request) else {
            return unauthorized(BASIC, "send the user admin and the password with HTTP Basic");
        };
        let is_admin: bool = basic.user.as_bytes().ct_eq(SUBJECT.as_bytes()).into();
        match self.try_password(password, &basic.password, is_admin, request) {
            Err(too_many) => too_many.response(),
            Ok(false) => unauthorized(BASIC, "wrong user or password"),
            Ok(true) => {
                let issued = issue(instance, password, now_s(), MAX_LIFETIME_S, None);
                let Some(token) = issued else { return no_network() };
                let granted =
                    Granted { access_token: &token, token_type: "bearer", expires_in: MAX_LIFETIME_S };
                Response::json(&granted).with_unique_header("Cache-Control", "no-store")
            }
        }
    }

    /// Who asks, by `Authorization: Bearer` or the cookie; else the reply: 401, or 403 if nobody can log in
    /// here.
    pub fn viewer(&self, instance: &ServedInstance, request: &Request) -> Result<Viewer, Response> {
        let Some(password) = &instance.login else { return Err(no_login()) };
        let Some(token) = credentials::token(request, instance) else {
            return Err(unauthorized(
                CHALLENGE,
                "log in first: POST /token gives a token, /login is for people",
            ));
        };
        self.check(instance, password, token, now_s()).map_err(|error| {
            let challenge = format!("{CHALLENGE}, error=\"invalid_token\", error_description=\"{error}\"");
            unauthorized(&challenge, &error.to_string())
        })
    }

    /// Like [`Login::viewer`] for pages: who is not let in is led to the login.
    pub fn visitor(&self, instance: &ServedInstance, request: &Request) -> Result<Viewer, Response> {
        self.viewer(instance, request).map_err(|_| {
            let path = request.raw_url();
            let next = if form::is_local(path) && path != "/" {
                format!("/{}", form::login_page(path))
            } else {
                "/login".to_owned()
            };
            form::go_to(request, &next)
        })
    }

    /// Renews the viewer's cookie with the reply if half its life is over, until a day after the password
    /// was given.
    pub fn renew(
        &self,
        instance: &ServedInstance,
        viewer: &Viewer,
        request: &Request,
        response: Response,
    ) -> Response {
        let (Some(session), Some(password)) = (viewer.session, &instance.login) else { return response };
        let now_s = now_s();
        let is_due = now_s.saturating_sub(session.issued_s) >= MAX_LIFETIME_S / 2;
        if !is_due {
            return response;
        }
        let secure = is_secure(instance, request);
        match session_cookie(instance, password, secure, session.auth_time_s, now_s) {
            Some(cookie) => response.with_additional_header("Set-Cookie", cookie),
            None => response,
        }
    }

    fn check(
        &self,
        instance: &ServedInstance,
        password: &Password,
        token: &str,
        now_s: u64,
    ) -> Result<Viewer, TokenError> {
        let checked = self.checker.check(instance, password, token, now_s)?;
        let Claims { iat, auth_time, .. } = checked.claims;
        let session = auth_time.filter(|_| checked.is_own(instance));
        let session = session.map(|auth_time_s| Session { auth_time_s, issued_s: iat });
        Ok(Viewer { networks: checked.networks(instance), session })
    }

    /// Whether the password is right, if it may be tried now. It is checked even where `is_admin` is false,
    /// so that the time tells nothing.
    fn try_password(
        &self,
        password: &Password,
        attempt: &str,
        is_admin: bool,
        request: &Request,
    ) -> Result<bool, TooManyAttempts> {
        let from = request.remote_addr().ip();
        let begun = self.attempts.begin(from, Instant::now()).inspect_err(|_| {
            self.tell(
                "too many login attempts",
                &format!("too many login attempts, the last one from {from}"),
            );
        })?;
        let right = password.verify(attempt) & is_admin;
        if right {
            begun.succeeded(Instant::now());
            info!(MESSAGE_ID = message_id::LOGGED_IN; "login from {from}");
        } else {
            let subject = format!("wrong password from {}", ClientPrefix::from(from));
            self.tell(&subject, &format!("wrong password from {from}"));
        }
        Ok(right)
    }

    fn tell(&self, subject: &str, line: &str) {
        if let Some(more) = self.lines.allow(subject) {
            warn!(MESSAGE_ID = message_id::LOGIN_FAILED; "{line}{more}");
        }
    }

    /// Tells what the lines of the last minute left out, once nothing of the kind has come for a while.
    pub(super) fn tell_rest(&self) {
        for (subject, more) in self.lines.overdue() {
            warn!(MESSAGE_ID = message_id::LOGIN_FAILED; "{subject}{more}");
        }
    }

    /// The `Set-Cookie` of someone who gave the password just now.
    #[expect(clippy::unused_self, reason = "only what has checked a password may open a session")]
    fn new_session(&self, instance: &ServedInstance, password: &Password, secure: bool) -> Option<String> {
        let now_s = now_s();
        session_cookie(instance, password, secure, now_s, now_s)
    }
}

/// The `Set-Cookie` for someone who gave the password at `auth_time_s`; none once that is a day ago.
fn session_cookie(
    instance: &ServedInstance,
    password: &Password,
    secure: bool,
    auth_time_s: u64,
    now_s: u64,
) -> Option<String> {
    let left_s = auth_time_s.saturating_add(MAX_SESSION_S).checked_sub(now_s).filter(|left| *left > 0)?;
    let lifetime_s = left_s.min(MAX_LIFETIME_S);
    let token = issue(instance, password, now_s, lifetime_s, Some(auth_time_s))?;
    Some(credentials::set_cookie(instance, secure, &token, lifetime_s))
}

/// A token for the networks of the instance, signed by the first one's node. None if there is no network.
fn issue(
    instance: &ServedInstance,
    password: &Password,
    now_s: u64,
    lifetime_s: u64,
    auth_time: Option<u64>,
) -> Option<String> {
    let (network, node) = instance.nodes.first_key_value()?;
    let issuer = node.id();
    let login = Some(checker::password_binding(&node.keypair, password));
    let claims = Claims::new(issuer.as_str(), &audience(instance), now_s, lifetime_s);
    let claims = Claims { auth_time, login, ..claims };
    Some(token::sign(&node.keypair, &format!("{network}/{issuer}"), &claims))
}

/// The networks that a token names: as many as fit into a cookie, which is all but always all of them.
fn audience(instance: &ServedInstance) -> Vec<String> {
    let mut room = MAX_AUDIENCE;
    let mut names = Vec::new();
    for id in instance.nodes.keys() {
        let Some(left) = room.checked_sub(id.as_str().len() + 3) else {
            log::warn!(
                "a login opens only the first {} networks, the others do not fit into it",
                names.len()
            );
            break;
        };
        room = left;
        names.push(id.to_string());
    }
    names
}

fn now_s() -> u64 {
    clock::wall_us() / 1_000_000
}

const BASIC: &str = "Basic realm=\"distomon\", charset=\"UTF-8\"";

fn unauthorized(challenge: &str, detail: &str) -> Response {
    problem(401, "Unauthorized", detail).with_additional_header("WWW-Authenticate", challenge.to_owned())
}

/// What to do where nobody can log in.
pub(super) const NO_LOGIN: &str = "nobody can log in here: this instance has no login; remove login: false from \
    its nodeconf.yml and reload it, and \"distomon password NAME\" shows the password that it makes";

fn no_login() -> Response {
    problem(403, "Forbidden", NO_LOGIN)
}

fn no_network() -> Response {
    problem(503, "Service Unavailable", "no network is running here, so there is nothing to open")
}

#[cfg(test)]
mod tests;
