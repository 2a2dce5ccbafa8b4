//! A logout ends the session: a copied cookie is useless, also after a restart.

use std::fs;

use crate::host::{Host, NETWORK, PASSWORD};
use crate::network::Network;

/// Sends a form with the cookie `cookie`. Returns the reply.
fn post(host: &Host, path: &str, cookie: &str, form: &str) -> minreq::Response {
    let request = minreq::post(format!("{}{path}", host.url())).with_body(form).with_timeout(10);
    let request = request.with_header("Content-Type", "application/x-www-form-urlencoded");
    let request = request.with_header("Cookie", cookie).with_follow_redirects(false);
    let reply = request.send().expect("a reply");
    assert_eq!(reply.status_code, 303, "{path}");
    reply
}

/// Logs in. Returns the cookie.
fn log_in(host: &Host) -> String {
    let reply = post(host, "/login", "", &format!("password={}", PASSWORD.replace(' ', "+")));
    let mut headers = reply.headers.iter();
    let (_, cookie) = headers.find(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).expect("a cookie");
    cookie.split(';').next().expect("a value").to_owned()
}

/// Returns the statuses of a page for the cookie and of the view for the token in it.
fn statuses(host: &Host, cookie: &str) -> [i32; 2] {
    let get = |path: String, name: &str, value: &str| {
        let request = minreq::get(format!("{}{path}", host.url())).with_timeout(10);
        let reply = request.with_header(name, value).with_follow_redirects(false).send().expect("a reply");
        i32::from(reply.status_code)
    };
    let token = cookie.split_once('=').expect("a name and a value").1;
    [
        get(format!("/network/{NETWORK}"), "Cookie", cookie),
        get(format!("/view/{NETWORK}"), "Authorization", &format!("Bearer {token}")),
    ]
}

#[test]
fn a_session_ends_with_its_logout_also_after_a_restart() {
    let mut network = Network::running(&["a"]);
    let host = network.host("a");
    let [cookie, other] = [(); 2].map(|()| log_in(host));
    assert_eq!((statuses(host, &cookie), statuses(host, &other)), ([200, 200], [200, 200]));
    post(host, "/logout", &cookie, "");
    assert_eq!((statuses(host, &cookie), statuses(host, &other)), ([303, 401], [200, 200]));

    let host = network.host_mut("a");
    host.kill();
    host.start();
    assert_eq!((statuses(host, &cookie), statuses(host, &other)), ([303, 401], [200, 200]));

    // A damaged file is reported, and does not prevent the start or the next logout.
    host.stop();
    fs::write(host.state_dir().join(".revoked_sessions"), "damaged").expect("a file");
    host.start();
    host.wait_log(".revoked_sessions: expected value");
    post(host, "/logout", &other, "");
    assert_eq!(statuses(host, &other), [303, 401]);
}
