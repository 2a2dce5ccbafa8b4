//! Authentication: exchanges passwords for tokens, and tokens for [`Viewer`]s.
//!
//! A token is a JWT signed by a node of this instance or by another member of one of its networks. It grants read
//! access only. Scripts request one with `POST /token`. A browser keeps one in a cookie, which is renewed while a page
//! is open. A logout revokes the session of the cookie on this instance, with all tokens that were issued for it; other
//! members, which do not know of the logout, accept a token until it expires.

use std::path::Path;
use std::time::Instant;

use log::{error, info, warn};
use rouille::{Request, Response};
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use self::revoked_sessions::RevokedSessions;
use self::token_cache::{CachedToken, TokenCache, password_binding};
use super::client_address::ClientPrefix;
use super::login_limiter::{LoginLimiter, TooManyAttempts};
use super::problem::problem;
use super::redirect::{is_local_path, redirect};
use super::served_instance::ServedInstance;
use crate::crypto::password::Password;
use crate::crypto::token::{self, Claims, MAX_LIFETIME_S, SUBJECT, TokenError};
use crate::dashboard::route::login_page_path;
use crate::journal::log_limiter::LogLimiter;
use crate::journal::message_id;
use crate::mesh::id::NetworkId;
use crate::store::clock;

mod credentials;
mod revoked_sessions;
mod token_cache;

pub(super) use credentials::{cookies, is_secure, set_cookie};

/// The maximum duration of a session, from its login, in seconds.
pub const MAX_SESSION_S: u64 = 24 * 3600;

/// The limit on the names of networks in a token, in bytes. Base64 adds a third, and browsers drop cookies above
/// 4096 bytes.
const MAX_AUDIENCE_BYTES: usize = 2400;

/// The challenge of `POST /token`.
const BASIC_CHALLENGE: &str = "Basic realm=\"distomon\", charset=\"UTF-8\"";

/// The challenge for requests without a token, which has no `error` (RFC 6750, section 3.1).
const BEARER_CHALLENGE: &str = "Bearer realm=\"distomon\"";

/// The authentication of an instance: its limit on attempts and its cache of tokens.
#[derive(Default)]
pub struct Auth {
    attempts: LoginLimiter,
    tokens: TokenCache,
    revoked: RevokedSessions,
    log_limiter: LogLimiter,
}

/// The holder of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    networks: Vec<NetworkId>,
    session: Option<Session>,
}

/// The session of a cookie that this instance issued and may renew.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Session {
    /// The id of the session.
    id: String,
    /// The time of the login: Unix time in seconds.
    auth_time_s: u64,
    /// The time at which the token was issued: Unix time in seconds.
    issued_s: u64,
}

impl Viewer {
    /// Returns whether the viewer may read this network.
    pub fn may_read(&self, network: &NetworkId) -> bool {
        self.networks.contains(network)
    }

    /// Returns the networks of the instance that the viewer may read, in ascending order.
    pub fn networks(&self) -> &[NetworkId] {
        &self.networks
    }

    /// Creates a viewer of `networks` without a session.
    #[cfg(test)]
    pub(crate) fn of(networks: &[&NetworkId]) -> Self {
        Self { networks: networks.iter().map(|id| (*id).clone()).collect(), session: None }
    }
}

/// The reply to `POST /token` (RFC 6749, section 5.1).
#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    token_type: &'a str,
    expires_in: u64,
}

impl Auth {
    /// Creates an authentication with no recorded attempts, no cached tokens and no revoked sessions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Like [`Auth::new`], with the sessions that an earlier process revoked, which are stored in `state_dir`.
    pub fn restore(state_dir: &Path) -> Self {
        Self { revoked: RevokedSessions::restore(state_dir, now_s()), ..Self::default() }
    }

    /// Handles `POST /token`: replies with a token to HTTP Basic authentication as the user `admin`.
    pub fn post_token(&self, instance: &ServedInstance, request: &Request) -> Response {
        let Some(password) = &instance.login else { return no_login() };
        let Some(basic) = credentials::basic(request) else {
            let detail = "no credentials: send the user admin and the password with HTTP Basic";
            return unauthorized(BASIC_CHALLENGE, detail);
        };
        let is_admin: bool = basic.user.as_bytes().ct_eq(SUBJECT.as_bytes()).into();
        match self.try_password(password, &basic.password, is_admin, request) {
            Err(too_many) => too_many.response(),
            Ok(false) => unauthorized(BASIC_CHALLENGE, "wrong user or password"),
            Ok(true) => {
                let issued = issue(instance, password, now_s(), MAX_LIFETIME_S, None);
                let Some(token) = issued else { return no_network() };
                let body =
                    TokenResponse { access_token: &token, token_type: "bearer", expires_in: MAX_LIFETIME_S };
                Response::json(&body).with_unique_header("Cache-Control", "no-store")
            }
        }
    }

    /// Authenticates a request by `Authorization: Bearer` or the cookie. Fails with a reply: 403 if the instance has
    /// no login, otherwise 401.
    pub fn viewer(&self, instance: &ServedInstance, request: &Request) -> Result<Viewer, Response> {
        let Some(password) = &instance.login else { return Err(no_login()) };
        let Some(token) = credentials::token(request, instance) else {
            return Err(unauthorized(
                BEARER_CHALLENGE,
                "no token: request one with POST /token, or log in at /login",
            ));
        };
        self.check(instance, password, token, now_s()).map_err(|error| {
            let challenge =
                format!("{BEARER_CHALLENGE}, error=\"invalid_token\", error_description=\"{error}\"");
            unauthorized(&challenge, &error.to_string())
        })
    }

    /// Authenticates a request for a page. Fails with a redirect to the login page.
    pub fn page_viewer(&self, instance: &ServedInstance, request: &Request) -> Result<Viewer, Response> {
        self.viewer(instance, request).map_err(|_| {
            let path = request.raw_url();
            let to = if is_local_path(path) && path != "/" {
                format!("/{}", login_page_path(path))
            } else {
                "/login".to_owned()
            };
            redirect(request, &to)
        })
    }

    /// Adds a new cookie to `response` after half the lifetime of the current one, within [`MAX_SESSION_S`].
    pub fn renew(
        &self,
        instance: &ServedInstance,
        viewer: &Viewer,
        request: &Request,
        response: Response,
    ) -> Response {
        let (Some(session), Some(password)) = (&viewer.session, &instance.login) else { return response };
        let now_s = now_s();
        let is_due = now_s.saturating_sub(session.issued_s) >= MAX_LIFETIME_S / 2;
        // A logout may have ended the session since this request was authenticated.
        if !is_due || self.revoked.contains(&session.id) {
            return response;
        }
        let secure = is_secure(instance, request);
        match session_cookie(instance, password, secure, session, now_s) {
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
        let token = self.tokens.check(instance, password, token, now_s)?;
        let session = session_of(instance, &token);
        if session.as_ref().is_some_and(|session| self.revoked.contains(&session.id)) {
            return Err(TokenError::Revoked);
        }
        Ok(Viewer { networks: token.networks(instance), session })
    }

    /// Ends the session of `token`, if this instance issued it and it is still valid.
    pub(super) fn end_session(&self, instance: &ServedInstance, token: &str) {
        let (Some(password), now_s) = (&instance.login, now_s()) else { return };
        let Ok(token) = self.tokens.check(instance, password, token, now_s) else { return };
        let Some(session) = session_of(instance, &token).filter(|it| !self.revoked.contains(&it.id)) else {
            return;
        };
        if let Err(error) = self.revoked.revoke(&session.id, now_s) {
            if let Some(suppressed) = self.log_limiter.allow("logout") {
                error!(
                    MESSAGE_ID = message_id::STATE_WRITE_FAILED;
                    "saving a logout failed: {error}; after a restart, the token of the session is valid until it expires{suppressed}"
                );
            }
        }
    }

    /// Returns whether the password is right and `is_admin` is true. Fails after too many attempts. The password is verified
    /// even if `is_admin` is false, so that the duration does not reveal whether the user is right.
    pub(super) fn try_password(
        &self,
        password: &Password,
        attempt: &str,
        is_admin: bool,
        request: &Request,
    ) -> Result<bool, TooManyAttempts> {
        let from = request.remote_addr().ip();
        let begun = self.attempts.begin(from, Instant::now()).inspect_err(|_| {
            self.log_failure(
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
            self.log_failure(&subject, &format!("wrong password from {from}"));
        }
        Ok(right)
    }

    fn log_failure(&self, subject: &str, line: &str) {
        if let Some(suppressed) = self.log_limiter.allow(subject) {
            warn!(MESSAGE_ID = message_id::LOGIN_FAILED; "{line}{suppressed}");
        }
    }

    /// Logs the number of suppressed lines of each subject whose limit has expired.
    pub(super) fn flush_suppressed(&self) {
        for (subject, suppressed) in self.log_limiter.overdue() {
            warn!(MESSAGE_ID = message_id::LOGIN_FAILED; "{subject}{suppressed}");
        }
    }

    /// Returns the `Set-Cookie` of a new session, or `None` if the instance runs no network.
    #[expect(clippy::unused_self, reason = "only the owner of the limit on attempts may open a session")]
    pub(super) fn new_session(
        &self,
        instance: &ServedInstance,
        password: &Password,
        secure: bool,
    ) -> Option<String> {
        let now_s = now_s();
        let id = token::new_session_id().inspect_err(|error| error!("reading the random source: {error}"));
        let session = Session { id: id.ok()?, auth_time_s: now_s, issued_s: now_s };
        session_cookie(instance, password, secure, &session, now_s)
    }
}

/// Returns the session of `token`; none unless this instance issued it for a browser.
fn session_of(instance: &ServedInstance, token: &CachedToken) -> Option<Session> {
    let Claims { iat, auth_time, sid, .. } = &token.claims;
    let (auth_time_s, id) = auth_time.zip(sid.clone()).filter(|_| token.is_own(instance))?;
    Some(Session { id, auth_time_s, issued_s: *iat })
}

/// Returns the `Set-Cookie` with the next token of `session`, or `None` after [`MAX_SESSION_S`].
fn session_cookie(
    instance: &ServedInstance,
    password: &Password,
    secure: bool,
    session: &Session,
    now_s: u64,
) -> Option<String> {
    let left_s =
        session.auth_time_s.saturating_add(MAX_SESSION_S).checked_sub(now_s).filter(|left| *left > 0)?;
    let lifetime_s = left_s.min(MAX_LIFETIME_S);
    let token = issue(instance, password, now_s, lifetime_s, Some(session))?;
    Some(credentials::set_cookie(instance, secure, &token, lifetime_s))
}

/// Issues a token for all networks of the instance, signed by the node in the first one. Returns `None` if there is no
/// network.
fn issue(
    instance: &ServedInstance,
    password: &Password,
    now_s: u64,
    lifetime_s: u64,
    session: Option<&Session>,
) -> Option<String> {
    let (network, node) = instance.nodes.first_key_value()?;
    let issuer = node.id();
    let login = Some(password_binding(&node.keypair, password));
    let claims = Claims::new(issuer.as_str(), &audience(instance), now_s, lifetime_s);
    let (auth_time, sid) = session.map(|session| (session.auth_time_s, session.id.clone())).unzip();
    let claims = Claims { auth_time, sid, login, ..claims };
    Some(token::sign(&node.keypair, &format!("{network}/{issuer}"), &claims))
}

/// Returns the networks that a token names: all that fit in a cookie.
fn audience(instance: &ServedInstance) -> Vec<String> {
    let mut room = MAX_AUDIENCE_BYTES;
    let mut names = Vec::new();
    for id in instance.nodes.keys() {
        let Some(left) = room.checked_sub(id.as_str().len() + 3) else {
            log::warn!(
                "tokens name only the first {} of {} networks: more do not fit in a cookie; split the instance",
                names.len(),
                instance.nodes.len()
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

fn unauthorized(challenge: &str, detail: &str) -> Response {
    problem(401, "Unauthorized", detail).with_additional_header("WWW-Authenticate", challenge.to_owned())
}

/// The detail of a rejection by an instance without a login, with the remedy.
const NO_LOGIN: &str = "this instance has no login: remove login: false from its nodeconf.yml and reload it; then \
    \"distomon password NAME\" shows the generated password";

fn no_login() -> Response {
    problem(403, "Forbidden", NO_LOGIN)
}

fn no_network() -> Response {
    problem(503, "Service Unavailable", "no network is running in this instance")
}

#[cfg(test)]
mod tests;
