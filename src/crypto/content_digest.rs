//! The header field `Content-Digest` (RFC 9530), with SHA-256 only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfv::{BareItem, ListEntry};
use sha2::{Digest as _, Sha256};

use super::structured_field::dictionary;

/// The maximum length of the field, in bytes, which fits every registered algorithm.
const MAX_FIELD: usize = 1024;

/// Returns the value of the field for `body`: `sha-256=:…:`.
pub fn content_digest(body: &[u8]) -> String {
    let mut field = String::with_capacity(54);
    field.push_str("sha-256=:");
    STANDARD.encode_string(Sha256::digest(body), &mut field);
    field.push(':');
    field
}

/// Returns whether the field value `header` contains the SHA-256 digest of `body`. Ignores other algorithms, as
/// RFC 9530, section 2 allows.
pub fn digest_matches(header: &str, body: &[u8]) -> bool {
    let Some(members) = dictionary(header, MAX_FIELD) else { return false };
    match members.get("sha-256") {
        Some(ListEntry::Item(item)) => match &item.bare_item {
            BareItem::ByteSeq(digest) => digest[..] == Sha256::digest(body)[..],
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9530, appendix B.1 (the digest of a JSON body with its line end).
    const RFC: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    const BODY: &[u8] = b"{\"hello\": \"world\"}\n";

    #[test]
    fn rfc_9530_test_vector() {
        assert_eq!(content_digest(BODY), RFC);
        assert!(digest_matches(RFC, BODY));
        assert!(digest_matches(&content_digest(b""), b""));
    }

    #[test]
    fn matching_and_other_fields() {
        let other = content_digest(b"other");
        let twice = format!("{RFC}, {RFC}");
        let beside = format!("sha-512=:AAAA:, {RFC}");
        let long = format!("{RFC}, x=\"{}\"", "a".repeat(MAX_FIELD));
        let mixed = format!("{other}, {RFC}");
        for (field, matches) in [
            (RFC, true),
            (&beside, true),
            (&other, false),
            (&twice, false),
            (&mixed, false),
            (&long, false),
            ("", false),
            ("sha-512=:AAAA:", false),
            ("sha-256", false),
            ("sha-256=()", false),
            ("sha-256=::", false),
            ("sha-256=:RK/0qy18:", false),
            ("sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=", false),
            ("SHA-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:", false),
        ] {
            assert_eq!(digest_matches(field, BODY), matches, "{field}");
        }
    }
}
