//! Redirects within this site.

use rouille::{Request, Response};

use crate::dashboard;

/// The longest path that a login may continue to, in bytes.
const MAX_PATH_BYTES: usize = 256;

/// Returns a redirect to the local path `to`. It is relative to the path of the request, so that a proxy may strip a
/// prefix.
pub(crate) fn redirect(request: &Request, to: &str) -> Response {
    let to = format!("{}{}", dashboard::root(request), to.trim_start_matches('/'));
    Response::redirect_303(to).with_unique_header("Cache-Control", "no-store")
}

/// Returns the path of the login page that continues to `next`, a local path with its query.
pub(crate) fn login_page_path(next: &str) -> String {
    let escape = |byte: u8| match byte {
        // These end a value or have a meaning in a query.
        b'&' | b'=' | b'?' | b'+' | b'#' | b'%' => format!("%{byte:02X}"),
        other => char::from(other).to_string(),
    };
    format!("login?next={}", next.bytes().map(escape).collect::<String>())
}

/// Returns whether `path` is a path of this site that no browser takes for a URL of another one.
pub(crate) fn is_local_path(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES
        && path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_paths() {
        for good in ["/", "/network/a", "/a?b=c", "/a//b"] {
            assert!(is_local_path(good), "{good}");
        }
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
        for bad in ["", "a", "//evil", "/\\evil", "\\\\evil", "http://evil/", "/a\r\nb", "/ä", "/a b", &long]
        {
            assert!(!is_local_path(bad), "{bad:?}");
        }
    }

    #[test]
    fn login_page_keeps_the_query() {
        let path = "/network/a?q=b%26c+d&page=2";
        let login = login_page_path(path);
        let request = Request::fake_http("GET", format!("/{login}"), Vec::new(), Vec::new());
        assert_eq!(request.get_param("next").as_deref(), Some(path));
    }
}
