//! DSSE envelopes, version 1 (<https://github.com/secure-systems-lab/dsse>), with exactly one Ed25519 signature.
//! This module knows neither the format of payloads nor the keys that belong to a `keyid`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::{Deserialize, Serialize};

use super::{Keypair, MAX_KEY_ID, PublicKey};

/// The largest payload, in bytes.
pub const MAX_PAYLOAD: usize = 128 * 1024;

/// The longest envelope, in bytes of JSON: the largest payload in base64 and 4 KiB for the other members.
pub const MAX_ENVELOPE: usize = MAX_PAYLOAD.div_ceil(3) * 4 + 4 * 1024;

/// The reason why an envelope was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsseError {
    /// An envelope longer than [`MAX_ENVELOPE`] or a payload longer than [`MAX_PAYLOAD`].
    #[error("the DSSE envelope is too large: expected a payload of at most {MAX_PAYLOAD} bytes")]
    TooLarge,
    /// Not JSON, or a missing, mistyped or duplicate member.
    #[error("reading a DSSE envelope: {0}")]
    Json(String),
    /// Another payload type.
    #[error("the DSSE envelope has another payload type: expected {expected}")]
    PayloadType {
        /// The expected type.
        expected: &'static str,
    },
    /// No signature or several.
    #[error("the DSSE envelope has {0} signatures: expected one")]
    Signatures(usize),
    /// An empty `keyid`, or one longer than [`MAX_KEY_ID`].
    #[error("the DSSE envelope's keyid: expected 1 to {MAX_KEY_ID} bytes")]
    KeyId,
    /// A member that is not base64, or a signature that does not have 64 bytes.
    #[error("the DSSE envelope's {0}: expected base64{1}")]
    Base64(&'static str, &'static str),
}

/// A parsed envelope whose signature is not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The claimed key id. The signature does not cover it.
    pub keyid: String,
    /// The payload, at most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
    payload_type: &'static str,
    signature: [u8; 64],
}

/// Signs `payload` as `payload_type` and returns its envelope: JSON on one line, with standard base64.
pub fn seal(key: &Keypair, keyid: &str, payload_type: &'static str, payload: &[u8]) -> String {
    let sig = STANDARD.encode(key.sign(&pre_auth_encoding(payload_type, payload)));
    let json = Json {
        payload: STANDARD.encode(payload).into(),
        payload_type: payload_type.into(),
        signatures: vec![JsonSignature { keyid: keyid.into(), sig: sig.into() }],
    };
    serde_json::to_string(&json).expect("strings alone always serialise")
}

impl Envelope {
    /// The signature, unverified.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// Parses an envelope of the given payload type. Members may be in any order; unknown members are ignored.
    pub fn parse(json: &str, payload_type: &'static str) -> Result<Self, DsseError> {
        if json.len() > MAX_ENVELOPE {
            return Err(DsseError::TooLarge);
        }
        let parts: Json = serde_json::from_str(json).map_err(|error| DsseError::Json(error.to_string()))?;
        if parts.payload_type != payload_type {
            return Err(DsseError::PayloadType { expected: payload_type });
        }
        let [JsonSignature { keyid, sig }] = &parts.signatures[..] else {
            return Err(DsseError::Signatures(parts.signatures.len()));
        };
        if keyid.is_empty() || keyid.len() > MAX_KEY_ID {
            return Err(DsseError::KeyId);
        }
        let signature = decode(sig)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(DsseError::Base64("sig", " of 64 bytes"))?;
        let payload = decode(&parts.payload).ok_or(DsseError::Base64("payload", ""))?;
        if payload.len() > MAX_PAYLOAD {
            return Err(DsseError::TooLarge);
        }
        Ok(Self { keyid: keyid.as_ref().into(), payload, payload_type, signature })
    }

    /// Returns whether `key` signed the payload as this payload type.
    pub fn verify(&self, key: &PublicKey) -> bool {
        key.verify(&pre_auth_encoding(self.payload_type, &self.payload), &self.signature)
    }
}

/// The JSON form. Serde rejects duplicate members and ignores unknown ones.
#[derive(Serialize, Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(borrow, rename = "payloadType")]
    payload_type: Cow<'a, str>,
    #[serde(borrow)]
    signatures: Vec<JsonSignature<'a>>,
}

#[derive(Serialize, Deserialize)]
struct JsonSignature<'a> {
    #[serde(borrow)]
    keyid: Cow<'a, str>,
    #[serde(borrow)]
    sig: Cow<'a, str>,
}

/// Returns the signed bytes: `PAE(type, body)` of the specification.
fn pre_auth_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Decodes base64 in either alphabet, as the specification requires, with or without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    const EITHER_PADDING: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD_ALPHABET: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);
    const URL_SAFE_ALPHABET: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);
    STANDARD_ALPHABET.decode(text).or_else(|_| URL_SAFE_ALPHABET.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const TYPE: &str = "application/vnd.example+json";

    /// Has `+` and `/` in its base64, where the alphabets differ.
    const PAYLOAD: &[u8] = b"{\"node_id\":\"node-1\",\"x\":\"\xc3\xbf\xc3\xbe>>>???\"}";

    fn pair() -> Keypair {
        Keypair::generate().expect("random source")
    }

    fn sealed(key: &Keypair) -> Value {
        serde_json::from_str(&seal(key, "node-1", TYPE, PAYLOAD)).expect("own JSON")
    }

    fn parse(value: &Value) -> Result<Envelope, DsseError> {
        Envelope::parse(&value.to_string(), TYPE)
    }

    #[test]
    fn specification_test_vector() {
        assert_eq!(
            pre_auth_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(pre_auth_encoding("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn round_trip() {
        let key = pair();
        let json = seal(&key, "node-1", TYPE, PAYLOAD);
        assert!(!json.contains(char::is_whitespace), "{json}");
        let envelope = Envelope::parse(&json, TYPE).expect("own envelope");
        assert_eq!((envelope.keyid.as_str(), &envelope.payload[..]), ("node-1", PAYLOAD));
        assert!(envelope.verify(key.public()));
        assert!(!envelope.verify(pair().public()));
    }

    #[test]
    fn all_base64_forms_are_accepted() {
        let key = pair();
        let sealed = sealed(&key);
        let sig = STANDARD.decode(sealed["signatures"][0]["sig"].as_str().expect("text")).expect("base64");
        assert!(STANDARD.encode(PAYLOAD).contains(['+', '/']));
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
            let mut copy = sealed.clone();
            copy["payload"] = engine.encode(PAYLOAD).into();
            copy["signatures"][0]["sig"] = engine.encode(&sig).into();
            assert!(parse(&copy).expect("allowed form").verify(key.public()));
        }
        let escaped = sealed.to_string().replace('/', "\\/");
        assert!(Envelope::parse(&escaped, TYPE).expect("escaped slashes").verify(key.public()));
    }

    #[test]
    fn changed_envelopes_do_not_verify() {
        let key = pair();
        let envelope = Envelope::parse(&seal(&key, "node-1", TYPE, PAYLOAD), TYPE).expect("own envelope");
        for at in 0..envelope.payload.len() {
            let mut copy = envelope.clone();
            copy.payload[at] ^= 1;
            assert!(!copy.verify(key.public()), "payload byte {at}");
        }
        for at in 0..64 {
            let mut copy = envelope.clone();
            copy.signature[at] ^= 0x20;
            assert!(!copy.verify(key.public()), "signature byte {at}");
        }
        for payload in [&PAYLOAD[1..], &PAYLOAD[..PAYLOAD.len() - 1], &[PAYLOAD, b" "].concat(), b""] {
            assert!(!Envelope { payload: payload.to_vec(), ..envelope.clone() }.verify(key.public()));
        }
        // Signed by the right key, but as another type.
        let signature = key.sign(&pre_auth_encoding("application/json", PAYLOAD));
        assert!(!Envelope { signature, ..envelope }.verify(key.public()));
    }

    #[test]
    fn malformed_envelopes() {
        let good = sealed(&pair());
        let one = &good["signatures"][0];
        let check = |member: &str, value: Value, expected: DsseError| {
            let mut copy = good.clone();
            copy[member] = value;
            assert_eq!(parse(&copy), Err(expected), "{member}");
        };
        check("payloadType", json!("application/json"), DsseError::PayloadType { expected: TYPE });
        check("payloadType", json!(TYPE.to_uppercase()), DsseError::PayloadType { expected: TYPE });
        check("payload", json!("a b"), DsseError::Base64("payload", ""));
        check("payload", json!("+_+_"), DsseError::Base64("payload", ""));
        check("signatures", json!([]), DsseError::Signatures(0));
        check("signatures", json!([one, one]), DsseError::Signatures(2));
        for (keyid, sig, expected) in [
            (json!(""), one["sig"].clone(), DsseError::KeyId),
            (json!("k".repeat(MAX_KEY_ID + 1)), one["sig"].clone(), DsseError::KeyId),
            (json!("node-1"), json!(""), DsseError::Base64("sig", " of 64 bytes")),
            (json!("node-1"), json!(STANDARD.encode([0; 63])), DsseError::Base64("sig", " of 64 bytes")),
            (json!("node-1"), json!(STANDARD.encode([0; 65])), DsseError::Base64("sig", " of 64 bytes")),
        ] {
            check("signatures", json!([{"keyid": keyid, "sig": sig}]), expected);
        }
    }

    #[test]
    fn invalid_json() {
        let key = pair();
        let good = seal(&key, "node-1", TYPE, PAYLOAD);
        let body = good.strip_prefix('{').expect("an object");
        let deep = format!("{{\"x\":{}{},{body}", "[".repeat(60_000), "]".repeat(60_000));
        for bad in [
            "",
            "null",
            "[]",
            "{}",
            "{\"payload\":1}",
            &good[..good.len() - 1],
            &format!("{good}{good}"),
            &format!("{{\"payload\":\"\",{body}"),
            &format!("{{\"payloadType\":\"\",{body}"),
            &format!("{{\"signatures\":[],{body}"),
            &good.replace("\"keyid\":", "\"keyid\":\"node-2\",\"keyid\":"),
            &good.replace("\"sig\":", "\"sig\":\"\",\"sig\":"),
            &good.replace("\"keyid\":\"node-1\",", ""),
            &good.replace("\"node-1\"", "null"),
        ] {
            assert!(matches!(Envelope::parse(bad, TYPE), Err(DsseError::Json(_))), "{bad}");
        }
        // Deep nesting in an ignored member must return, with any result.
        let _ = Envelope::parse(&deep, TYPE);
        let foreign = format!("{{\"mediaType\":[{{}}],{body}");
        assert!(Envelope::parse(&foreign, TYPE).expect("unknown members are ignored").verify(key.public()));
    }

    #[test]
    fn size_limits() {
        let key = pair();
        let largest =
            Envelope::parse(&seal(&key, "node-1", TYPE, &vec![b'x'; MAX_PAYLOAD]), TYPE).expect("fits");
        assert!(largest.verify(key.public()));
        for size in [MAX_PAYLOAD + 1, MAX_PAYLOAD * 2] {
            let json = seal(&key, "node-1", TYPE, &vec![b'x'; size]);
            assert_eq!(Envelope::parse(&json, TYPE), Err(DsseError::TooLarge), "{size}");
        }
        let small = seal(&key, "node-1", TYPE, PAYLOAD);
        let padded = |size| " ".repeat(size - small.len()) + &small;
        assert!(Envelope::parse(&padded(MAX_ENVELOPE), TYPE).is_ok());
        assert_eq!(Envelope::parse(&padded(MAX_ENVELOPE + 1), TYPE), Err(DsseError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_payload_comes_back(payload in prop::collection::vec(any::<u8>(), 0..2000), keyid in "[a-z\"\\\\é]{1,64}") {
            let key = pair();
            let envelope = Envelope::parse(&seal(&key, &keyid, TYPE, &payload), TYPE).expect("own envelope");
            prop_assert!(envelope.verify(key.public()));
            prop_assert_eq!((envelope.keyid, envelope.payload), (keyid, payload));
        }

        #[test]
        fn no_text_panics(text in ".{0,300}") {
            let _ = Envelope::parse(&text, TYPE);
        }
    }
}
