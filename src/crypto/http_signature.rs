//! HTTP message signatures (RFC 9421) in the one profile of an exchange: Ed25519, label `sig1`, tag
//! `distomon`, fixed components. The reply's signature covers the request's, so it answers that request
//! and no other. Whether a nonce is new, and which key a `keyid` names, is not known here.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfv::{BareItem, Dictionary, ListEntry, Parameters, SerializeValue as _};

use super::structured_field::{dictionary, parameters};
use super::{Keypair, MAX_KEY_ID, Nonce, PublicKey};

/// The longest `Signature-Input` and `Signature`, in bytes; proxies may add signatures of their own.
pub const MAX_FIELD: usize = 4096;

const LABEL: &str = "sig1";
const TAG: &str = "distomon";
const ALGORITHM: &str = "ed25519";

/// What a request's signature covers, in this order.
const REQUEST: &str = r#"("@method" "@path" "content-digest")"#;

/// What a reply's signature covers, in this order.
const REPLY: &str = concat!(
    r#"("@status" "content-digest" "@method";req "@path";req "content-digest";req "#,
    r#""signature-input";req;key="sig1" "signature";req;key="sig1")"#
);

/// The method of every exchange.
const METHOD: &str = "POST";

/// The largest integer of a structured field (RFC 8941, section 3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// The values of the two header fields that sign a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The value of `Signature-Input`.
    pub signature_input: String,
    /// The value of `Signature`.
    pub signature: String,
}

/// What the head of a request claims: read, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSignature {
    /// Who is said to have signed: 1 to [`MAX_KEY_ID`] printable ASCII characters.
    pub keyid: String,
    /// The number of this request, to be larger than the sender's last.
    pub nonce: Nonce,
    /// When it is said to have been signed, in seconds since 1970. Nothing hangs on it.
    pub created: u64,
    claim: Claim,
}

/// The request that a reply answers: its values as they were sent or received.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext<'a> {
    /// Its path, as the client sees it.
    pub path: &'a str,
    /// The value of its `Content-Digest`.
    pub content_digest: &'a str,
    /// The value of its `Signature-Input`.
    pub signature_input: &'a str,
    /// The value of its `Signature`.
    pub signature: &'a str,
}

/// Why a message's signature fields are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No signature with our tag.
    #[error(
        "the message is not signed: expected Signature-Input and Signature with label sig1 and tag \"distomon\""
    )]
    Missing,
    /// There, but not as it must be.
    #[error("the message's signature is malformed: expected {0}")]
    Malformed(&'static str),
}

/// Why a reply is not taken for the peer's answer to this request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// It is not signed, or not as it must be.
    #[error("checking a reply: {0}")]
    Signature(#[from] SignatureError),
    /// It says that another node signed it.
    #[error("the reply is signed by {found:?}: expected {expected:?}; check where the url leads")]
    OtherKeyId {
        /// Who was asked.
        expected: String,
        /// Who says to have answered; printable ASCII, unverified.
        found: String,
    },
    /// None of the peer's keys made this signature over this reply and this request.
    #[error("the reply's signature is not the peer's for this request")]
    BadSignature,
}

/// Signs a request: `POST` to `path` with that `Content-Digest`, at `created_s` seconds since 1970. `keyid`
/// is printable ASCII.
pub fn sign_request(
    key: &Keypair,
    keyid: &str,
    path: &str,
    content_digest: &str,
    created_s: u64,
    nonce: Nonce,
) -> SignedHead {
    let params = signature_params(REQUEST, keyid, created_s, nonce);
    let base = request_base(METHOD, path, content_digest, &params);
    head(&params, &key.sign(base.as_bytes()))
}

/// Reads the signature fields of a request. Signatures with another tag are passed over; ours must be
/// the only one with its tag, have label `sig1`, cover the components of a request in their order, and
/// have the parameters `created`, `nonce`, `keyid`, `alg`, `tag` in any order, none else.
pub fn parse_request(signature_input: &str, signature: &str) -> Result<RequestSignature, SignatureError> {
    let (parameters, claim) = parse(signature_input, signature, REQUEST)?;
    Ok(RequestSignature {
        keyid: parameters.keyid,
        nonce: parameters.nonce,
        created: parameters.created,
        claim,
    })
}

impl RequestSignature {
    /// Whether `key` signed this head for that method, path and `Content-Digest`.
    pub fn verify(&self, key: &PublicKey, method: &str, path: &str, content_digest: &str) -> bool {
        if ![method, path, content_digest].into_iter().all(is_value) {
            return false;
        }
        let base = request_base(method, path, content_digest, &self.claim.params);
        key.verify(base.as_bytes(), &self.claim.signature)
    }
}

/// Signs a reply with that status and `Content-Digest` to `request`, whose nonce it repeats. Fails if the
/// request's own fields are not those of a signed request.
pub fn sign_reply(
    key: &Keypair,
    keyid: &str,
    status: u16,
    body_digest: &str,
    request: &RequestContext<'_>,
    created_s: u64,
    nonce: Nonce,
) -> Result<SignedHead, SignatureError> {
    let (_, asked) = parse(request.signature_input, request.signature, REQUEST)?;
    let params = signature_params(REPLY, keyid, created_s, nonce);
    let base = reply_base(status, body_digest, request, &asked, &params)?;
    Ok(head(&params, &key.sign(base.as_bytes())))
}

/// Checks that one of `keys` signed this reply, as `expected_keyid`, to this very `request`. A field that the
/// reply lacks is given as an empty text.
pub fn verify_reply(
    signature_input: &str,
    signature: &str,
    status: u16,
    body_digest: &str,
    request: &RequestContext<'_>,
    expected_keyid: &str,
    keys: &[PublicKey],
) -> Result<(), ReplyError> {
    let (found, reply) = parse(signature_input, signature, REPLY)?;
    if found.keyid != expected_keyid {
        return Err(ReplyError::OtherKeyId { expected: expected_keyid.into(), found: found.keyid });
    }
    let (sent, asked) = parse(request.signature_input, request.signature, REQUEST)?;
    if found.nonce != sent.nonce {
        return Err(SignatureError::Malformed("the nonce of the request").into());
    }
    let base = reply_base(status, body_digest, request, &asked, &reply.params)?;
    if keys.iter().any(|key| key.verify(base.as_bytes(), &reply.signature)) {
        Ok(())
    } else {
        Err(ReplyError::BadSignature)
    }
}

/// What a signature is over besides the message, and the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    /// The value of `@signature-params`: components and parameters as received, strictly serialised.
    params: String,
    signature: [u8; 64],
}

/// The parameters of which more than the presence is of use.
struct Claimed {
    keyid: String,
    nonce: Nonce,
    created: u64,
}

fn parse(signature_input: &str, signature: &str, covered: &str) -> Result<(Claimed, Claim), SignatureError> {
    const INPUT: SignatureError = SignatureError::Malformed(
        "Signature-Input of at most 4096 bytes, a dictionary in which nothing comes twice (RFC 8941)",
    );
    const SIGNATURE: SignatureError = SignatureError::Malformed(
        "Signature of at most 4096 bytes, a dictionary with sig1=:<base64 of 64 bytes>:",
    );
    const COVERED: SignatureError =
        SignatureError::Malformed("exactly the covered components of an exchange, in their order");
    let mut inputs = dictionary(signature_input, MAX_FIELD).ok_or(INPUT)?;
    let signatures = dictionary(signature, MAX_FIELD).ok_or(SIGNATURE)?;
    let list = match take_ours(&mut inputs)? {
        ListEntry::InnerList(list) => list,
        ListEntry::Item(_) => return Err(COVERED),
    };
    let claimed = claimed(&list.params)?;
    let params = vec![ListEntry::InnerList(list)].serialize_value().map_err(|_| INPUT)?;
    // The text up to the closing parenthesis cannot be read in two ways: quotes within strings are escaped.
    if !params.strip_prefix(covered).is_some_and(|rest| rest.starts_with(';')) {
        return Err(COVERED);
    }
    let signature = match signatures.get(LABEL).ok_or(SignatureError::Missing)? {
        ListEntry::Item(item) if item.params.is_empty() => match &item.bare_item {
            BareItem::ByteSeq(bytes) => bytes.as_slice().try_into().map_err(|_| SIGNATURE)?,
            _ => return Err(SIGNATURE),
        },
        _ => return Err(SIGNATURE),
    };
    Ok((claimed, Claim { params, signature }))
}

/// The one member with our tag, which must have our label.
fn take_ours(inputs: &mut Dictionary) -> Result<ListEntry, SignatureError> {
    let ours = |entry: &ListEntry| parameters(entry).get("tag").and_then(BareItem::as_str) == Some(TAG);
    match inputs.values().filter(|entry| ours(entry)).count() {
        0 => Err(SignatureError::Missing),
        1 => inputs
            .swap_remove(LABEL)
            .filter(ours)
            .ok_or(SignatureError::Malformed("label sig1 on the signature with tag \"distomon\"")),
        _ => Err(SignatureError::Malformed("one signature with tag \"distomon\"")),
    }
}

fn claimed(parameters: &Parameters) -> Result<Claimed, SignatureError> {
    let text = |name| parameters.get(name).and_then(BareItem::as_str);
    // `tag` is known to be there; with the other four found, five are these and no more.
    if parameters.len() != 5 {
        return Err(SignatureError::Malformed("the parameters created, nonce, keyid, alg and tag alone"));
    }
    if text("alg") != Some(ALGORITHM) {
        return Err(SignatureError::Malformed("alg=\"ed25519\""));
    }
    Ok(Claimed {
        keyid: text("keyid")
            .filter(|keyid| (1..=MAX_KEY_ID).contains(&keyid.len()))
            .ok_or(SignatureError::Malformed("keyid, a string of 1 to 256 bytes"))?
            .into(),
        nonce: text("nonce")
            .and_then(|nonce| nonce.parse().ok())
            .ok_or(SignatureError::Malformed("nonce=\"<epoch>-<counter>\""))?,
        created: parameters
            .get("created")
            .and_then(BareItem::as_int)
            .and_then(|created| created.try_into().ok())
            .ok_or(SignatureError::Malformed("created, seconds since 1970"))?,
    })
}

/// The value of `@signature-params` (RFC 9421, section 2.3).
fn signature_params(covered: &str, keyid: &str, created_s: u64, nonce: Nonce) -> String {
    let mut out = String::with_capacity(covered.len() + keyid.len() + 120);
    out.push_str(covered);
    let created = created_s.min(MAX_INTEGER);
    let _ = write!(out, ";created={created};nonce=\"{nonce}\";keyid=\"");
    for char in keyid.chars().filter(|char| matches!(char, ' '..='~')) {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    let _ = write!(out, "\";alg=\"{ALGORITHM}\";tag=\"{TAG}\"");
    out
}

fn head(params: &str, signature: &[u8; 64]) -> SignedHead {
    SignedHead {
        signature_input: format!("{LABEL}={params}"),
        signature: format!("{LABEL}={}", byte_sequence(signature)),
    }
}

fn byte_sequence(bytes: &[u8; 64]) -> String {
    format!(":{}:", STANDARD.encode(bytes))
}

fn request_base(method: &str, path: &str, content_digest: &str, params: &str) -> String {
    signature_base(
        &[(r#""@method""#, method), (r#""@path""#, path), (r#""content-digest""#, content_digest)],
        params,
    )
}

fn reply_base(
    status: u16,
    body_digest: &str,
    request: &RequestContext<'_>,
    asked: &Claim,
    params: &str,
) -> Result<String, SignatureError> {
    if ![body_digest, request.path, request.content_digest].into_iter().all(is_value) {
        return Err(SignatureError::Malformed("a path and digests of printable ASCII"));
    }
    Ok(signature_base(
        &[
            (r#""@status""#, &status.to_string()),
            (r#""content-digest""#, body_digest),
            (r#""@method";req"#, METHOD),
            (r#""@path";req"#, request.path),
            (r#""content-digest";req"#, request.content_digest),
            (r#""signature-input";req;key="sig1""#, &asked.params),
            (r#""signature";req;key="sig1""#, &byte_sequence(&asked.signature)),
        ],
        params,
    ))
}

/// The signature base (RFC 9421, section 2.5): a line for each component, then the parameters, no line end.
fn signature_base(lines: &[(&str, &str)], params: &str) -> String {
    let size: usize = lines.iter().map(|(name, value)| name.len() + value.len() + 3).sum();
    let mut base = String::with_capacity(size + params.len() + 24);
    for (name, value) in lines {
        base.push_str(name);
        base.push_str(": ");
        base.push_str(value.trim_matches([' ', '\t']));
        base.push('\n');
    }
    base.push_str("\"@signature-params\": ");
    base.push_str(params);
    base
}

/// Whether `text` can stand in a signature base: no line end may come in and pass for another component.
fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

#[cfg(test)]
mod tests;
