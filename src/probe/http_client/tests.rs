use std::io::ErrorKind;
use std::net::TcpListener;
use std::thread::ScopedJoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// A certificate for `localhost` and 127.0.0.1 until 2120, signed with its own key, and this key.
const LOCALHOST: &[u8] = include_bytes!("localhost.pem");
/// A time limit that no test reaches.
const LONG: Duration = Duration::from_secs(10);
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";

fn post(url: String) -> HttpRequest {
    HttpRequest { url, headers: Vec::new(), body: String::new() }
}

/// Calls a peer that answers with `reply`. Returns the failure and the number of bytes that were read.
fn fetch_reply(reply: &[&[u8]]) -> (Option<Failure>, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/mon/n", listener.local_addr().expect("its address"));
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let sent = reply.iter().take_while(|part| stream.write_all(part).is_ok());
            sent.map(|part| part.len()).sum()
        });
        let failure = fetch(&post(url), LONG).err();
        (failure, server.join().expect("the server"))
    })
}

#[test]
fn an_endless_head_is_rejected() {
    const TOTAL: usize = 64 << 20;
    let line = [b"a: ", &[b'x'; 1000][..], b"\r\n"].concat();
    let lines = vec![&line[..]; TOTAL / line.len()];
    let overlong = [b"a: ", &[b'x'; 16 * 1024 - 4][..], b"\n"].concat();
    for first in [&b""[..], &overlong] {
        let reply = [&[b"HTTP/1.1 200 OK\r\n", first], &lines[..]].concat();
        let (failure, sent) = fetch_reply(&reply);
        assert!(matches!(failure, Some(Failure::TooLarge | Failure::BadReply)), "{failure:?}");
        assert!(sent < TOTAL / 2, "{sent}");
    }
}

#[test]
fn malformed_status_lines_are_failures() {
    for (reply, expected) in [
        (&b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"[..], Some(Failure::BadReply)),
        (b"HTTP/1.1 42 Odd\r\nContent-Length: 0\r\n\r\n", Some(Failure::BadReply)),
        (b"", Some(Failure::Reset)),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", None),
    ] {
        let (failure, _) = fetch_reply(&[reply]);
        assert_eq!(failure, expected, "{}", String::from_utf8_lossy(reply));
    }
}

#[test]
fn exhausted_resources_are_not_a_failure_of_the_peer() {
    for (errno, expected) in [
        (Errno::MFILE, Failure::Other),
        (Errno::NOBUFS, Failure::Other),
        (Errno::CONNREFUSED, Failure::Refused),
        (Errno::HOSTUNREACH, Failure::Unreachable),
    ] {
        assert_eq!(classify_io(&errno.into()), expected, "{errno}");
    }
}

#[test]
fn plain_http_on_a_tls_port_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}/mon/n", listener.local_addr().expect("its address"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let result = fetch(&post(url), LONG);
    assert_eq!(result.err(), Some(Failure::Tls));
    server.join().expect("the server");
}

#[test]
fn host_names_are_resolved() {
    for (url, expected) in [
        ("http://127.0.0.1:8000/mon/n", Ok(())),
        ("https://127.0.0.1/mon/n", Ok(())),
        ("http://[::1]:8000", Ok(())),
        ("http://[::1]/a:b", Ok(())),
        ("http://nowhere.invalid:80/", Err(Failure::Dns)),
        ("https://nowhere.invalid", Err(Failure::Dns)),
    ] {
        let url = PeerUrl::parse(url).expect(url);
        assert_eq!(resolve(&url).map(|_| ()), expected, "{url:?}");
    }
}

#[test]
fn requests_are_one_message() {
    for (url, target, host) in [
        ("http://node-1:8000/a/mon/n", "/a/mon/n", "node-1:8000"),
        ("http://[::1]:80/mon/n", "/mon/n", "[::1]"),
        ("https://node-1/mon/n", "/mon/n", "node-1"),
    ] {
        let headers = vec![("Content-Type", "text/plain".to_owned()), ("A", "b".to_owned())];
        let request = HttpRequest { url: url.to_owned(), headers, body: "{}\n".to_owned() };
        let expected = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             A: b\r\nContent-Length: 3\r\n\r\n{{}}\n"
        );
        let url = PeerUrl::parse(url).expect(url);
        assert_eq!(String::from_utf8(serialize(&request, &url)), Ok(expected), "{url:?}");
    }
}

/// Starts a thread that serves one connection. Returns the authority of its url.
fn serve<'scope, T: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    serve: impl FnOnce(TcpStream) -> T + Send + 'scope,
) -> (String, ScopedJoinHandle<'scope, T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let authority = listener.local_addr().expect("its address").to_string();
    let thread = scope.spawn(move || {
        // Without a connection, the test fails instead of waiting.
        let wait = Timespec { tv_sec: 10, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&wait));
        assert_eq!(ready, Ok(1), "connections within 10 s");
        serve(listener.accept().expect("a connection").0)
    });
    (authority, thread)
}

/// Reads until the client ends the connection.
fn read_to_end(stream: &mut impl Read) -> Option<ErrorKind> {
    std::io::copy(stream, &mut std::io::sink()).err().map(|error| error.kind())
}

#[test]
fn connections_end_at_the_time_limit() {
    let timeout = Duration::from_millis(500);
    // The peer never answers, sends no TLS handshake, or sends its reply a byte at a time.
    for (scheme, slow) in [("http", false), ("https", false), ("http", true)] {
        std::thread::scope(|scope| {
            let (authority, server) = serve(scope, |mut stream| {
                stream.set_read_timeout(Some(LONG)).expect("a timeout");
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n";
                let bytes = head.iter().chain(std::iter::repeat(&b'x'));
                for byte in bytes.take_while(|_| slow) {
                    std::thread::sleep(Duration::from_millis(10));
                    if stream.write_all(&[*byte]).is_err() {
                        break;
                    }
                }
                read_to_end(&mut stream)
            });
            let start = Instant::now();
            let result = fetch(&post(format!("{scheme}://{authority}/")), timeout);
            let elapsed = start.elapsed();
            assert_eq!(result.err(), Some(Failure::Timeout), "{scheme}");
            assert!(elapsed >= timeout && elapsed < LONG / 2, "{scheme}: {elapsed:?}");
            let end = server.join().expect("the server");
            assert!(!matches!(end, Some(ErrorKind::TimedOut | ErrorKind::WouldBlock)), "{scheme}: {end:?}");
        });
    }
}

#[test]
fn writes_end_at_the_time_limit() {
    std::thread::scope(|scope| {
        let (done, wait) = crossbeam_channel::bounded::<()>(0);
        let (authority, _) = serve(scope, move |stream| {
            let _ = wait.recv();
            drop(stream);
        });
        let request = HttpRequest { body: "x".repeat(32 << 20), ..post(format!("http://{authority}/")) };
        let start = Instant::now();
        assert_eq!(fetch(&request, Duration::from_secs(1)).err(), Some(Failure::Timeout));
        assert!(start.elapsed() < LONG / 2);
        drop(done);
    });
}

#[test]
fn the_first_address_that_accepts_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let open = listener.local_addr().expect("its address");
    let unused = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let attempt = |addresses: &[SocketAddr], timeout| {
        let limit = TimeLimit { start: Instant::now(), timeout };
        let result =
            exchange(addresses.iter().copied(), limit, |_| Err(ReplyError::Reply(Failure::BadSignature)));
        classify(result.expect_err("no reply"))
    };
    assert_eq!(attempt(&[unused, open], LONG), Failure::BadSignature);
    assert_eq!(attempt(&[open, unused], LONG), Failure::BadSignature);
    assert_eq!(attempt(&[unused], LONG), Failure::Refused);
    assert_eq!(attempt(&[open], Duration::ZERO), Failure::Timeout);
}

#[test]
fn connections_that_close_without_a_reply_are_resets() {
    for scheme in ["http", "https"] {
        std::thread::scope(|scope| {
            let (authority, _) = serve(scope, |mut stream| stream.read(&mut [0; 4096]).is_ok());
            let result = fetch(&post(format!("{scheme}://{authority}/")), LONG);
            assert_eq!(result.err(), Some(Failure::Reset), "{scheme}");
        });
    }
}

fn trusting(roots: &'static [u8]) -> Arc<ClientConfig> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots) {
        store.add(certificate.expect("a certificate")).expect("a root");
    }
    Arc::new(ClientConfig::builder().with_root_certificates(store).with_no_client_auth())
}

/// Accepts TLS, reads the head of a request, sends `reply`, and ends with a `close_notify` if `notify`.
fn serve_tls(stream: TcpStream, reply: &[u8], notify: bool) -> Option<Vec<u8>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(LOCALHOST).flatten().collect();
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    let connection = ServerConnection::new(Arc::new(config)).expect("a connection");
    let mut stream = StreamOwned::new(connection, stream);
    let mut request = vec![0; 1 << 20];
    let mut received = 0;
    while !request[..received].ends_with(b"\r\n\r\n") && !request[..received].ends_with(b"end") {
        received += stream.read(&mut request[received..]).ok().filter(|read| *read > 0)?;
    }
    stream.write_all(reply).ok()?;
    if notify {
        stream.conn.send_close_notify();
        stream.flush().ok()?;
    }
    request.truncate(received);
    Some(request)
}

#[test]
fn tls_names_are_verified() {
    for (host, trusted, expected) in [
        ("127.0.0.1", true, None),
        ("localhost", true, None),
        ("localhost.", true, None),
        ("127.0.0.1", false, Some(Failure::Tls)),
        ("127.0.0.2", true, Some(Failure::Tls)),
        ("::1", true, Some(Failure::Tls)),
        ("localhost.example", true, Some(Failure::Tls)),
        ("a..b", true, Some(Failure::Tls)),
    ] {
        std::thread::scope(|scope| {
            let (authority, server) =
                serve(scope, |stream| serve_tls(stream, &[HEAD, b"{}"].concat(), false));
            let address = std::iter::once(authority.parse().expect("an address"));
            let config = if trusted { trusting(LOCALHOST) } else { trusting(b"") };
            let request = format!("{}end", "x".repeat(200_000)).into_bytes();
            let limit = TimeLimit { start: Instant::now(), timeout: LONG };
            let result =
                exchange(address, limit, |socket| read_reply(tls::stream(config, host, &request, socket)?));
            let failure = result.err().map(classify);
            assert_eq!(failure, expected, "{host}");
            assert_eq!(server.join().expect("the server"), expected.is_none().then_some(request), "{host}");
        });
    }
}

#[test]
fn tls_bodies_must_be_complete() {
    let endless = b"HTTP/1.1 200 OK\r\n\r\n";
    for (head, body, notify, expected) in [
        (HEAD, &b"{}"[..], true, None),
        (HEAD, b"{}", false, None),
        (HEAD, b"{", true, Some(Failure::Reset)),
        (HEAD, b"{", false, Some(Failure::Reset)),
        // Anybody on the path can end the connection; only the peer can send a close_notify.
        (endless, b"{}", true, None),
        (endless, b"{}", false, Some(Failure::Reset)),
    ] {
        std::thread::scope(|scope| {
            let (authority, _) =
                serve(scope, move |stream| serve_tls(stream, &[head, body].concat(), notify));
            let request = post(format!("https://{authority}/"));
            let result = fetch_with(|| Ok(trusting(LOCALHOST)), &request, LONG);
            assert_eq!(
                result.map(|reply| reply.body).map_err(Some),
                expected.map_or(Ok(b"{}".to_vec()), |f| Err(Some(f)))
            );
        });
    }
}

#[test]
fn a_missing_trust_store_is_a_tls_failure() {
    let request = post("https://127.0.0.1:1/".to_owned());
    let result = fetch_with(|| Err(rustls::Error::General("no certificates".to_owned())), &request, LONG);
    assert_eq!(result.err(), Some(Failure::Tls));
}
