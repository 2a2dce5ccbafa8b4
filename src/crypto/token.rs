//! Login tokens: JWT (RFC 7519) signed with `EdDSA` (RFC 8037), and no other way. Which networks a token
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
    /// When the password was given, in seconds since 1970 (`OpenID` Connect Core, section 2): only tokens that
    /// may be renewed carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<u64>,
    /// What ties it to its issuer's password, for the issuer alone to check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
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
    sign(key, kid, &claims(issuer, audience, now_s, lifetime_s))
}

/// What a token says that is issued at `now_s` (seconds since 1970) and ends after `lifetime_s`, at most
/// [`MAX_LIFETIME_S`]. It cannot be renewed.
pub fn claims(issuer: &str, audience: &[String], now_s: u64, lifetime_s: u64) -> Claims {
    Claims {
        iss: issuer.into(),
        sub: SUBJECT.into(),
        aud: audience.to_vec(),
        iat: now_s,
        exp: now_s.saturating_add(lifetime_s.min(MAX_LIFETIME_S)),
        auth_time: None,
        login: None,
    }
}

/// A token that says `claims`.
pub fn sign(key: &Keypair, kid: &str, claims: &Claims) -> String {
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::EdDSA) };
    // Not `jsonwebtoken::encode`: it would want a copy of the private key that nobody wipes.
    let mut token = part(&header);
    token.push('.');
    token.push_str(&part(claims));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

/// The `kid` in the header of a token signed with `EdDSA`, to look up the key that is to verify it. Nothing
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the type is jsonwebtoken's")]
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
mod tests;
