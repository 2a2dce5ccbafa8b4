//! Compressed bodies for clients that accept them (RFC 9110, section 8.4.1.3).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use rouille::{Request, Response, ResponseBody};

/// The minimum length of a compressed body before compression, in bytes.
const MIN_BODY: usize = 2_048;

/// Adds a body to `response`, compressed if the client accepts that and the body is long enough.
pub(super) fn with_body(request: &Request, response: Response, body: &[u8]) -> Response {
    let response = response.with_additional_header("Vary", "Accept-Encoding");
    let compressed = if body.len() >= MIN_BODY && accepts(request) { compress(body) } else { None };
    match compressed {
        Some(compressed) => Response { data: ResponseBody::from_data(compressed), ..response }
            .with_additional_header("Content-Encoding", "gzip"),
        None => Response { data: ResponseBody::from_data(body), ..response },
    }
}

fn compress(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

fn accepts(request: &Request) -> bool {
    request.header("Accept-Encoding").is_some_and(|list| {
        list.split(',').any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse::<f32>().ok());
            is_gzip && weight.is_none_or(|weight| weight > 0.0)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::server::fixture::{field, request};

    #[test]
    fn only_where_accepted() {
        let long = "distomon ".repeat(1_000);
        let check = |accepted: Option<&str>, body: &str, is_compressed: bool| {
            let fields: Vec<_> = accepted.map(|accepted| ("Accept-Encoding", accepted)).into_iter().collect();
            let reply = with_body(&request("GET", "/", &fields, ""), Response::empty_204(), body.as_bytes());
            assert_eq!(field(&reply, "Content-Encoding"), is_compressed.then_some("gzip"), "{accepted:?}");
            assert_eq!(field(&reply, "Vary"), Some("Accept-Encoding"));
            let (mut reader, size) = reply.data.into_reader_and_size();
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).expect("in memory");
            assert_eq!(size, Some(bytes.len()));
            let mut text = String::new();
            if is_compressed {
                assert!(bytes.len() < body.len() / 10);
                GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
            } else {
                text = String::from_utf8(bytes).expect("text");
            }
            assert_eq!(text, body);
        };
        check(None, &long, false);
        check(Some("gzip, deflate, br"), &long, true);
        check(Some("br;q=1.0, GZIP;q=0.5"), &long, true);
        check(Some("gzip;q=0"), &long, false);
        check(Some("identity"), &long, false);
        check(Some("gzip"), "short", false);
    }
}
