//! Credentials in requests and replies: the `Authorization` field and the session cookie.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rouille::{Request, input};

use crate::crypto::password::MAX_PASSWORD;
use crate::crypto::token::MAX_TOKEN;
use crate::server::ServedInstance;

/// The credentials of HTTP Basic (RFC 7617), in UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BasicCredentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// Returns the credentials in `Authorization: Basic`.
pub(super) fn basic(request: &Request) -> Option<BasicCredentials> {
    let text = authorization(request, "Basic")?;
    if text.len() > MAX_PASSWORD * 2 {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(BasicCredentials { user: user.to_owned(), password: password.to_owned() })
}

/// Returns the token in `Authorization: Bearer` (RFC 6750), otherwise the one in the instance's cookie.
pub(super) fn token<'r>(request: &'r Request, instance: &'r ServedInstance) -> Option<&'r str> {
    let text = authorization(request, "Bearer").or_else(|| cookie(request, instance))?;
    (1..=MAX_TOKEN).contains(&text.len()).then_some(text)
}

/// Returns the credentials of `scheme` in `Authorization`. Schemes are case-insensitive (RFC 9110, section 11.1).
fn authorization<'r>(request: &'r Request, scheme: &str) -> Option<&'r str> {
    let (given, text) = request.header("Authorization")?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| text.trim_matches(' '))
}

fn cookie<'r>(request: &'r Request, instance: &'r ServedInstance) -> Option<&'r str> {
    cookies(request, instance).next()
}

/// Returns the tokens in the instance's cookies, first those that only https can set.
pub(crate) fn cookies<'r>(
    request: &'r Request,
    instance: &'r ServedInstance,
) -> impl Iterator<Item = &'r str> {
    let named =
        |secure: bool| input::cookies(request).filter(move |(key, _)| is_cookie(key, secure, instance));
    named(true).chain(named(false)).map(|(_, token)| token)
}

/// The prefix that restricts a cookie to this host and to https (RFC 6265bis, section 4.1.3.2).
const HOST_PREFIX: &str = "__Host-";

fn is_cookie(key: &str, secure: bool, instance: &ServedInstance) -> bool {
    let key = if secure { key.strip_prefix(HOST_PREFIX) } else { Some(key) };
    key.and_then(|key| key.strip_prefix("distomon_")).is_some_and(|name| name == instance.name)
}

/// Returns whether the client uses https. The first of these decides: the Origin of a form, a cookie that only https
/// can set, `X-Forwarded-Proto` of a proxy, the other cookie, the url in the configuration. A client that sends false
/// values affects only its own session.
pub(crate) fn is_secure(instance: &ServedInstance, request: &Request) -> bool {
    let scheme = |origin: &str| match origin.split_once("://") {
        Some(("https", _)) => Some(true),
        Some(("http", _)) => Some(false),
        _ => None,
    };
    let proxy = |proto: &str| match proto.split(',').next_back().map(str::trim) {
        Some("https") => Some(true),
        Some("http") => Some(false),
        _ => None,
    };
    let has = |secure: bool| input::cookies(request).any(|(key, _)| is_cookie(key, secure, instance));
    request
        .header("Origin")
        .and_then(scheme)
        .or_else(|| has(true).then_some(true))
        .or_else(|| request.header("X-Forwarded-Proto").and_then(proxy))
        .or_else(|| has(false).then_some(false))
        .unwrap_or(instance.secure)
}

/// Returns a `Set-Cookie` with a lifetime in seconds, for requests from this site only and hidden from scripts.
pub(crate) fn set_cookie(instance: &ServedInstance, secure: bool, token: &str, seconds: u64) -> String {
    let (prefix, attribute) = if secure { (HOST_PREFIX, "; Secure") } else { ("", "") };
    let name = &instance.name;
    format!(
        "{prefix}distomon_{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{attribute}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Request::fake_http("GET", "/", fields.collect(), Vec::new())
    }

    #[test]
    fn basic_credentials() {
        let check = |field: &str, expected: Option<(&str, &str)>| {
            let found = basic(&request(&[("Authorization", field)]));
            let found = found.as_ref().map(|basic| (basic.user.as_str(), basic.password.as_str()));
            assert_eq!(found, expected, "{field}");
        };
        let encoded = |text: &str| format!("Basic {}", STANDARD.encode(text));
        check(&encoded("admin:secret"), Some(("admin", "secret")));
        check(&encoded("admin:a:b"), Some(("admin", "a:b")));
        check(&encoded(":"), Some(("", "")));
        check(&encoded("Grüße:ü"), Some(("Grüße", "ü")));
        check(&encoded("admin:secret").replace("Basic", "bAsIc"), Some(("admin", "secret")));
        check(&encoded("admin"), None);
        check("Basic", None);
        check("Basic !!!", None);
        check("Bearer YTpi", None);
        check(&format!("Basic {}", STANDARD.encode([b'a', b':', 0xff])), None);
        check(&encoded(&format!("admin:{}", "x".repeat(MAX_PASSWORD * 2))), None);
        assert_eq!(basic(&request(&[])), None);
    }

    #[test]
    fn token_from_authorization_or_cookie() {
        let instance = ServedInstance { name: "net".to_owned(), ..ServedInstance::default() };
        let check = |fields: &[(&str, &str)], expected: Option<&str>| {
            assert_eq!(token(&request(fields), &instance), expected, "{fields:?}");
        };
        check(&[("Authorization", "Bearer abc")], Some("abc"));
        check(&[("authorization", "bearer  abc ")], Some("abc"));
        check(&[("Cookie", "a=b; distomon_net=abc; c=d")], Some("abc"));
        check(&[("Cookie", "distomon_net=abc"), ("Authorization", "Bearer xyz")], Some("xyz"));
        check(&[("Cookie", "distomon_net=abc"), ("Authorization", "Basic xyz")], Some("abc"));
        check(&[("Cookie", "distomon_net2=abc; distomon_ne=x; distomon_=y; net=z")], None);
        check(&[("Cookie", "distomon_net=")], None);
        check(&[("Cookie", "distomon_net")], None);
        check(&[("Authorization", "Bearer ")], None);
        check(&[("Authorization", &format!("Bearer {}", "x".repeat(MAX_TOKEN + 1)))], None);
        check(&[], None);
    }

    #[test]
    fn cookie_attributes() {
        let instance = ServedInstance { name: "net".to_owned(), ..ServedInstance::default() };
        let plain = "distomon_net=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict";
        assert_eq!(set_cookie(&instance, false, "abc", 60), plain);
        assert_eq!(set_cookie(&instance, true, "abc", 60), format!("__Host-{plain}; Secure"));
        // The cookie that only https can set has precedence.
        let both = request(&[("Cookie", "distomon_net=abc; __Host-distomon_net=xyz")]);
        assert_eq!(token(&both, &instance), Some("xyz"));
    }

    #[test]
    fn https_detection() {
        let mut instance = ServedInstance { name: "net".to_owned(), ..ServedInstance::default() };
        let mut check = |own: bool, fields: &[(&str, &str)], expected: bool| {
            instance.secure = own;
            assert_eq!(is_secure(&instance, &request(fields)), expected, "{own} {fields:?}");
        };
        for own in [false, true] {
            check(own, &[], own);
            check(own, &[("Origin", "null")], own);
            check(own, &[("Cookie", "distomon_other=a; __Host-distomon_other=a")], own);
            check(own, &[("Origin", "http://a"), ("X-Forwarded-Proto", "https")], false);
            check(own, &[("Origin", "https://a")], true);
            check(own, &[("X-Forwarded-Proto", "https")], true);
            check(own, &[("X-Forwarded-Proto", "https, http")], false);
            // Browsers send this cookie over https only; an inner proxy may report http.
            check(own, &[("X-Forwarded-Proto", "http"), ("Cookie", "__Host-distomon_net=a")], true);
            check(own, &[("Cookie", "distomon_net=a")], false);
            check(own, &[("Cookie", "distomon_net=a; __Host-distomon_net=a")], true);
        }
    }
}
