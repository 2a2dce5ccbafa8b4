//! The style and the icon: compiled in, and named by their content, so that browsers keep them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use rouille::{Request, Response, ResponseBody};
use sha2::{Digest as _, Sha256};

use crate::server::view::names;

/// The style of all pages.
pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("css", "text/css; charset=utf-8", include_str!("style.css")));

/// The icon of all pages.
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("svg", "image/svg+xml", include_str!("icon.svg")));

/// A file that pages need.
pub(super) struct Asset {
    /// Its path below the root, without a leading slash.
    pub(super) path: String,
    etag: String,
    media_type: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(extension: &str, media_type: &'static str, text: &'static str) -> Self {
        let mut hash = String::new();
        for byte in &Sha256::digest(text)[..8] {
            let _ = write!(hash, "{byte:02x}");
        }
        Self { path: format!("assets/{hash}.{extension}"), etag: format!("\"{hash}\""), media_type, text }
    }

    fn response(&'static self, request: &Request) -> Response {
        let is_known = request.header("If-None-Match").is_some_and(|list| names(list, &self.etag));
        let field = |name: &'static str, value: &'static str| (Cow::Borrowed(name), Cow::Borrowed(value));
        let headers = vec![
            field("Content-Type", self.media_type),
            // The path changes with the content.
            field("Cache-Control", "public, max-age=31536000, immutable"),
            field("ETag", &self.etag),
            field("X-Content-Type-Options", "nosniff"),
            field("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ];
        let data =
            if is_known { ResponseBody::empty() } else { ResponseBody::from_data(self.text.as_bytes()) };
        Response { status_code: if is_known { 304 } else { 200 }, headers, data, upgrade: None }
    }
}

/// The file at `path`.
pub(super) fn get(path: &str, request: &Request) -> Option<Response> {
    let path = path.strip_prefix('/')?;
    let asset = [&STYLE, &ICON].into_iter().find(|asset| asset.path == path)?;
    Some(asset.response(request))
}
