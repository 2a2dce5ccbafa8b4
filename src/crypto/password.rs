//! The login password, as plain text or as an argon2id hash (RFC 9106).

use argon2::password_hash::{PasswordHash, PasswordHashString, PasswordHasher as _, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordVerifier as _, Version};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The longest password, in bytes.
pub const MAX_PASSWORD: usize = 1024;

/// The longest hash in PHC form, in bytes.
const MAX_HASH: usize = 512;

/// The largest memory parameter of a hash, in KiB: 256 MiB.
const MAX_MEMORY_KIB: u32 = 256 * 1024;

/// The largest pass parameter of a hash.
const MAX_PASSES: u32 = 16;
/// The largest lane parameter of a hash.
const MAX_LANES: u32 = 16;

/// A password that login attempts are compared with. Debug output hides it.
#[derive(Clone)]
pub struct Password(Stored);

#[derive(Clone)]
enum Stored {
    /// The SHA-256 of the plain text: a fixed length, so that comparison does not leak the length of the text.
    Plain([u8; 32]),
    Argon2id(PasswordHashString),
}

/// The reason why a hash was rejected or could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Not a complete hash in PHC form.
    #[error("expected an argon2id hash as \"$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>\"")]
    Form,
    /// Another algorithm or version.
    #[error("expected an argon2id hash of version 19 (\"$argon2id$v=19$…\"), found another")]
    Kind,
    /// Parameters that cost too much memory or time.
    #[error("the hash is too costly to check: expected m up to {MAX_MEMORY_KIB} (KiB), t and p up to 16")]
    Cost,
    /// An empty password, or one longer than [`MAX_PASSWORD`].
    #[error("expected a password of 1 to {MAX_PASSWORD} bytes")]
    Length,
    /// A failure of the random source of the system.
    #[error("reading the system's random source: {0}")]
    Random(#[source] getrandom::Error),
}

impl Password {
    /// Creates a password from plain text of 1 to [`MAX_PASSWORD`] bytes. No attempt matches a text of another length.
    pub fn from_plain(plain: &str) -> Self {
        Self(Stored::Plain(Sha256::digest(plain).into()))
    }

    /// Parses an argon2id hash in PHC form. Its parameters are bounded, so that an attempt cannot stall the service.
    pub fn from_hash(text: &str) -> Result<Self, PasswordError> {
        if text.len() > MAX_HASH {
            return Err(PasswordError::Form);
        }
        let hash = PasswordHash::new(text).map_err(|_| PasswordError::Form)?;
        let version = hash.version.map(Version::try_from);
        if hash.algorithm != Algorithm::Argon2id.ident() || version != Some(Ok(Version::V0x13)) {
            return Err(PasswordError::Kind);
        }
        // The checks of argon2 overflow with larger numbers, so these run first.
        for (name, max) in [("m", MAX_MEMORY_KIB), ("t", MAX_PASSES), ("p", MAX_LANES)] {
            let value = hash.params.get_decimal(name).ok_or(PasswordError::Form)?;
            if value > max {
                return Err(PasswordError::Cost);
            }
        }
        Params::try_from(&hash).map_err(|_| PasswordError::Form)?;
        let mut buffer = [0; 64];
        let salt = hash.salt.and_then(|salt| salt.decode_b64(&mut buffer).ok()).ok_or(PasswordError::Form)?;
        if salt.len() < argon2::MIN_SALT_LEN || hash.hash.is_none_or(|hash| hash.len() < 16) {
            return Err(PasswordError::Form);
        }
        Ok(Self(Stored::Argon2id(hash.serialize())))
    }

    /// Returns whether an attempt costs much memory and time, so that concurrent attempts must be limited.
    pub fn is_costly(&self) -> bool {
        matches!(self.0, Stored::Argon2id(_))
    }

    /// Returns the stored digest or hash, a secret that changes with the password.
    pub(crate) fn stored(&self) -> &[u8] {
        match &self.0 {
            Stored::Plain(digest) => digest,
            Stored::Argon2id(hash) => hash.as_str().as_bytes(),
        }
    }

    /// Returns whether `attempt` is the password. The time depends only on the length of `attempt`.
    pub fn verify(&self, attempt: &str) -> bool {
        if attempt.is_empty() || attempt.len() > MAX_PASSWORD {
            return false;
        }
        match &self.0 {
            Stored::Plain(digest) => Sha256::digest(attempt).ct_eq(digest).into(),
            Stored::Argon2id(hash) => {
                Argon2::default().verify_password(attempt.as_bytes(), &hash.password_hash()).is_ok()
            }
        }
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_costly() { "Password(argon2id)" } else { "Password(plain)" })
    }
}

/// Generates a password of 140 random bits: seven groups of four letters and digits, none of which look alike.
pub fn generate() -> Result<Zeroizing<String>, PasswordError> {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bytes = Zeroizing::new([0; 28]);
    getrandom::fill(&mut *bytes).map_err(PasswordError::Random)?;
    let mut text = Zeroizing::new(String::with_capacity(34));
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 && index % 4 == 0 {
            text.push('-');
        }
        text.push(char::from(LETTERS[usize::from(byte % 32)]));
    }
    Ok(text)
}

/// Returns the argon2id hash of `plain` in PHC form, with a random salt, 19 MiB, 2 passes and 1 lane.
pub fn hash(plain: &str) -> Result<String, PasswordError> {
    if plain.is_empty() || plain.len() > MAX_PASSWORD {
        return Err(PasswordError::Length);
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(PasswordError::Random)?;
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
    let params = Params::new(19 * 1024, 2, 1, None).expect("the parameters are in range");
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(plain.as_bytes(), &salt)
        .expect("a password of bounded length and a salt have a hash");
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From the tests of the reference implementation: "password" with the salt "somesalt".
    const REFERENCE: &str =
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    #[test]
    fn plain_text() {
        let password = Password::from_plain("Grüße 1");
        assert!(password.verify("Grüße 1"));
        for wrong in ["", "grüße 1", "Grüße", "Grüße 1 ", "Grüße 1\0"] {
            assert!(!password.verify(wrong), "{wrong:?}");
        }
        assert!(!Password::from_plain("").verify(""));
        let long = "x".repeat(MAX_PASSWORD + 1);
        assert!(!Password::from_plain(&long).verify(&long));
        assert!(Password::from_plain(&long[1..]).verify(&long[1..]));
    }

    #[test]
    fn hashes() {
        let text = hash("secret").expect("hash");
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        assert_ne!(hash("secret").expect("hash"), text, "each hash has a random salt");
        let password = Password::from_hash(&text).expect("own hash");
        assert!(password.verify("secret"));
        assert!(!password.verify("Secret"));
        assert!(!password.verify(""));
        assert!(!password.verify(&"x".repeat(MAX_PASSWORD + 1)));
        assert!(Password::from_hash(REFERENCE).expect("reference").verify("password"));
        for length in ["", &"x".repeat(MAX_PASSWORD + 1)] {
            assert_eq!(hash(length), Err(PasswordError::Length));
        }
    }

    #[test]
    fn generated_passwords() {
        let (one, other) = (generate().expect("random source"), generate().expect("random source"));
        assert_ne!(one, other);
        let groups: Vec<_> = one.split('-').collect();
        assert_eq!(groups.len(), 7, "{}", *one);
        let plain = |group: &&str| group.len() == 4 && group.bytes().all(|b| b.is_ascii_alphanumeric());
        assert!(groups.iter().all(plain), "{}", *one);
    }

    #[test]
    fn debug_output_hides_the_password() {
        let text = format!("{:?} {:?}", Password::from_plain("secret"), Password::from_hash(REFERENCE));
        assert_eq!(text, "Password(plain) Ok(Password(argon2id))");
    }

    #[test]
    fn invalid_hashes() {
        use PasswordError::{Cost, Form, Kind};
        let changed = |from: &str, to: &str| {
            assert!(REFERENCE.contains(from), "{from}");
            REFERENCE.replacen(from, to, 1)
        };
        let check = |text: &str, expected: PasswordError| {
            assert_eq!(Password::from_hash(text).err(), Some(expected), "{text}");
        };
        check("", Form);
        check("secret", Form);
        check("$argon2id$v=19$m=19456,t=2,p=1", Form);
        check("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ", Form);
        check(&changed("m=65536,t=2,p=1$", ""), Form);
        check(&changed(",p=1", ""), Form);
        check(&changed("c29tZXNhbHQ", "c29t"), Form);
        check(&changed("CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "AAAAAAAA"), Form);
        check(&changed("m=65536", "m=7"), Form);
        check(&changed("t=2", "t=0"), Form);
        check(&changed("p=1", "p=0"), Form);
        check(&changed("p=1", "p=1,x=1"), Form);
        check(&format!("{REFERENCE}{}", "A".repeat(MAX_HASH)), Form);
        check(&changed("argon2id", "argon2i"), Kind);
        check(&changed("argon2id", "scrypt"), Kind);
        check(&changed("v=19", "v=16"), Kind);
        check(&changed("v=19$", ""), Kind);
        check(&changed("m=65536", "m=262145"), Cost);
        check(&changed("m=65536", "m=4294967295"), Cost);
        check(&changed("t=2", "t=17"), Cost);
        check(&changed("p=1", "p=17"), Cost);
        check(&changed("p=1", "p=4294967295"), Cost);
        check("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", Form);
        assert!(Password::from_hash(&changed("m=65536,t=2,p=1", "m=262144,t=16,p=16")).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(tail in "[$a-z0-9=,]{0,60}", any in ".{0,60}") {
            let _ = Password::from_hash(&any);
            let _ = Password::from_hash(&format!("$argon2id${tail}"));
            let _ = Password::from_hash(&format!("$argon2id$v=19$m=8,t=1,p=1${tail}"));
        }
    }
}
