//! Error bodies (RFC 9457).

use std::borrow::Cow;

use rouille::{Response, ResponseBody};

/// The media type of [`body`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Returns a problem of the type `about:blank` as JSON.
pub fn body(status: u16, title: &str, detail: &str) -> String {
    let body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status, "detail": detail,
    });
    body.to_string()
}

/// Creates an `application/problem+json` reply of the type `about:blank`. `title` names the kind of error and
/// is the same for each of its kind; `detail` describes this occurrence and must hold nothing secret. Caching
/// is disabled, since some error statuses are cacheable by default (RFC 9110, section 15.1).
pub fn problem(status: u16, title: &str, detail: &str) -> Response {
    Response {
        status_code: status,
        headers: vec![
            (Cow::Borrowed("Content-Type"), Cow::Borrowed(MEDIA_TYPE)),
            (Cow::Borrowed("Cache-Control"), Cow::Borrowed("no-store")),
        ],
        data: ResponseBody::from_string(body(status, title, detail)),
        upgrade: None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn members_are_escaped() {
        let response = problem(404, "not found", "no network \"a\"\r\nb");
        assert_eq!(response.status_code, 404);
        let (mut reader, size) = response.data.into_reader_and_size();
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("a body in memory");
        assert_eq!(size, Some(text.len()));
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["detail"], "no network \"a\"\r\nb");
        assert_eq!(value["status"], 404);
        assert_eq!(value["type"], "about:blank");
    }
}
