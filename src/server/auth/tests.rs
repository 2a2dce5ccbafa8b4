//! Authentication, and the networks that it grants access to.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::crypto::Keypair;
use crate::mesh::id::NodeId;
use crate::mesh::membership::{Member, Membership};
use crate::server::fixture::{self, PASSWORD, field, request};
use crate::store::fixture::{Net, node_id};

fn bearer(token: &str) -> Request {
    request("GET", "/view/net-1", &[("Authorization", &format!("Bearer {token}"))], "")
}

fn basic(user: &str, password: &str) -> Request {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    request("POST", "/token", &[("Authorization", &format!("Basic {text}"))], "")
}

fn form(body: &str) -> Request {
    let fields = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Host", "h:8000"),
        ("Origin", "http://h:8000"),
    ];
    request("POST", "/login", &fields, body)
}

/// Returns the value of the cookie that a reply sets.
fn cookie(response: &Response) -> Option<&str> {
    field(response, "Set-Cookie")?.strip_prefix("distomon_main=")?.split(';').next()
}

fn with_cookie(token: &str) -> Request {
    request("GET", "/", &[("Cookie", &format!("distomon_main={token}"))], "")
}

fn names(viewer: &Viewer) -> Vec<&str> {
    viewer.networks().iter().map(NetworkId::as_str).collect()
}

#[test]
fn password_is_exchanged_for_a_token() {
    let (one, two) = (Net::new("net-1", 3), Net::new("net-2", 2));
    let (instance, auth) = (fixture::instance(&[&one, &two]), Auth::new());
    let reply = auth.post_token(&instance, &basic("admin", PASSWORD));
    assert_eq!((reply.status_code, field(&reply, "Cache-Control")), (200, Some("no-store")));
    let granted = fixture::json(reply);
    assert_eq!((&granted["token_type"], &granted["expires_in"]), (&json!("bearer"), &json!(1800)));
    let token = granted["access_token"].as_str().expect("a token");
    assert_eq!(token::key_id(token).as_deref(), Some("net-1/node-00"));
    let viewer = auth.viewer(&instance, &bearer(token)).expect("own token");
    assert_eq!(names(&viewer), ["net-1", "net-2"]);
    assert!(viewer.may_read(&one.id) && viewer.may_read(&two.id));
    assert!(!viewer.may_read(&"net-3".parse().expect("a name")));
    let reply = auth.renew(&instance, &viewer, &request("GET", "/", &[], ""), Response::text(""));
    assert_eq!(field(&reply, "Set-Cookie"), None, "a token of POST /token is not renewed");
}

#[test]
fn wrong_passwords() {
    let net = Net::new("net-1", 2);
    let instance = fixture::instance(&[&net]);
    for bad in [
        basic("admin", "wrong"),
        basic("admin", ""),
        basic("root", PASSWORD),
        basic("", PASSWORD),
        request("POST", "/token", &[], ""),
        request("POST", "/token", &[("Authorization", "Bearer x")], ""),
    ] {
        let reply = Auth::new().post_token(&instance, &bad);
        assert_eq!(reply.status_code, 401, "{bad:?}");
        assert!(field(&reply, "WWW-Authenticate").is_some_and(|value| value.starts_with("Basic realm=")));
    }
    let auth = Auth::new();
    let statuses: Vec<_> =
        (0..12).map(|_| auth.post_token(&instance, &basic("admin", "wrong")).status_code).collect();
    assert!(statuses.starts_with(&[401; 10]) && statuses.ends_with(&[429]), "{statuses:?}");
    let reply = auth.post_token(&instance, &basic("admin", PASSWORD));
    assert_eq!(reply.status_code, 429, "the right password is limited as well");
    assert!(field(&reply, "Retry-After").is_some());
    let page = auth.post_login(&instance, &form(&format!("password={PASSWORD}")));
    assert_eq!(page.status_code, 429, "the form shares the limit");
    assert!(field(&page, "Retry-After").is_some());
}

#[test]
fn instance_without_login_rejects_all() {
    let net = Net::new("net-1", 2);
    let mut instance = fixture::instance(&[&net]);
    let auth = Auth::new();
    let token = fixture::json(auth.post_token(&instance, &basic("admin", PASSWORD)));
    let token = token["access_token"].as_str().expect("a token").to_owned();
    assert!(auth.viewer(&instance, &bearer(&token)).is_ok());
    instance.login = None;
    for reply in [
        auth.viewer(&instance, &bearer(&token)).expect_err("no login"),
        auth.post_token(&instance, &basic("admin", PASSWORD)),
    ] {
        assert_eq!(reply.status_code, 403);
        assert!(fixture::text(reply).contains("login: false"));
    }
    let page = auth.post_login(&instance, &form(&format!("password={PASSWORD}")));
    assert_eq!((page.status_code, cookie(&page)), (403, None));
}

#[test]
fn changed_password_invalidates_tokens() {
    let net = Net::new("net-1", 2);
    let mut instance = fixture::instance(&[&net]);
    let auth = Auth::new();
    let page = auth.post_login(&instance, &form(&format!("password={PASSWORD}")));
    let token = cookie(&page).expect("a cookie").to_owned();
    assert!(auth.viewer(&instance, &with_cookie(&token)).is_ok());
    instance.login = Some(Password::from_plain("another"));
    for auth in [&auth, &Auth::new()] {
        let reply = auth.viewer(&instance, &with_cookie(&token)).expect_err("the old password's");
        assert_eq!(reply.status_code, 401);
    }
}

/// A token with any key, issuer and audience.
struct TestToken<'a> {
    key: &'a Keypair,
    kid: &'a str,
    iss: &'a str,
    aud: &'a [&'a str],
}

impl TestToken<'_> {
    fn token(&self) -> String {
        let aud: Vec<String> = self.aud.iter().map(|name| (*name).to_owned()).collect();
        token::sign(self.key, self.kid, &Claims::new(self.iss, &aud, now_s(), 600))
    }
}

#[test]
fn networks_of_a_token_by_issuer() {
    let (one, two) = (Net::new("net-1", 3), Net::new("net-2", 2));
    let instance = fixture::instance(&[&one, &two]);
    let unknown_key = Keypair::generate().expect("the system's random source");
    let check = |key: &Keypair, kid: &str, iss: &str, aud: &[&str], expected: Option<&[&str]>| {
        let token = TestToken { key, kid, iss, aud }.token();
        let auth = Auth::new();
        // The second request uses the cache.
        for _ in 0..2 {
            let found = auth.viewer(&instance, &bearer(&token));
            match (&found, expected) {
                (Ok(viewer), Some(expected)) => assert_eq!(names(viewer), expected, "{kid} {iss} {aud:?}"),
                (Err(reply), None) => {
                    assert_eq!(reply.status_code, 401, "{kid} {iss} {aud:?}");
                    let challenge = field(reply, "WWW-Authenticate").expect("a challenge");
                    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
                }
                _ => panic!("{kid} {iss} {aud:?}: {:?}", found.map_err(|reply| reply.status_code)),
            }
        }
    };
    let both = ["net-1", "net-2"];
    let own = &one.keys[0];
    check(own, "net-1/node-00", "node-00", &both, Some(&both));
    check(own, "net-1/node-00", "node-00", &["net-1", "elsewhere"], Some(&["net-1"]));
    check(&two.keys[0], "net-2/node-00", "node-00", &both, Some(&both));
    // Another member grants access to its own network only.
    check(&one.keys[1], "net-1/node-01", "node-01", &both, Some(&["net-1"]));
    check(&two.keys[1], "net-2/node-01", "node-01", &both, Some(&["net-2"]));
    check(&one.keys[1], "net-1/node-01", "node-01", &["net-2"], None);
    check(&one.keys[1], "net-2/node-01", "node-01", &both, None);
    check(&one.keys[1], "net-1/node-01", "node-00", &both, None);
    check(&one.keys[1], "net-1/node-00", "node-00", &both, None);
    check(&one.keys[1], "net-1/node-02", "node-02", &both, None);
    check(own, "net-1/node-01", "node-01", &both, None);
    check(own, "net-1/node-00", "node-01", &both, None);
    check(own, "net-1/node-00", "node-00", &[], None);
    check(own, "net-2/node-00", "node-00", &both, None);
    check(&unknown_key, "net-1/node-00", "node-00", &both, None);
    check(&unknown_key, "net-1/nobody", "nobody", &both, None);
    check(own, "elsewhere/node-00", "node-00", &["elsewhere"], None);
    check(own, "node-00", "node-00", &both, None);
    check(own, "net-1/node-00/x", "node-00/x", &both, None);
    check(own, "/", "", &both, None);
}

#[test]
fn invalid_tokens() {
    let net = Net::new("net-1", 2);
    let (instance, auth) = (fixture::instance(&[&net]), Auth::new());
    let check = |request: &Request, error: bool| {
        let reply = auth.viewer(&instance, request).expect_err("no token");
        assert_eq!(reply.status_code, 401, "{request:?}");
        let challenge = field(&reply, "WWW-Authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        assert_eq!(challenge.contains("error="), error, "{request:?}");
    };
    check(&request("GET", "/", &[], ""), false);
    check(&basic("admin", PASSWORD), false);
    check(&request("GET", "/", &[("Cookie", "distomon_other=x")], ""), false);
    check(&bearer("x"), true);
    check(&with_cookie("a.b.c"), true);
    // Unsigned, and signed with the public key as a secret.
    let own = TestToken { key: &net.keys[0], kid: "net-1/node-00", iss: "node-00", aud: &["net-1"] }.token();
    let claims = own.split('.').nth(1).expect("three parts");
    for header in
        [json!({"alg": "none", "kid": "net-1/node-00"}), json!({"alg": "HS256", "kid": "net-1/node-00"})]
    {
        use base64::Engine as _;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header.to_string());
        check(&bearer(&format!("{header}.{claims}.")), true);
        check(&bearer(&format!("{header}.{claims}.{}", own.rsplit('.').next().expect("three parts"))), true);
    }
    let expired = token::sign(
        &net.keys[0],
        "net-1/node-00",
        &Claims::new("node-00", &["net-1".into()], now_s() - 3600, 600),
    );
    check(&bearer(&expired), true);
}

#[test]
fn cached_token_expires() {
    let net = Net::new("net-1", 2);
    let mut instance = fixture::instance(&[&net]);
    let (password, cache) = (Password::from_plain(PASSWORD), TokenCache::default());
    let token =
        TestToken { key: &net.keys[1], kid: "net-1/node-01", iss: "node-01", aud: &["net-1"] }.token();
    let first = cache.check(&instance, &password, &token, now_s()).expect("a member's token");
    let again = cache.check(&instance, &password, &token, now_s()).expect("a member's token");
    assert!(Arc::ptr_eq(&first, &again), "verified once");
    let late = cache.check(&instance, &password, &token, first.claims.exp + token::LEEWAY_S);
    assert_eq!(late.err(), Some(TokenError::Expired));
    let early = cache.check(&instance, &password, &token, first.claims.iat - token::LEEWAY_S - 1);
    assert_eq!(early.err(), Some(TokenError::IssuedInFuture));
    // The key of the member changes.
    let other_key = Keypair::generate().expect("the system's random source").public().clone();
    let member = |id: NodeId, keys| Member {
        id,
        keys,
        url: None,
        poll_rate_ms: 1,
        retry: 0,
        timeout_ms: 1,
        site: None,
    };
    let members =
        vec![member(node_id(0), vec![net.keys[0].public().clone()]), member(node_id(1), vec![other_key])];
    let membership = Arc::new(Membership::new(net.id.clone(), members, &node_id(0)).expect("a membership"));
    let changed = Net { id: net.id.clone(), keys: net.keys.clone(), membership };
    instance.nodes.insert(net.id.clone(), Arc::new(changed.node()));
    let found = cache.check(&instance, &password, &token, now_s());
    assert_eq!(found.err(), Some(TokenError::Signature));
}

#[test]
fn cache_is_bounded() {
    let net = Net::new("net-1", 2);
    let instance = fixture::instance(&[&net]);
    let (password, cache) = (Password::from_plain(PASSWORD), TokenCache::default());
    let now_s = now_s();
    for lifetime_s in 1..=600 {
        let token = token::sign(
            &net.keys[0],
            "net-1/node-00",
            &Claims::new("node-00", &["net-1".into()], now_s, lifetime_s),
        );
        assert!(cache.check(&instance, &password, &token, now_s).is_ok());
        assert!(cache.len() <= 256);
    }
}

#[test]
fn login_form_sets_a_cookie() {
    let net = Net::new("net-1", 2);
    let (instance, auth) = (fixture::instance(&[&net]), Auth::new());
    let check = |body: &str, status: u16, location: Option<&str>| {
        let reply = auth.post_login(&instance, &form(body));
        assert_eq!(reply.status_code, status, "{body}");
        assert_eq!(field(&reply, "Location"), location, "{body}");
        assert_eq!(cookie(&reply).is_some(), location.is_some(), "{body}");
    };
    check("password=correct+horse", 303, Some("./network/net-1"));
    check("password=correct%20horse&next=%2Fnetwork%2Fnet-1", 303, Some("./network/net-1"));
    check("password=correct+horse&next=%2F%2Fevil.example", 303, Some("./network/net-1"));
    check("password=correct+horse&next=http://evil.example", 303, Some("./network/net-1"));
    check("password=wrong", 403, None);
    check("word=correct+horse", 400, None);
    check("", 400, None);
    let reply = auth.post_login(&instance, &form("password=correct+horse"));
    let all = field(&reply, "Set-Cookie").expect("a cookie");
    assert!(all.ends_with("; Path=/; Max-Age=1800; HttpOnly; SameSite=Strict"), "{all}");
    let viewer = auth.viewer(&instance, &with_cookie(cookie(&reply).expect("a cookie"))).expect("logged in");
    assert_eq!(names(&viewer), ["net-1"]);
    let other = [("Content-Type", "application/x-www-form-urlencoded"), ("Sec-Fetch-Site", "cross-site")];
    for (method, page) in
        [("/login", Auth::post_login as fn(&_, &_, &_) -> _), ("/logout", Auth::post_logout)]
    {
        let reply: Response =
            page(&auth, &instance, &request("POST", method, &other, "password=correct+horse"));
        assert_eq!((reply.status_code, field(&reply, "Set-Cookie")), (403, None), "{method}");
    }
    let out = auth.post_logout(&instance, &request("POST", "/logout", &[], ""));
    assert_eq!((out.status_code, field(&out, "Location"), cookie(&out)), (303, Some("./login"), Some("")));
    assert!(field(&out, "Set-Cookie").is_some_and(|all| all.contains("Max-Age=0")));
}

/// A session with a login at this time: Unix time in seconds.
fn logged_in(auth_time_s: u64) -> Session {
    Session { id: "sid".to_owned(), auth_time_s, issued_s: auth_time_s }
}

/// Logs in with the form. Returns the token in the cookie.
fn log_in(auth: &Auth, instance: &ServedInstance) -> String {
    let reply = auth.post_login(instance, &form("password=correct+horse"));
    cookie(&reply).expect("a cookie").to_owned()
}

fn log_out(auth: &Auth, instance: &ServedInstance, cookies: &str) {
    let out = auth.post_logout(instance, &request("POST", "/logout", &[("Cookie", cookies)], ""));
    assert_eq!(out.status_code, 303);
}

#[test]
fn logout_ends_one_session_with_all_its_tokens() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let net = Net::new("net-1", 2);
    let (instance, auth) = (fixture::instance(&[&net]), Auth::restore(dir.path()));
    let [token, other] = [(); 2].map(|()| log_in(&auth, &instance));
    let viewer = auth.viewer(&instance, &with_cookie(&token)).expect("logged in");
    let session = viewer.session.clone().expect("a session");
    let password = instance.login.as_ref().expect("a password");
    let earlier = session_cookie(&instance, password, false, &session, now_s() - 1_000).expect("a token");
    let earlier = earlier.split(['=', ';']).nth(1).expect("a value");
    let due = auth.viewer(&instance, &with_cookie(earlier)).expect("a token of the same session");

    log_out(&auth, &instance, &format!("distomon_main={token}"));
    let restarted = Auth::restore(dir.path());
    for (auth, when) in [(&auth, "with the tokens in the cache"), (&restarted, "after a restart")] {
        for token in [&token, earlier] {
            for request in [with_cookie(token), bearer(token)] {
                let reply = auth.viewer(&instance, &request).expect_err("the session has ended");
                assert_eq!(reply.status_code, 401, "{when}");
            }
        }
        assert!(auth.viewer(&instance, &with_cookie(&other)).is_ok(), "another session, {when}");
        // A request that was authenticated before the logout.
        let reply = auth.renew(&instance, &due, &request("GET", "/", &[], ""), Response::text(""));
        assert_eq!(field(&reply, "Set-Cookie"), None, "{when}");
    }
}

#[test]
fn logout_ends_the_sessions_of_both_cookies_and_of_no_other_issuer() {
    let net = Net::new("net-1", 2);
    let (instance, auth) = (fixture::instance(&[&net]), Auth::new());
    let [plain, secure] = [(); 2].map(|()| log_in(&auth, &instance));
    log_out(&auth, &instance, &format!("distomon_main={plain}; __Host-distomon_main={secure}"));
    assert!([plain, secure].iter().all(|token| auth.viewer(&instance, &bearer(token)).is_err()));

    let third = log_in(&auth, &instance);
    let sid = auth.viewer(&instance, &bearer(&third)).expect("logged in").session.expect("a session").id;
    let claims = Claims::new("node-01", &["net-1".into()], now_s(), MAX_LIFETIME_S);
    let claims = Claims { auth_time: Some(now_s()), sid: Some(sid), ..claims };
    let foreign = token::sign(&net.keys[1], "net-1/node-01", &claims);
    log_out(&auth, &instance, &format!("distomon_main={foreign}"));
    assert!(auth.viewer(&instance, &bearer(&third)).is_ok(), "a member cannot end a session of this node");
    assert!(auth.viewer(&instance, &bearer(&foreign)).is_ok(), "valid until it expires");
    log_out(&auth, &instance, "distomon_main=garbage");
}

#[test]
fn session_is_renewed_for_a_day() {
    let net = Net::new("net-1", 2);
    let (instance, auth) = (fixture::instance(&[&net]), Auth::new());
    let password = instance.login.as_ref().expect("a password");
    let check = |logged_in_s: u64, issued_s: u64, expected: Option<&str>| {
        let now_s = now_s();
        let token =
            session_cookie(&instance, password, false, &logged_in(now_s - logged_in_s), now_s - issued_s)
                .expect("a session");
        let token = token.split(['=', ';']).nth(1).expect("a value").to_owned();
        let viewer = auth.viewer(&instance, &with_cookie(&token)).expect("a good token");
        let reply = auth.renew(&instance, &viewer, &request("GET", "/", &[], ""), Response::text(""));
        let renewed = field(&reply, "Set-Cookie");
        assert_eq!(renewed.is_some(), expected.is_some(), "{logged_in_s} {issued_s}");
        if let (Some(renewed), Some(age)) = (renewed, expected) {
            assert!(renewed.contains(age), "{renewed}");
            let again = auth.viewer(&instance, &with_cookie(cookie(&reply).expect("a cookie")));
            let session = again.expect("a good token").session.expect("renewable");
            assert_eq!(session.id, "sid", "the session stays");
            assert!(session.auth_time_s.abs_diff(now_s - logged_in_s) <= 1, "the time of the login stays");
        }
    };
    check(0, 0, None);
    check(800, 800, None);
    check(950, 950, Some("; Max-Age=1800;"));
    check(20_000, 0, None);
    check(20_000, 1_000, Some("; Max-Age=1800;"));
    check(MAX_SESSION_S - 500, 1_000, Some("; Max-Age="));
    check(MAX_SESSION_S + 5, 1_000, None);
    assert_eq!(
        session_cookie(&instance, password, false, &logged_in(now_s() - MAX_SESSION_S), now_s()),
        None
    );
    // A token of another member is not renewed, whatever its claims.
    let claims = Claims::new("node-01", &["net-1".into()], now_s() - 1_000, MAX_LIFETIME_S);
    let claims = Claims { auth_time: Some(now_s() - 1_000), sid: Some("sid".to_owned()), ..claims };
    let foreign = token::sign(&net.keys[1], "net-1/node-01", &claims);
    let viewer = auth.viewer(&instance, &with_cookie(&foreign)).expect("a member's token");
    assert_eq!(viewer.session, None);
}

#[test]
fn many_networks_fit_in_a_cookie() {
    let nets: Vec<Net> = (0..60).map(|n| Net::new(&format!("{n:0>64}"), 1)).collect();
    let instance = fixture::instance(&nets.iter().collect::<Vec<_>>());
    let auth = Auth::new();
    let reply = auth.post_login(&instance, &form("password=correct+horse"));
    let token = cookie(&reply).expect("a cookie");
    assert!(token.len() < 4000, "{}", token.len());
    assert!(auth.viewer(&instance, &with_cookie(token)).expect("a good token").networks().len() > 30);
}
