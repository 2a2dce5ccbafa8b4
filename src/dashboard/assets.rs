//! Style, scripts and icons. Their paths depend on their content, so that browsers may cache them indefinitely.

use std::fmt::Write as _;
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

macro_rules! assets {
    ($($(#[$doc:meta])* $name:ident = $extension:literal, $media_type:literal, $text:expr;)*) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Asset> =
            LazyLock::new(|| Asset::new($extension, $media_type, $text));)*

        /// Returns all assets.
        pub fn all() -> impl Iterator<Item = &'static Asset> {
            [$(&$name),*].into_iter().map(|asset| &**asset)
        }
    };
}

assets! {
    /// The style of all pages.
    STYLE = "css", "text/css; charset=utf-8", concat!(include_str!("style.css"), include_str!("chart.css"));
    /// The script that keeps a page up to date.
    LIVE_UPDATES = "js", "text/javascript; charset=utf-8", include_str!("live_updates.js");
    /// The script of the matrix.
    MATRIX = "js", "text/javascript; charset=utf-8", include_str!("matrix.js");
    /// The logo, also the icon of pages that show no health.
    LOGO = "svg", "image/svg+xml", include_str!("logo.svg");
    /// The icon of the health `ok`.
    OK = "svg", "image/svg+xml", include_str!("ok.svg");
    /// The icon of the health `warning`.
    WARNING = "svg", "image/svg+xml", include_str!("warning.svg");
    /// The icon of the health `unknown`.
    UNKNOWN = "svg", "image/svg+xml", include_str!("unknown.svg");
    /// The icon of the health `critical`.
    CRITICAL = "svg", "image/svg+xml", include_str!("critical.svg");
}

/// A file that pages load.
pub struct Asset {
    /// The path below the root, without a leading slash.
    pub path: String,
    /// The entity tag, in quotes.
    pub etag: String,
    /// The media type.
    pub media_type: &'static str,
    /// The content.
    pub text: &'static str,
}

impl Asset {
    fn new(extension: &str, media_type: &'static str, text: &'static str) -> Self {
        let hash = short_hash(text.as_bytes());
        Self { path: format!("assets/{hash}.{extension}"), etag: format!("\"{hash}\""), media_type, text }
    }

    /// Returns the asset at an absolute path.
    pub fn find(path: &str) -> Option<&'static Self> {
        let path = path.strip_prefix('/')?;
        all().find(|asset| asset.path == path)
    }
}

fn short_hash(bytes: &[u8]) -> String {
    let mut hash = String::new();
    for byte in &Sha256::digest(bytes)[..8] {
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

/// Returns an id of the build: builds whose pages differ have different ids.
pub(super) fn build() -> &'static str {
    static BUILD: LazyLock<String> = LazyLock::new(|| {
        let paths: Vec<&str> = all().map(|asset| asset.path.as_str()).collect();
        short_hash(format!("{} {}", crate::VERSION, paths.join(" ")).as_bytes())
    });
    &BUILD
}
