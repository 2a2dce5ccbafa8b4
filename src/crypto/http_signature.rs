//! HTTP message signatures (RFC 9421) in the profile of an exchange: Ed25519, label `sig1`, tag `distomon-v2`, fixed
//! components. The signature of a request covers its recipient, so no other node accepts it. The signature of a reply
//! covers the signature of its request, so a reply to another request does not verify. This module knows neither the
//! nonces that were used nor the keys that belong to a `keyid`.
//!
//! Requests of the earlier, incompatible profile (tag `distomon`, without a recipient) can be sent, recognised and replied
//! to, so that neither release reports a live node of the other offline.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfv::{BareItem, Dictionary, ListEntry, Parameters, SerializeValue as _};

use super::structured_field::{dictionary, parameters};
use super::{Keypair, MAX_KEY_ID, Nonce, PublicKey};

/// The longest `Signature-Input` and `Signature`, in bytes. Leaves room for signatures that proxies add.
pub const MAX_FIELD: usize = 4096;

const LABEL: &str = "sig1";
const ALGORITHM: &str = "ed25519";

/// A profile of signatures: its tag, and the components that the signature of a request covers, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Profile {
    tag: &'static str,
    request_components: &'static str,
}

const PROFILE: Profile = Profile {
    tag: "distomon-v2",
    request_components: r#"("@method" "@path" "content-digest" "distomon-to")"#,
};

/// The profile of releases with protocol version 1.
const EARLIER_PROFILE: Profile =
    Profile { tag: "distomon", request_components: r#"("@method" "@path" "content-digest")"# };

/// The components that the signature of a reply covers, in order.
const REPLY_COMPONENTS: &str = concat!(
    r#"("@status" "content-digest" "@method";req "@path";req "content-digest";req "#,
    r#""signature-input";req;key="sig1" "signature";req;key="sig1")"#
);

/// The method of every exchange.
const METHOD: &str = "POST";

/// The largest integer of a structured field (RFC 8941, section 3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// The parameters of a new signature.
#[derive(Debug, Clone, Copy)]
pub struct SignatureParams<'a> {
    /// The id of the signing key: printable ASCII; other characters are omitted.
    pub keyid: &'a str,
    /// The time of the signature, in seconds since 1970.
    pub created_s: u64,
    /// The nonce: in a request, larger than the last one of the sender; in a reply, that of the request.
    pub nonce: Nonce,
}

/// The values of the two header fields that sign a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// The value of `Signature-Input`.
    pub signature_input: String,
    /// The value of `Signature`.
    pub signature: String,
}

/// The parts of a request that its signature covers.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// The path, as the client sees it.
    pub path: &'a str,
    /// The recipient: the value of `Distomon-To`.
    pub to: &'a str,
    /// The value of `Content-Digest`.
    pub content_digest: &'a str,
}

/// The signature of a received request, parsed but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSignature {
    /// The claimed key id: 1 to [`MAX_KEY_ID`] printable ASCII characters.
    pub keyid: String,
    /// The nonce of the request.
    pub nonce: Nonce,
    /// The claimed time of the signature, in seconds since 1970. Not checked.
    pub created: u64,
    profile: Profile,
    value: SignatureValue,
}

/// The signed parts of a request, as sent or received.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The path, as the client sees it.
    pub path: &'a str,
    /// The value of `Content-Digest`.
    pub content_digest: &'a str,
    /// The value of `Signature-Input`.
    pub signature_input: &'a str,
    /// The value of `Signature`.
    pub signature: &'a str,
}

/// The signed parts of a received reply; a missing field is an empty text.
#[derive(Debug, Clone, Copy)]
pub struct SignedReply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The value of `Content-Digest`.
    pub content_digest: &'a str,
    /// The value of `Signature-Input`.
    pub signature_input: &'a str,
    /// The value of `Signature`.
    pub signature: &'a str,
}

/// The reason why signature fields were rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No signature with the tag of the profile.
    #[error(
        "the message is not signed: expected Signature-Input and Signature with label sig1 and tag \"distomon-v2\""
    )]
    Missing,
    /// A signature that does not have the form of an exchange. Holds what was expected.
    #[error("the message's signature is malformed: expected {0}")]
    Malformed(&'static str),
}

/// The reason why the signature of a reply was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Missing or malformed signature fields.
    #[error("checking a reply: {0}")]
    Signature(#[from] SignatureError),
    /// The reply names the key id of another node.
    #[error("the reply is signed by {found:?}: expected {expected:?}; check where the url leads")]
    OtherKeyId {
        /// The key id of the called peer.
        expected: String,
        /// The key id in the reply: printable ASCII, unverified.
        found: String,
    },
    /// None of the peer's keys made this signature over this reply and this request.
    #[error("the reply's signature is not the peer's for this request")]
    BadSignature,
}

/// Signs a `POST` request with these parts.
pub fn sign_request(
    key: &Keypair,
    params: &SignatureParams<'_>,
    parts: &RequestParts<'_>,
) -> SignatureHeaders {
    let params = params.serialize(PROFILE.request_components, PROFILE.tag);
    let base = request_base(PROFILE, METHOD, parts, &params);
    SignatureHeaders::new(&params, &key.sign(base.as_bytes()))
}

/// Signs a `POST` request of the earlier profile, which does not cover the recipient.
pub fn sign_earlier_request(
    key: &Keypair,
    params: &SignatureParams<'_>,
    path: &str,
    content_digest: &str,
) -> SignatureHeaders {
    let params = params.serialize(EARLIER_PROFILE.request_components, EARLIER_PROFILE.tag);
    let parts = RequestParts { path, to: "", content_digest };
    let base = request_base(EARLIER_PROFILE, METHOD, &parts, &params);
    SignatureHeaders::new(&params, &key.sign(base.as_bytes()))
}

/// Parses the signature fields of a request. Ignores signatures with other tags. The one with tag `distomon-v2`, or
/// else the one with tag `distomon` of the earlier profile, must have label `sig1`, cover exactly the components of a
/// request in order, and have exactly the parameters `created`, `nonce`, `keyid`, `alg` and `tag`, in any order.
pub fn parse_request(signature_input: &str, signature: &str) -> Result<RequestSignature, SignatureError> {
    let (ParsedParams { keyid, nonce, created }, value, profile) =
        parse_any_profile(signature_input, signature)?;
    Ok(RequestSignature { keyid, nonce, created, profile, value })
}

impl RequestSignature {
    /// Returns whether the signature has the profile of an earlier, incompatible release.
    pub fn is_incompatible(&self) -> bool {
        self.profile == EARLIER_PROFILE
    }

    /// Returns whether `key` signed a request with this method and these parts.
    pub fn verify(&self, key: &PublicKey, method: &str, parts: &RequestParts<'_>) -> bool {
        let RequestParts { path, to, content_digest } = *parts;
        if ![method, path, to, content_digest].into_iter().all(is_field_value) {
            return false;
        }
        let base = request_base(self.profile, method, parts, &self.value.params);
        key.verify(base.as_bytes(), &self.value.signature)
    }
}

/// Signs a reply to `request` with `status` and the `Content-Digest` `content_digest`. Fails if the fields of
/// `request` are not those of a signed request.
pub fn sign_reply(
    key: &Keypair,
    params: &SignatureParams<'_>,
    status: u16,
    content_digest: &str,
    request: &SignedRequest<'_>,
) -> Result<SignatureHeaders, SignatureError> {
    let (_, request_signature, profile) = request.parse_signature()?;
    let params = params.serialize(REPLY_COMPONENTS, profile.tag);
    let base = reply_base(status, content_digest, request, &request_signature, &params)?;
    Ok(SignatureHeaders::new(&params, &key.sign(base.as_bytes())))
}

/// Checks that one of `keys` signed `reply` to `request` with the key id `expected_keyid`, in the profile of the request.
pub fn verify_reply(
    reply: &SignedReply<'_>,
    request: &SignedRequest<'_>,
    expected_keyid: &str,
    keys: &[PublicKey],
) -> Result<(), ReplyError> {
    let (request_params, request_signature, profile) = request.parse_signature()?;
    let (params, value) = parse(reply.signature_input, reply.signature, REPLY_COMPONENTS, profile.tag)?;
    if params.keyid != expected_keyid {
        return Err(ReplyError::OtherKeyId { expected: expected_keyid.into(), found: params.keyid });
    }
    if params.nonce != request_params.nonce {
        return Err(SignatureError::Malformed("the nonce of the request").into());
    }
    let base = reply_base(reply.status, reply.content_digest, request, &request_signature, &value.params)?;
    if keys.iter().any(|key| key.verify(base.as_bytes(), &value.signature)) {
        Ok(())
    } else {
        Err(ReplyError::BadSignature)
    }
}

impl SignedRequest<'_> {
    fn parse_signature(&self) -> Result<(ParsedParams, SignatureValue, Profile), SignatureError> {
        parse_any_profile(self.signature_input, self.signature)
    }
}

/// A received signature and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SignatureValue {
    /// The value of `@signature-params`: components and parameters as received, strictly serialised.
    params: String,
    signature: [u8; 64],
}

/// The parameters of a received signature, without `alg` and `tag`, whose values are fixed.
struct ParsedParams {
    keyid: String,
    nonce: Nonce,
    created: u64,
}

/// Parses the signature fields of a request of this profile, or else of the earlier one.
fn parse_any_profile(
    signature_input: &str,
    signature: &str,
) -> Result<(ParsedParams, SignatureValue, Profile), SignatureError> {
    let read = |profile: Profile| {
        let (params, value) = parse(signature_input, signature, profile.request_components, profile.tag)?;
        Ok((params, value, profile))
    };
    match read(PROFILE) {
        Err(SignatureError::Missing) => read(EARLIER_PROFILE),
        result => result,
    }
}

fn parse(
    signature_input: &str,
    signature: &str,
    components: &str,
    tag: &str,
) -> Result<(ParsedParams, SignatureValue), SignatureError> {
    const INPUT: SignatureError = SignatureError::Malformed(
        "Signature-Input of at most 4096 bytes, a dictionary without duplicate keys (RFC 8941)",
    );
    const SIGNATURE: SignatureError = SignatureError::Malformed(
        "Signature of at most 4096 bytes, a dictionary with sig1=:<base64 of 64 bytes>:",
    );
    const COMPONENTS: SignatureError =
        SignatureError::Malformed("exactly the covered components of an exchange, in order");
    let mut inputs = dictionary(signature_input, MAX_FIELD).ok_or(INPUT)?;
    let signatures = dictionary(signature, MAX_FIELD).ok_or(SIGNATURE)?;
    let list = match take_tagged(&mut inputs, tag)? {
        ListEntry::InnerList(list) => list,
        ListEntry::Item(_) => return Err(COMPONENTS),
    };
    let parsed = parse_params(&list.params)?;
    let params = vec![ListEntry::InnerList(list)].serialize_value().map_err(|_| INPUT)?;
    // Quotes within strings are escaped, so only these components serialise to this text.
    if !params.strip_prefix(components).is_some_and(|rest| rest.starts_with(';')) {
        return Err(COMPONENTS);
    }
    let signature = match signatures.get(LABEL).ok_or(SignatureError::Missing)? {
        ListEntry::Item(item) if item.params.is_empty() => match &item.bare_item {
            BareItem::ByteSeq(bytes) => bytes.as_slice().try_into().map_err(|_| SIGNATURE)?,
            _ => return Err(SIGNATURE),
        },
        _ => return Err(SIGNATURE),
    };
    Ok((parsed, SignatureValue { params, signature }))
}

/// Removes the only member with that tag, which must have label `sig1`.
fn take_tagged(inputs: &mut Dictionary, tag: &str) -> Result<ListEntry, SignatureError> {
    let is_tagged = |entry: &ListEntry| parameters(entry).get("tag").and_then(BareItem::as_str) == Some(tag);
    match inputs.values().filter(|entry| is_tagged(entry)).count() {
        0 => Err(SignatureError::Missing),
        1 => inputs
            .swap_remove(LABEL)
            .filter(is_tagged)
            .ok_or(SignatureError::Malformed("label sig1 on the signature of an exchange")),
        _ => Err(SignatureError::Malformed("one signature with the tag of an exchange")),
    }
}

fn parse_params(parameters: &Parameters) -> Result<ParsedParams, SignatureError> {
    let text = |name| parameters.get(name).and_then(BareItem::as_str);
    // The caller has found `tag`, and the checks below find the other four, so five parameters are exactly these.
    if parameters.len() != 5 {
        return Err(SignatureError::Malformed("exactly the parameters created, nonce, keyid, alg and tag"));
    }
    if text("alg") != Some(ALGORITHM) {
        return Err(SignatureError::Malformed("alg=\"ed25519\""));
    }
    Ok(ParsedParams {
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

impl SignatureParams<'_> {
    /// Returns the value of `@signature-params` (RFC 9421, section 2.3).
    fn serialize(&self, components: &str, tag: &str) -> String {
        let Self { keyid, created_s, nonce } = self;
        let mut out = String::with_capacity(components.len() + keyid.len() + 120);
        out.push_str(components);
        let created = created_s.min(&MAX_INTEGER);
        let _ = write!(out, ";created={created};nonce=\"{nonce}\";keyid=\"");
        for char in keyid.chars().filter(|char| matches!(char, ' '..='~')) {
            if matches!(char, '"' | '\\') {
                out.push('\\');
            }
            out.push(char);
        }
        let _ = write!(out, "\";alg=\"{ALGORITHM}\";tag=\"{tag}\"");
        out
    }
}

impl SignatureHeaders {
    fn new(params: &str, signature: &[u8; 64]) -> Self {
        Self {
            signature_input: format!("{LABEL}={params}"),
            signature: format!("{LABEL}={}", byte_sequence(signature)),
        }
    }
}

fn byte_sequence(bytes: &[u8; 64]) -> String {
    format!(":{}:", STANDARD.encode(bytes))
}

fn request_base(profile: Profile, method: &str, parts: &RequestParts<'_>, params: &str) -> String {
    let lines = [
        (r#""@method""#, method),
        (r#""@path""#, parts.path),
        (r#""content-digest""#, parts.content_digest),
        (r#""distomon-to""#, parts.to),
    ];
    signature_base(if profile == EARLIER_PROFILE { &lines[..3] } else { &lines }, params)
}

fn reply_base(
    status: u16,
    content_digest: &str,
    request: &SignedRequest<'_>,
    request_signature: &SignatureValue,
    params: &str,
) -> Result<String, SignatureError> {
    if ![content_digest, request.path, request.content_digest].into_iter().all(is_field_value) {
        return Err(SignatureError::Malformed("a path and digests of printable ASCII"));
    }
    Ok(signature_base(
        &[
            (r#""@status""#, &status.to_string()),
            (r#""content-digest""#, content_digest),
            (r#""@method";req"#, METHOD),
            (r#""@path";req"#, request.path),
            (r#""content-digest";req"#, request.content_digest),
            (r#""signature-input";req;key="sig1""#, &request_signature.params),
            (r#""signature";req;key="sig1""#, &byte_sequence(&request_signature.signature)),
        ],
        params,
    ))
}

/// Returns the signature base (RFC 9421, section 2.5): a line for each component, then the parameters without a
/// line end.
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

/// Returns whether `text` is safe in a signature base: a line end would start another component.
fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

#[cfg(test)]
mod tests;
