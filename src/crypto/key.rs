//! Ed25519 keys (RFC 8032) in standard encodings: PKCS#8 and `SubjectPublicKeyInfo` (RFC 8410), as PEM or as the
//! base64 of the DER.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The reason why a key was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a public key in the expected encoding.
    #[error("expected an Ed25519 public key as {0}")]
    NotPublic(&'static str),
    /// Not a private key in the expected encoding.
    #[error("expected an Ed25519 private key as PEM PKCS#8 (\"-----BEGIN PRIVATE KEY-----\")")]
    NotPrivate,
    /// A point of small order, for which anybody can make signatures.
    #[error("this public key is weak (a point of small order); generate a new pair")]
    Weak,
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Decodes `-----BEGIN PUBLIC KEY-----` (RFC 7468).
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_public_key_pem(pem.trim())
            .map_err(|_| KeyError::NotPublic("PEM SubjectPublicKeyInfo (\"-----BEGIN PUBLIC KEY-----\")"))?;
        Self::reject_weak(key)
    }

    /// Decodes the base64 of a DER `SubjectPublicKeyInfo`: a PEM file without its first and last line.
    pub fn from_base64_spki(text: &str) -> Result<Self, KeyError> {
        const FORM: KeyError = KeyError::NotPublic("base64 SubjectPublicKeyInfo (\"MCowBQYDK2VwAyEA…\")");
        let der = STANDARD.decode(text.trim()).map_err(|_| FORM)?;
        Self::reject_weak(VerifyingKey::from_public_key_der(&der).map_err(|_| FORM)?)
    }

    /// Decodes the 32 bytes of RFC 8032, section 5.1.5.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        Self::reject_weak(VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotPublic("32 bytes"))?)
    }

    fn reject_weak(key: VerifyingKey) -> Result<Self, KeyError> {
        if key.is_weak() { Err(KeyError::Weak) } else { Ok(Self(key)) }
    }

    /// Returns the 32 bytes of RFC 8032, section 5.1.5.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Returns the PEM `SubjectPublicKeyInfo`.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("a valid key has a PEM form")
    }

    /// Returns the base64 of the DER `SubjectPublicKeyInfo`, the form of `public_key` in config.yml.
    pub fn to_base64_spki(&self) -> String {
        STANDARD.encode(self.0.to_public_key_der().expect("a valid key has a DER form").as_bytes())
    }

    /// Returns `SHA256:` and the unpadded base64 of the SHA-256 of the 32 bytes, to be compared by people.
    pub fn fingerprint(&self) -> String {
        let hash = Sha256::digest(self.as_bytes());
        format!("SHA256:{}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(hash))
    }

    /// Returns whether this key made `signature` over `message`. Strict: all verifiers agree on the result.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_base64_spki())
    }
}

/// A private key with its public key. Debug output hides it, and drop wipes it.
#[derive(Clone)]
pub struct Keypair {
    signing: SigningKey,
    public: PublicKey,
}

impl Keypair {
    /// Generates a key from the random source of the system.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)?;
        Ok(Self::from_signing(SigningKey::from_bytes(&seed)))
    }

    /// Decodes `-----BEGIN PRIVATE KEY-----`, with or without the public key inside (RFC 8410, section 7).
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(pem.trim()).map(Self::from_signing).map_err(|_| KeyError::NotPrivate)
    }

    fn from_signing(signing: SigningKey) -> Self {
        let public = PublicKey(signing.verifying_key());
        Self { signing, public }
    }

    /// Returns the PEM PKCS#8 without the public key, which OpenSSL and Python's `cryptography` accept.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let bare =
            ed25519_dalek::pkcs8::KeypairBytes { secret_key: self.signing.to_bytes(), public_key: None };
        bare.to_pkcs8_pem(LineEnding::LF).expect("a valid key has a PEM form")
    }

    /// Returns the public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Returns the Ed25519 signature of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for Keypair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keypair({})", self.public.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_round_trip() {
        let pair = Keypair::generate().expect("random source");
        let again = Keypair::from_pem(&pair.to_pem()).expect("own PEM");
        assert_eq!(again.public(), pair.public());
        assert_eq!(&PublicKey::from_pem(&pair.public().to_pem()).expect("own PEM"), pair.public());
        assert_eq!(
            &PublicKey::from_base64_spki(&pair.public().to_base64_spki()).expect("own"),
            pair.public()
        );
        assert!(pair.public().verify(b"text", &again.sign(b"text")));
        assert!(!pair.public().verify(b"other", &again.sign(b"text")));
    }

    #[test]
    fn weak_and_malformed_keys_are_rejected() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(&identity), Err(KeyError::Weak));
        assert!(matches!(PublicKey::from_pem("garbage"), Err(KeyError::NotPublic(_))));
        assert!(matches!(PublicKey::from_base64_spki("AAAA"), Err(KeyError::NotPublic(_))));
        assert_eq!(Keypair::from_pem("garbage").map(|_| ()), Err(KeyError::NotPrivate));
    }
}
