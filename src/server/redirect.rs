//! Redirects within this site.

use rouille::{Request, Response};

use crate::dashboard::route::relative_root;

/// The longest path that a login may continue to, in bytes.
const MAX_PATH_BYTES: usize = 256;

/// Returns a redirect to the local path `to`. It is relative to the path of the request, so that a proxy may strip a
/// prefix.
pub(super) fn redirect(request: &Request, to: &str) -> Response {
    let to = format!("{}{}", relative_root(path_of(request)), to.trim_start_matches('/'));
    Response::redirect_303(to).with_unique_header("Cache-Control", "no-store")
}

/// Returns the path of the request as received, without its query.
pub(super) fn path_of(request: &Request) -> &str {
    request.raw_url().split('?').next().unwrap_or_default()
}

/// Returns whether `path` is a path of this site that no browser interprets as a URL of another one.
pub(super) fn is_local_path(path: &str) -> bool {
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
}
