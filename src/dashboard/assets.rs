//! Style, scripts and icons: compiled in, and named by their content, so that browsers keep them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use rouille::{Request, Response, ResponseBody};
use sha2::{Digest as _, Sha256};

use super::gzip;
use crate::server::etag::matches_etag;

macro_rules! assets {
    ($($(#[$doc:meta])* $name:ident = $extension:literal, $media_type:literal, $text:expr;)*) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Asset> =
            LazyLock::new(|| Asset::new($extension, $media_type, $text));)*

        fn all() -> impl Iterator<Item = &'static Asset> {
            [$(&$name),*].into_iter().map(|asset| &**asset)
        }
    };
}

assets! {
    /// The style of all pages.
    STYLE = "css", "text/css; charset=utf-8", concat!(include_str!("style.css"), include_str!("chart.css"));
    /// Keeps a page up to date.
    LIVE = "js", "text/javascript; charset=utf-8", include_str!("live.js");
    /// The matrix under the reader's hands.
    MATRIX = "js", "text/javascript; charset=utf-8", include_str!("matrix.js");
    /// The sign of the program.
    ICON = "svg", "image/svg+xml", include_str!("icon.svg");
    /// The icon of a page where all is well.
    GOOD = "svg", "image/svg+xml", include_str!("good.svg");
    /// The icon of a page where something is not as it should be.
    WARN = "svg", "image/svg+xml", include_str!("warn.svg");
    /// The icon of a page where something is down.
    BAD = "svg", "image/svg+xml", include_str!("bad.svg");
    /// The icon of a page that cannot tell.
    BLIND = "svg", "image/svg+xml", include_str!("blind.svg");
}

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
        let hash = short_hash(text.as_bytes());
        Self { path: format!("assets/{hash}.{extension}"), etag: format!("\"{hash}\""), media_type, text }
    }

    fn response(&'static self, request: &Request) -> Response {
        let is_known = request.header("If-None-Match").is_some_and(|list| matches_etag(list, &self.etag));
        let field = |name: &'static str, value: &'static str| (Cow::Borrowed(name), Cow::Borrowed(value));
        let headers = vec![
            field("Content-Type", self.media_type),
            // The path changes with the content.
            field("Cache-Control", "public, max-age=31536000, immutable"),
            field("ETag", &self.etag),
            field("X-Content-Type-Options", "nosniff"),
            field("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ];
        let status_code = if is_known { 304 } else { 200 };
        let empty = Response { status_code, headers, data: ResponseBody::empty(), upgrade: None };
        if is_known { empty } else { gzip::with_body(request, empty, self.text.as_bytes()) }
    }
}

fn short_hash(bytes: &[u8]) -> String {
    let mut hash = String::new();
    for byte in &Sha256::digest(bytes)[..8] {
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

/// What tells builds apart whose pages differ.
pub(super) fn build() -> &'static str {
    static BUILD: LazyLock<String> = LazyLock::new(|| {
        let paths: Vec<&str> = all().map(|asset| asset.path.as_str()).collect();
        short_hash(format!("{} {}", crate::VERSION, paths.join(" ")).as_bytes())
    });
    &BUILD
}

/// The file at `path`.
pub(super) fn get(path: &str, request: &Request) -> Option<Response> {
    let path = path.strip_prefix('/')?;
    Some(all().find(|asset| asset.path == path)?.response(request))
}

#[cfg(test)]
pub(super) fn each() -> Vec<&'static Asset> {
    all().collect()
}

#[cfg(test)]
impl Asset {
    pub(super) fn text(&self) -> &'static str {
        self.text
    }
}
