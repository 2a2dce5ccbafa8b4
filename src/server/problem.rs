//! Error bodies as RFC 9457 has them.

use std::borrow::Cow;

use rouille::{Response, ResponseBody};

/// The media type of [`body`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem as a JSON object, with the type `about:blank`.
pub fn body(status: u16, title: &str, detail: &str) -> String {
    let body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status, "detail": detail,
    });
    body.to_string()
}

/// A reply of `application/problem+json` with the type `about:blank`, which nobody may keep: some statuses
/// can be cached unless that is said (RFC 9110, section 15.1). `title` names the kind of error and is the same
/// for each of its kind; `detail` tells this one, and must hold nothing secret.
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
