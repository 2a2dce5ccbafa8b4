//! Login tokens: JWT (RFC 7519) signed with `EdDSA` (RFC 8037) only. This module does not decide which networks a token
//! gives access to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwkUtils, JwtVerifier};
use jsonwebtoken::errors::{ErrorKind, Result as JwtResult};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};

use super::{Keypair, MAX_KEY_ID, PublicKey};

/// The longest lifetime of a token, in seconds.
pub const MAX_LIFETIME_S: u64 = 30 * 60;

/// The tolerated difference between the clocks of issuer and verifier, in seconds.
pub const LEEWAY_S: u64 = 60;

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 4096;

/// The name of the only user.
pub const SUBJECT: &str = "admin";

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer: the id of the node that signed it.
    pub iss: String,
    /// The user: always [`SUBJECT`].
    pub sub: String,
    /// The networks to which it gives access.
    pub aud: Vec<String>,
    /// The time of issue, in seconds since 1970.
    pub iat: u64,
    /// The time of expiry, in seconds since 1970.
    pub exp: u64,
    /// The time of the login with a password, in seconds since 1970 (`OpenID` Connect Core, section 2). Only
    /// renewable tokens have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<u64>,
    /// The session, the same in all its tokens (`OpenID` Connect Front-Channel Logout, section 3). Only renewable tokens
    /// have it, and only their issuer can revoke it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// A value that binds it to the password of the issuer, which alone can check it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

/// The reason why a token was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// After `exp` and [`LEEWAY_S`].
    #[error("the token has expired; log in again")]
    Expired,
    /// Not a JWT, longer than [`MAX_TOKEN`], or with a claim that is missing or has a wrong type.
    #[error(
        "the token is malformed: expected a JWT with iss, sub, aud, iat and exp of at most {MAX_TOKEN} bytes"
    )]
    Malformed,
    /// Another algorithm, no algorithm, or a `crit` header, none of whose extensions are supported.
    #[error("the token's algorithm is not supported: expected EdDSA without crit")]
    Algorithm,
    /// Of a session that a logout has ended.
    #[error("the session has ended; log in again")]
    Revoked,
    /// A signature by another key.
    #[error("the token's signature does not verify with the issuer's key")]
    Signature,
    /// Another issuer, subject or audience.
    #[error("the token has another issuer, subject or audience")]
    OtherParty,
    /// `exp` more than [`MAX_LIFETIME_S`] after `iat`, or before it.
    #[error("the token's lifetime is not between 0 and {MAX_LIFETIME_S} s")]
    Lifetime,
    /// `iat` more than [`LEEWAY_S`] in the future.
    #[error("the token was issued in the future; compare the nodes' clocks")]
    IssuedInFuture,
}

impl Claims {
    /// Returns the claims of a token that is issued at `now_s` (seconds since 1970) and expires after `lifetime_s`,
    /// at most [`MAX_LIFETIME_S`]. It is not renewable.
    pub fn new(issuer: &str, audience: &[String], now_s: u64, lifetime_s: u64) -> Self {
        Self {
            iss: issuer.into(),
            sub: SUBJECT.into(),
            aud: audience.to_vec(),
            iat: now_s,
            exp: now_s.saturating_add(lifetime_s.min(MAX_LIFETIME_S)),
            auth_time: None,
            sid: None,
            login: None,
        }
    }
}

/// Returns a new id for [`Claims::sid`]: 128 random bits in base64url.
pub fn new_session_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Issues a token with `claims`, signed by `key` with the key id `kid`.
pub fn sign(key: &Keypair, kid: &str, claims: &Claims) -> String {
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::EdDSA) };
    // `jsonwebtoken::encode` would keep a copy of the private key that is not wiped.
    let mut token = encode_part(&header);
    token.push('.');
    token.push_str(&encode_part(claims));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

/// Returns the `kid` in the header of an `EdDSA` token, to find the key for [`verify`]. It is not verified.
pub fn key_id(token: &str) -> Option<String> {
    header(token).ok()?.kid.filter(|kid| (1..=MAX_KEY_ID).contains(&kid.len()))
}

/// Verifies that `key` signed the token, that `issuer` issued it, that its audience includes `audience`, and that
/// it is valid at `now_s` (seconds since 1970). Returns its claims.
pub fn verify(
    token: &str,
    key: &PublicKey,
    issuer: &str,
    audience: &str,
    now_s: u64,
) -> Result<Claims, TokenError> {
    header(token)?;
    // Fails if a provider is already installed, which can only be this one.
    let _ = PROVIDER.install_default();
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[audience]);
    rules.sub = Some(SUBJECT.into());
    // The check of the library reads the system clock; the checks below use `now_s`.
    rules.validate_exp = false;
    let key = DecodingKey::from_ed_der(key.as_bytes());
    let claims = decode::<Claims>(token, &key, &rules).map_err(|error| token_error(error.kind()))?.claims;
    match claims.exp.checked_sub(claims.iat) {
        Some(0..=MAX_LIFETIME_S) => {}
        _ => return Err(TokenError::Lifetime),
    }
    if claims.iat > now_s.saturating_add(LEEWAY_S) {
        return Err(TokenError::IssuedInFuture);
    }
    if claims.exp.saturating_add(LEEWAY_S) <= now_s {
        return Err(TokenError::Expired);
    }
    Ok(claims)
}

fn encode_part<T: Serialize>(value: &T) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("strings and integers always serialise"))
}

fn header(token: &str) -> Result<Header, TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::Malformed);
    }
    let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
    // RFC 7515, section 4.1.11: a token with an extension in `crit` that is not supported is invalid.
    if header.alg != Algorithm::EdDSA || header.crit.is_some() {
        return Err(TokenError::Algorithm);
    }
    Ok(header)
}

fn token_error(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidSubject | ErrorKind::InvalidAudience => {
            TokenError::OtherParty
        }
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => TokenError::Algorithm,
        _ => TokenError::Malformed,
    }
}

/// Verification with the Ed25519 implementation of [`PublicKey`]. Cannot sign: the library gets no private key.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: eddsa_verifier,
    // Panics when called. Only JWK functions call it, and this program uses none.
    jwk_utils: JwkUtils::new_unimplemented(),
};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the type is jsonwebtoken's")]
fn eddsa_verifier(algorithm: &Algorithm, key: &DecodingKey) -> JwtResult<Box<dyn JwtVerifier>> {
    if *algorithm != Algorithm::EdDSA {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let key = key.as_bytes().try_into().ok().and_then(|bytes| PublicKey::from_bytes(bytes).ok());
    Ok(Box::new(EdDsaVerifier(key.ok_or(ErrorKind::InvalidKeyFormat)?)))
}

struct EdDsaVerifier(PublicKey);

impl Verifier<Vec<u8>> for EdDsaVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let signature = signature.as_slice().try_into().map_err(|_| SignatureError::new())?;
        if self.0.verify(message, signature) { Ok(()) } else { Err(SignatureError::new()) }
    }
}

impl JwtVerifier for EdDsaVerifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests;
