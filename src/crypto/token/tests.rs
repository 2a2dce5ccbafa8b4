//! Valid, expired and invalid tokens.

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

fn issue(key: &Keypair, audience: &[String], lifetime_s: u64) -> String {
    sign(key, KID, &Claims::new("node-1", audience, NOW, lifetime_s))
}

fn fresh(key: &Keypair) -> String {
    issue(key, &audience(), 600)
}

fn check(token: &str, key: &PublicKey, now_s: u64) -> Result<Claims, TokenError> {
    verify(token, key, "node-1", "net-1", now_s)
}

/// A token with any header and claims and a valid signature.
fn sign_parts(key: &Keypair, header: &Value, claims: &Value) -> String {
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
    let expected = Claims {
        iss: "node-1".into(),
        sub: "admin".into(),
        aud: audience(),
        iat: NOW,
        exp: NOW + 600,
        auth_time: None,
        sid: None,
        login: None,
    };
    assert_eq!(claims, expected);
    let session = (Some(NOW - 9), Some(new_session_id().expect("randomness")));
    let renewable =
        Claims { auth_time: session.0, sid: session.1, login: Some("binding".into()), ..expected };
    assert_eq!(check(&sign(&key, KID, &renewable), key.public(), NOW), Ok(renewable));
    assert!(verify(&token, key.public(), "node-1", "net-2", NOW).is_ok());
    assert!(check(&sign_parts(&key, &good_header(), &good_claims()), key.public(), NOW).is_ok());
    let longest = issue(&key, &audience(), u64::MAX);
    assert_eq!(check(&longest, key.public(), NOW).expect("clamped").exp, NOW + MAX_LIFETIME_S);
}

#[test]
fn rfc_8037_test_vector() {
    // RFC 8037, appendix A.4: a valid signature over a payload that is not JSON.
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
        (NOW - LEEWAY_S - 1, Some(TokenError::IssuedInFuture)),
        (0, Some(TokenError::IssuedInFuture)),
        (NOW + 600 + LEEWAY_S - 1, None),
        (NOW + 600 + LEEWAY_S, Some(TokenError::Expired)),
        (u64::MAX, Some(TokenError::Expired)),
    ] {
        assert_eq!(check(&token, key.public(), now).err(), expected, "{now}");
    }
}

#[test]
fn invalid_claims() {
    let key = pair();
    let with = |name: &str, value: Value| {
        let mut claims = good_claims();
        claims[name] = value;
        sign_parts(&key, &good_header(), &claims)
    };
    let without = |name: &str| {
        let mut claims = good_claims();
        claims.as_object_mut().expect("object").remove(name);
        sign_parts(&key, &good_header(), &claims)
    };
    let text = good_claims().to_string();
    let twice = format!("{{\"iss\":\"node-1\",{}", &text[1..]);
    for (token, expected) in [
        (with("iss", json!("node-2")), TokenError::OtherParty),
        (with("iss", json!(["node-1", "node-2"])), TokenError::Malformed),
        (with("sub", json!("root")), TokenError::OtherParty),
        (with("aud", json!(["net-2"])), TokenError::OtherParty),
        (with("aud", json!([])), TokenError::OtherParty),
        (with("aud", json!(1)), TokenError::Malformed),
        (with("exp", json!(NOW + MAX_LIFETIME_S + 1)), TokenError::Lifetime),
        (with("exp", json!(u64::MAX)), TokenError::Lifetime),
        (with("exp", json!(NOW - 1)), TokenError::Lifetime),
        (with("exp", json!((NOW + 600).to_string())), TokenError::Malformed),
        (with("exp", json!(1.5)), TokenError::Malformed),
        (with("exp", json!(-1)), TokenError::Malformed),
        (with("iat", json!(NOW + LEEWAY_S + 1)), TokenError::IssuedInFuture),
        (with("iat", json!(0)), TokenError::Lifetime),
        (with("auth_time", json!("0")), TokenError::Malformed),
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
    let token = sign_parts(&key, &critical, &good_claims());
    assert_eq!(check(&token, key.public(), NOW), Err(TokenError::Algorithm));
}

#[test]
fn keys_in_the_header_are_ignored() {
    let (key, attacker) = (pair(), pair());
    let x = URL_SAFE_NO_PAD.encode(attacker.public().as_bytes());
    let header = json!({"alg": "EdDSA", "kid": KID, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}, "jku": "http://attacker/"});
    let token = sign_parts(&attacker, &header, &good_claims());
    assert_eq!(check(&token, key.public(), NOW), Err(TokenError::Signature));
}

#[test]
fn changed_bytes_are_rejected() {
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
fn malformed_tokens() {
    let key = pair();
    let good = fresh(&key);
    let (message, _) = good.rsplit_once('.').expect("three parts");
    let many = issue(&key, &vec!["n".repeat(64); 80], 600);
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
    assert_eq!(key_id(&sign_parts(&key, &long, &good_claims())), None);
    assert_eq!(key_id(&sign_parts(&key, &json!({"alg": "EdDSA"}), &good_claims())), None);
}

/// HMAC (RFC 2104), for forged tokens.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

proptest! {
    #[test]
    fn arbitrary_text_does_not_panic(header in ".{0,60}", claims in ".{0,60}", raw in "\\PC{0,100}") {
        let key = pair();
        let _ = check(&raw, key.public(), NOW);
        let _ = key_id(&raw);
        let token = sign_text(&key, &header, &claims);
        prop_assert!(check(&token, key.public(), NOW).is_err());
    }
}
