//! Login tokens: JWT (RFC 7519) signed with EdDSA (RFC 8037), and no other way. Which networks a token
//! opens is not decided here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwkUtils, JwtVerifier};
use jsonwebtoken::errors::{ErrorKind, Result as JwtResult};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};

use super::{Keypair, MAX_KEY_ID, PublicKey};

/// The longest time between a token's issue and its end, in seconds.
pub const MAX_LIFETIME_S: u64 = 30 * 60;

/// How far the clocks of issuer and verifier may differ, in seconds.
pub const LEEWAY_S: u64 = 60;

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 4096;

/// The one user.
pub const SUBJECT: &str = "admin";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Who holds it: always [`SUBJECT`].
    pub sub: String,
    /// What it opens.
    pub aud: Vec<String>,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// From when on it is worth nothing, in seconds since 1970.
    pub exp: u64,
}

/// Why a token is not taken. To its holder, all but the first are the same refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over: log in again.
    #[error("the token has expired; log in again")]
    Expired,
    /// Not a JWT, or longer than [`MAX_TOKEN`], or a claim is missing or of a wrong type.
    #[error(
        "this is not a token: expected a JWT with iss, sub, aud, iat and exp of at most {MAX_TOKEN} bytes"
    )]
    Malformed,
    /// Another algorithm, none, or a header that demands what is not understood.
    #[error("the token is not signed with EdDSA alone")]
    Algorithm,
    /// Not signed by the key.
    #[error("the token's signature is not its issuer's")]
    Signature,
    /// Issued by or for somebody else.
    #[error("the token has another issuer, subject or audience")]
    Foreign,
    /// Made to live longer than [`MAX_LIFETIME_S`], or ends before it begins.
    #[error("the token lives longer than {MAX_LIFETIME_S} s, or ends before it begins")]
    Lifetime,
    /// Issued later than now.
    #[error("the token was issued in the future; compare the nodes' clocks")]
    Early,
}

/// Issues a token at `now_s` (seconds since 1970) that ends after `lifetime_s`, at most
/// [`MAX_LIFETIME_S`].
pub fn issue(
    key: &Keypair,
    kid: &str,
    issuer: &str,
    audience: &[String],
    now_s: u64,
    lifetime_s: u64,
) -> String {
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::EdDSA) };
    let claims = Claims {
        iss: issuer.into(),
        sub: SUBJECT.into(),
        aud: audience.to_vec(),
        iat: now_s,
        exp: now_s.saturating_add(lifetime_s.min(MAX_LIFETIME_S)),
    };
    // Not `jsonwebtoken::encode`: it would want a copy of the private key that nobody wipes.
    let mut token = part(&header);
    token.push('.');
    token.push_str(&part(&claims));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

/// The `kid` in the header of a token signed with EdDSA, to look up the key that is to verify it. Nothing
/// is verified yet.
pub fn key_id(token: &str) -> Option<String> {
    header(token).ok()?.kid.filter(|kid| (1..=MAX_KEY_ID).contains(&kid.len()))
}

/// The claims of a token that `key` signed, from `issuer`, for `audience` among others, and good at
/// `now_s` (seconds since 1970).
pub fn verify(
    token: &str,
    key: &PublicKey,
    issuer: &str,
    audience: &str,
    now_s: u64,
) -> Result<Claims, TokenError> {
    header(token)?;
    // It fails if a provider is there already, which can only be this one.
    let _ = PROVIDER.install_default();
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[audience]);
    rules.sub = Some(SUBJECT.into());
    // The library reads the clock itself; times are judged below, by the caller's.
    rules.validate_exp = false;
    let key = DecodingKey::from_ed_der(key.as_bytes());
    let claims = decode::<Claims>(token, &key, &rules).map_err(|error| refusal(error.kind()))?.claims;
    match claims.exp.checked_sub(claims.iat) {
        Some(0..=MAX_LIFETIME_S) => {}
        _ => return Err(TokenError::Lifetime),
    }
    if claims.iat > now_s.saturating_add(LEEWAY_S) {
        return Err(TokenError::Early);
    }
    if claims.exp.saturating_add(LEEWAY_S) <= now_s {
        return Err(TokenError::Expired);
    }
    Ok(claims)
}

fn part<T: Serialize>(value: &T) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("strings and integers always serialise"))
}

fn header(token: &str) -> Result<Header, TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::Malformed);
    }
    let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
    // RFC 7515, section 4.1.11: what `crit` names must be understood, and nothing of it is.
    if header.alg != Algorithm::EdDSA || header.crit.is_some() {
        return Err(TokenError::Algorithm);
    }
    Ok(header)
}

fn refusal(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidSubject | ErrorKind::InvalidAudience => {
            TokenError::Foreign
        }
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => TokenError::Algorithm,
        _ => TokenError::Malformed,
    }
}

/// The one algorithm, from the crate that the rest of Distomon uses. No private key ever comes in here.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: eddsa_verifier,
    // Panics when called, which only the handling of JWKs does; there is none.
    jwk_utils: JwkUtils::new_unimplemented(),
};

fn eddsa_verifier(algorithm: &Algorithm, key: &DecodingKey) -> JwtResult<Box<dyn JwtVerifier>> {
    if *algorithm != Algorithm::EdDSA {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let key = key.as_bytes().try_into().ok().and_then(|bytes| PublicKey::from_bytes(bytes).ok());
    Ok(Box::new(EdDsa(key.ok_or(ErrorKind::InvalidKeyFormat)?)))
}

struct EdDsa(PublicKey);

impl Verifier<Vec<u8>> for EdDsa {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let signature = signature.as_slice().try_into().map_err(|_| SignatureError::new())?;
        if self.0.verify(message, signature) { Ok(()) } else { Err(SignatureError::new()) }
    }
}

impl JwtVerifier for EdDsa {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use sha2::{Digest as _, Sha256};

    const NOW: u64 = 1_763_884_912;
    const KID: &str = "net-1/node-1";

    fn pair() -> Keypair {
        Keypair::generate().expect("random source")
    }

    fn audience() -> Vec<String> {
        vec!["net-1".into(), "net-2".into()]
    }

    fn fresh(key: &Keypair) -> String {
        issue(key, KID, "node-1", &audience(), NOW, 600)
    }

    fn check(token: &str, key: &PublicKey, now_s: u64) -> Result<Claims, TokenError> {
        verify(token, key, "node-1", "net-1", now_s)
    }

    /// A token of any header and claims, truly signed.
    fn sign(key: &Keypair, header: &Value, claims: &Value) -> String {
        sign_text(key, &header.to_string(), &claims.to_string())
    }

    fn sign_text(key: &Keypair, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn good_header() -> Value {
        json!({"typ": "JWT", "alg": "EdDSA", "kid": KID})
    }

    fn good_claims() -> Value {
        json!({"iss": "node-1", "sub": "admin", "aud": ["net-1"], "iat": NOW, "exp": NOW + 600})
    }

    #[test]
    fn round_trip() {
        let key = pair();
        let token = fresh(&key);
        assert_eq!(key_id(&token).as_deref(), Some(KID));
        let claims = check(&token, key.public(), NOW).expect("own token");
        let expected =
            Claims { iss: "node-1".into(), sub: "admin".into(), aud: audience(), iat: NOW, exp: NOW + 600 };
        assert_eq!(claims, expected);
        assert!(verify(&token, key.public(), "node-1", "net-2", NOW).is_ok());
        assert!(check(&sign(&key, &good_header(), &good_claims()), key.public(), NOW).is_ok());
        let longest = issue(&key, KID, "node-1", &audience(), NOW, u64::MAX);
        assert_eq!(check(&longest, key.public(), NOW).expect("clamped").exp, NOW + MAX_LIFETIME_S);
    }

    #[test]
    fn the_vector_of_the_rfc() {
        // RFC 8037, appendix A.4: its signature is good, its payload is a sentence and so no claims.
        let bytes = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("base64");
        let key = PublicKey::from_bytes(&bytes.try_into().expect("32 bytes")).expect("the RFC's key");
        let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
            hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(check(token, &key, NOW), Err(TokenError::Malformed));
        assert_eq!(check(token, pair().public(), NOW), Err(TokenError::Signature));
    }

    #[test]
    fn times() {
        let key = pair();
        let token = fresh(&key);
        for (now, expected) in [
            (NOW - LEEWAY_S, None),
            (NOW - LEEWAY_S - 1, Some(TokenError::Early)),
            (0, Some(TokenError::Early)),
            (NOW + 600 + LEEWAY_S - 1, None),
            (NOW + 600 + LEEWAY_S, Some(TokenError::Expired)),
            (u64::MAX, Some(TokenError::Expired)),
        ] {
            assert_eq!(check(&token, key.public(), now).err(), expected, "{now}");
        }
    }

    #[test]
    fn truly_signed_but_not_right() {
        let key = pair();
        let with = |name: &str, value: Value| {
            let mut claims = good_claims();
            claims[name] = value;
            sign(&key, &good_header(), &claims)
        };
        let without = |name: &str| {
            let mut claims = good_claims();
            claims.as_object_mut().expect("object").remove(name);
            sign(&key, &good_header(), &claims)
        };
        let text = good_claims().to_string();
        let twice = format!("{{\"iss\":\"node-1\",{}", &text[1..]);
        for (token, expected) in [
            (with("iss", json!("node-2")), TokenError::Foreign),
            (with("iss", json!(["node-1", "node-2"])), TokenError::Malformed),
            (with("sub", json!("root")), TokenError::Foreign),
            (with("aud", json!(["net-2"])), TokenError::Foreign),
            (with("aud", json!([])), TokenError::Foreign),
            (with("aud", json!(1)), TokenError::Malformed),
            (with("exp", json!(NOW + MAX_LIFETIME_S + 1)), TokenError::Lifetime),
            (with("exp", json!(u64::MAX)), TokenError::Lifetime),
            (with("exp", json!(NOW - 1)), TokenError::Lifetime),
            (with("exp", json!((NOW + 600).to_string())), TokenError::Malformed),
            (with("exp", json!(1.5)), TokenError::Malformed),
            (with("exp", json!(-1)), TokenError::Malformed),
            (with("iat", json!(NOW + LEEWAY_S + 1)), TokenError::Early),
            (with("iat", json!(0)), TokenError::Lifetime),
            (with("iat", Value::Null), TokenError::Malformed),
            (without("iss"), TokenError::Malformed),
            (without("sub"), TokenError::Malformed),
            (without("aud"), TokenError::Malformed),
            (without("iat"), TokenError::Malformed),
            (without("exp"), TokenError::Malformed),
            (sign_text(&key, &good_header().to_string(), &twice), TokenError::Malformed),
            (sign_text(&key, &good_header().to_string(), "[]"), TokenError::Malformed),
            (sign_text(&key, &good_header().to_string(), ""), TokenError::Malformed),
        ] {
            assert_eq!(check(&token, key.public(), NOW), Err(expected), "{token}");
        }
    }

    #[test]
    fn other_algorithms() {
        let key = pair();
        let claims = URL_SAFE_NO_PAD.encode(good_claims().to_string());
        let secrets = [key.public().as_bytes().to_vec(), key.public().to_pem().into_bytes()];
        for alg in ["none", "None", "HS256", "HS512", "RS256", "ES256", "eddsa", "Ed25519", ""] {
            let header = json!({"typ": "JWT", "alg": alg, "kid": KID});
            let message = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header.to_string()));
            let mut signatures = vec![Vec::new(), key.sign(message.as_bytes()).to_vec()];
            signatures.extend(secrets.iter().map(|secret| hmac_sha256(secret, message.as_bytes())));
            for signature in signatures {
                let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
                let found = check(&token, key.public(), NOW).expect_err(&token);
                assert!(matches!(found, TokenError::Algorithm | TokenError::Malformed), "{alg}: {found}");
                assert_eq!(key_id(&token), None, "{alg}");
            }
        }
        let critical = json!({"alg": "EdDSA", "kid": KID, "crit": ["b64"], "b64": "x"});
        let token = sign(&key, &critical, &good_claims());
        assert_eq!(check(&token, key.public(), NOW), Err(TokenError::Algorithm));
    }

    #[test]
    fn keys_in_the_header_are_worth_nothing() {
        let (key, thief) = (pair(), pair());
        let x = URL_SAFE_NO_PAD.encode(thief.public().as_bytes());
        let header = json!({"alg": "EdDSA", "kid": KID, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}, "jku": "http://thief/"});
        let token = sign(&thief, &header, &good_claims());
        assert_eq!(check(&token, key.public(), NOW), Err(TokenError::Signature));
    }

    #[test]
    fn each_byte_counts() {
        let key = pair();
        let token = fresh(&key);
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'Q' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(check(&changed, key.public(), NOW).is_err(), "{changed}");
        }
        assert_eq!(check(&token, pair().public(), NOW), Err(TokenError::Signature));
    }

    #[test]
    fn no_tokens() {
        let key = pair();
        let good = fresh(&key);
        let (message, _) = good.rsplit_once('.').expect("three parts");
        let many = issue(&key, KID, "node-1", &vec!["n".repeat(64); 80], NOW, 600);
        for bad in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            "é.é.é",
            message,
            &format!("{message}."),
            &format!("{good}="),
            &format!("{good}.{good}"),
            &format!(" {good}"),
            &many,
            &"a".repeat(1 << 20),
        ] {
            assert!(check(bad, key.public(), NOW).is_err(), "{bad:.80}");
        }
        for bad in ["", "..", "a.b.c", &many, &"a".repeat(1 << 20)] {
            assert_eq!(key_id(bad), None, "{bad:.80}");
        }
        let long = json!({"alg": "EdDSA", "kid": "k".repeat(MAX_KEY_ID + 1)});
        assert_eq!(key_id(&sign(&key, &long, &good_claims())), None);
        assert_eq!(key_id(&sign(&key, &json!({"alg": "EdDSA"}), &good_claims())), None);
    }

    /// RFC 2104, to forge with.
    fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
        let mut block = [0; 64];
        if key.len() > 64 {
            block[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let inner =
            Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
        Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
    }

    proptest! {
        #[test]
        fn no_text_panics(header in ".{0,60}", claims in ".{0,60}", raw in "\\PC{0,100}") {
            let key = pair();
            let _ = check(&raw, key.public(), NOW);
            let _ = key_id(&raw);
            let token = sign_text(&key, &header, &claims);
            prop_assert!(check(&token, key.public(), NOW).is_err());
        }
    }
}
