//! The test vector of RFC 9421, round trips, and invalid signatures.

use super::*;
use crate::crypto::content_digest;
use proptest::prelude::*;

const PATH: &str = "/mon/production-network";
const TO: &str = "node-2";
const NONCE: Nonce = Nonce { epoch: 1_763_884_800_123, counter: 42 };
const CREATED: u64 = 1_763_884_912;

/// RFC 9421, appendix B.1.4.
const TEST_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n\
    -----END PRIVATE KEY-----";

fn pair() -> Keypair {
    Keypair::generate().expect("random source")
}

fn params(keyid: &str) -> SignatureParams<'_> {
    SignatureParams { keyid, created_s: CREATED, nonce: NONCE }
}

fn signed_reply<'a>(status: u16, content_digest: &'a str, head: &'a SignatureHeaders) -> SignedReply<'a> {
    SignedReply { status, content_digest, signature_input: &head.signature_input, signature: &head.signature }
}

fn signed(key: &Keypair, body: &[u8]) -> (SignatureHeaders, String) {
    let digest = content_digest(body);
    (sign_request(key, &params("node-1"), &parts(&digest)), digest)
}

fn parts(content_digest: &str) -> RequestParts<'_> {
    RequestParts { path: PATH, to: TO, content_digest }
}

fn signed_request<'a>(head: &'a SignatureHeaders, digest: &'a str) -> SignedRequest<'a> {
    SignedRequest {
        path: PATH,
        content_digest: digest,
        signature_input: &head.signature_input,
        signature: &head.signature,
    }
}

#[test]
fn rfc_9421_test_vector() {
    // Appendix B.2.6: other components, the same construction and key type.
    let base = signature_base(
        &[
            (r#""date""#, "Tue, 20 Apr 2021 02:07:55 GMT"),
            (r#""@method""#, "POST"),
            (r#""@path""#, "/foo"),
            (r#""@authority""#, "example.com"),
            (r#""content-type""#, " application/json\t"),
            (r#""content-length""#, "18"),
        ],
        "(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
         ;created=1618884473;keyid=\"test-key-ed25519\"",
    );
    let key = Keypair::from_pem(TEST_KEY).expect("the RFC's key");
    assert_eq!(
        byte_sequence(&key.sign(base.as_bytes())),
        ":wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:"
    );
}

#[test]
fn request_format() {
    let (head, digest) = signed(&pair(), b"{}");
    assert_eq!(
        head.signature_input,
        "sig1=(\"@method\" \"@path\" \"content-digest\" \"distomon-to\");created=1763884912\
         ;nonce=\"1763884800123-42\";keyid=\"node-1\";alg=\"ed25519\";tag=\"distomon-v2\""
    );
    let params = head.signature_input.strip_prefix("sig1=").expect("our label");
    assert_eq!(
        request_base(PROFILE, "POST", &parts(&digest), params),
        format!(
            "\"@method\": POST\n\"@path\": {PATH}\n\"content-digest\": {digest}\n\"distomon-to\": {TO}\n\
             \"@signature-params\": {params}"
        )
    );
}

#[test]
fn requests_round_trip() {
    let key = pair();
    let (head, digest) = signed(&key, b"{}");
    let read = parse_request(&head.signature_input, &head.signature).expect("own head");
    assert_eq!((read.keyid.as_str(), read.nonce, read.created), ("node-1", NONCE, CREATED));
    assert!(!read.is_incompatible());
    let verify = |key: &PublicKey, method, path, to, content_digest: &str| {
        read.verify(key, method, &RequestParts { path, to, content_digest })
    };
    assert!(verify(key.public(), "POST", PATH, TO, &digest));
    assert!(verify(key.public(), "POST", PATH, TO, &format!(" {digest}\t")), "white space around a field");
    for (method, path, to, digest) in [
        ("post", PATH, TO, digest.as_str()),
        ("GET", PATH, TO, &digest),
        ("POST", "/mon/other-network", TO, &digest),
        ("POST", "/mon/production-network/", TO, &digest),
        ("POST", PATH, "node-3", &digest),
        ("POST", PATH, "", &digest),
        ("POST", PATH, "node-2, node-2", &digest),
        ("POST", PATH, TO, &content_digest(b"{} ")),
        ("POST", PATH, TO, ""),
        ("POST", PATH, TO, &format!("{digest}, {digest}")),
        ("POST\n", PATH, TO, &digest),
        ("POST", "/ä", TO, &digest),
    ] {
        assert!(!verify(key.public(), method, path, to, digest), "{method} {path} {to} {digest}");
    }
    assert!(!verify(pair().public(), "POST", PATH, TO, &digest));
}

#[test]
fn requests_of_the_earlier_profile_are_recognised_and_can_be_replied_to() {
    let (caller, replier) = (pair(), pair());
    let digest = content_digest(b"{}");
    let head = sign_earlier_request(&caller, &params("node-1"), PATH, &digest);
    assert!(!head.signature_input.contains("distomon-to"), "{}", head.signature_input);
    let read = parse_request(&head.signature_input, &head.signature).expect("the earlier profile");
    assert!(read.is_incompatible() && read.verify(caller.public(), METHOD, &parts(&digest)));
    assert!(!read.verify(caller.public(), METHOD, &parts(&content_digest(b"x"))));
    let request = signed_request(&head, &digest);
    let reply = sign_reply(&replier, &params("node-2"), 426, &digest, &request).expect("a signed request");
    assert!(reply.signature_input.ends_with(";tag=\"distomon\""), "{}", reply.signature_input);
    let keys = [replier.public().clone()];
    assert_eq!(verify_reply(&signed_reply(426, &digest, &reply), &request, "node-2", &keys), Ok(()));
    // The reply to a request of this release has this profile.
    let (head, digest) = signed(&caller, b"{}");
    let request = signed_request(&head, &digest);
    let verified = verify_reply(&signed_reply(426, &digest, &reply), &request, "node-2", &keys);
    assert_eq!(verified, Err(SignatureError::Missing.into()));
}

#[test]
fn line_ends_in_values_are_rejected() {
    // A value of two lines would be signed as two components. It must neither verify nor be replied to.
    let key = pair();
    let digest = content_digest(b"{}");
    for (path, digest) in
        [(format!("{PATH}\n\"@path\": /"), digest.clone()), (PATH.into(), format!("{digest}\n"))]
    {
        let parts = RequestParts { path: &path, to: TO, content_digest: &digest };
        let head = sign_request(&key, &params("node-1"), &parts);
        let read = parse_request(&head.signature_input, &head.signature).expect("own head");
        assert!(!read.verify(key.public(), METHOD, &parts));
        let request = SignedRequest { path: &path, ..signed_request(&head, &digest) };
        assert!(sign_reply(&key, &params("node-2"), 200, &content_digest(b""), &request).is_err());
    }
}

#[test]
fn equivalent_encodings_are_accepted() {
    // Other signers may differ in order of parameters, spaces and padding, and proxies add signatures.
    let key = pair();
    let digest = content_digest(b"");
    let components = PROFILE.request_components;
    let params = format!(
        "{components};tag=\"distomon-v2\";keyid=\"node-1\";alg=\"ed25519\";nonce=\"{NONCE}\";created=1"
    );
    let signature =
        byte_sequence(&key.sign(request_base(PROFILE, METHOD, &parts(&digest), &params).as_bytes()));
    let spaced = params.replace(';', ";  ").replace("(\"", "(  \"").replace("\" \"", "\"   \"");
    let unpadded = signature.replace('=', "");
    for (input, signature) in [
        (format!("sig1={params}"), format!("sig1={signature}")),
        (format!("sig1={spaced}"), format!("sig1={unpadded}")),
        (
            format!("ttrp=(\"@authority\");tag=\"proxy\";x=1.5,  sig1={params}, odd=1;tag=tok, bare"),
            format!("ttrp=:AAAA:;p, sig1={signature}, bare"),
        ),
        (
            format!("sig2={params}, sig1={params}").replacen("distomon-v2", "other", 1),
            format!("sig1={signature}"),
        ),
    ] {
        let read = parse_request(&input, &signature).expect(&input);
        assert!(read.verify(key.public(), METHOD, &parts(&digest)), "{input}");
    }
}

#[test]
fn malformed_heads() {
    let (head, _) = signed(&pair(), b"{}");
    let (input, signature) = (head.signature_input.as_str(), head.signature.as_str());
    let long = "a".repeat(MAX_FIELD);
    let changed = |from: &str, to: &str| {
        assert!(input.contains(from), "{from}");
        input.replacen(from, to, 1)
    };
    let check = |input: &str, signature: &str, expected: Option<&str>| {
        let found = parse_request(input, signature).expect_err(input);
        match (found, expected) {
            (SignatureError::Missing, None) => {}
            (SignatureError::Malformed(text), Some(part)) if text.contains(part) => {}
            _ => panic!("{input}\n{signature}\n{found:?}, not {expected:?}"),
        }
    };

    // No signature with tag distomon-v2.
    check("", "", None);
    check("", signature, None);
    check(input, "", None);
    check(input, &signature.replace("sig1", "sig2"), None);
    check(&changed(";tag=\"distomon-v2\"", ""), signature, None);
    check(&changed("\"distomon-v2\"", "\"Distomon-v2\""), signature, None);
    check(&changed("\"distomon-v2\"", "distomon-v2"), signature, None);
    check("sig1", signature, None);

    // Another label, or several signatures with that tag.
    check(&changed("sig1", "sig2"), &signature.replace("sig1", "sig2"), Some("label sig1"));
    check(&format!("{input}, {}", changed("sig1", "sig2")), signature, Some("one signature"));
    check("sig2=();tag=\"distomon-v2\", sig1=()", signature, Some("label sig1"));
    check(&format!("{input}, {input}"), signature, Some("without duplicate keys"));
    check(input, &format!("{signature}, {signature}"), Some("Signature of"));

    // Other components.
    for components in [
        "()",
        r#"("@method" "@path")"#,
        r#"("@method" "@path" "content-digest")"#,
        r#"("@method" "@path" "distomon-to" "content-digest")"#,
        r#"("@method" "@path" "content-digest" "distomon-to" "date")"#,
        r#"("@method" "@path" "content-digest" "distomon-to" "distomon-to")"#,
        r#"("@method" "@path" "content-digest" "distomon-to";sf)"#,
        r#"("@method" "@path" "content-digest" "distomon-to";req)"#,
        r#"("@method" "@path" "content-digest" distomon-to)"#,
        r#"("@method\" \"@path" "content-digest" "distomon-to")"#,
        r#"("@Method" "@path" "content-digest" "distomon-to")"#,
        "1",
        "\"@method\"",
    ] {
        check(&changed(PROFILE.request_components, components), signature, Some("covered components"));
    }

    // Parameters.
    let exact = Some("exactly the parameters");
    check(&changed(";tag", ";expires=1763884999;tag"), signature, exact);
    check(&changed(";tag", ";x;tag"), signature, exact);
    check(&changed(";created=1763884912", ""), signature, exact);
    check(&changed(";nonce=\"1763884800123-42\"", ""), signature, exact);
    check(&changed(";keyid=\"node-1\"", ""), signature, exact);
    check(&changed(";alg=\"ed25519\"", ""), signature, exact);
    check(&changed(";alg=\"ed25519\"", ";expires=1"), signature, Some("alg"));
    check(&changed("ed25519", "hmac-sha256"), signature, Some("alg"));
    check(&changed("\"ed25519\"", "ed25519"), signature, Some("alg"));
    check(&changed("\"node-1\"", "node-1"), signature, Some("keyid"));
    check(&changed("node-1", ""), signature, Some("keyid"));
    check(&changed("node-1", &"k".repeat(MAX_KEY_ID + 1)), signature, Some("keyid"));
    check(&changed("-42", "-042"), signature, Some("nonce"));
    check(&changed("\"1763884800123-42\"", "1763884800123"), signature, Some("nonce"));
    check(&changed("1763884912", "-1"), signature, Some("created"));
    check(&changed("1763884912", "1.5"), signature, Some("created"));
    check(&changed("1763884912", "\"1763884912\""), signature, Some("created"));

    // Duplicates, of which the parser alone would keep the last.
    let duplicate = Some("without duplicate keys");
    check(&changed(";tag", ";keyid=\"node-1\";tag"), signature, duplicate);
    check(&changed(";keyid", ";keyid=\"node-2\";keyid"), signature, duplicate);
    check(&changed(";tag", ";tag=\"other\";tag"), signature, duplicate);
    check(&changed("\"@path\"", "\"@path\";req;req"), signature, duplicate);

    // Not structured fields, or too long.
    check(&changed("(", ""), signature, duplicate);
    check(&changed("node-1", "nöde-1"), signature, duplicate);
    check(&format!("{input},"), signature, duplicate);
    check(&changed("1763884912", "1234567890123456"), signature, duplicate);
    check(&changed("node-1", &long), signature, duplicate);
    check(&format!("{input}, x=\"{long}\""), signature, duplicate);
    check(&"(".repeat(MAX_FIELD), signature, duplicate);
    check(input, &format!("{signature}, x={long}"), Some("Signature of"));

    // Invalid signature values.
    let bad = Some("Signature of");
    check(input, "sig1", bad);
    check(input, "sig1=()", bad);
    check(input, "sig1=\"text\"", bad);
    check(input, "sig1=::", bad);
    check(input, "sig1=:!:", bad);
    check(input, &format!("sig1=:{}:", STANDARD.encode([0; 63])), bad);
    check(input, &format!("sig1=:{}:", STANDARD.encode([0; 65])), bad);
    check(input, &format!("{signature};x"), bad);
}

#[test]
fn flipped_bits_are_rejected() {
    let key = pair();
    let (head, digest) = signed(&key, b"{}");
    let accepted = |input: &str, signature: &str| {
        parse_request(input, signature).is_ok_and(|read| read.verify(key.public(), METHOD, &parts(&digest)))
    };
    assert!(accepted(&head.signature_input, &head.signature));
    for at in 0..head.signature_input.len() {
        let mut bytes = head.signature_input.clone().into_bytes();
        bytes[at] ^= 1;
        let changed = String::from_utf8(bytes).expect("still ASCII");
        assert!(!accepted(&changed, &head.signature), "{changed}");
    }
    let raw = parse_request(&head.signature_input, &head.signature).expect("own head").value.signature;
    for at in 0..64 {
        let mut bytes = raw;
        bytes[at] ^= 0x20;
        assert!(!accepted(&head.signature_input, &format!("sig1={}", byte_sequence(&bytes))), "byte {at}");
    }
}

/// A request and its reply, for tests that change a part of either.
#[derive(Clone)]
struct Exchange {
    path: String,
    request: SignatureHeaders,
    request_digest: String,
    status: u16,
    reply: SignatureHeaders,
    reply_digest: String,
}

impl Exchange {
    fn new(caller: &Keypair, replier: &Keypair, counter: u64) -> Self {
        let request_digest = content_digest(b"{\"to\":\"node-2\"}");
        let nonce = Nonce { counter, ..NONCE };
        let request =
            sign_request(caller, &SignatureParams { nonce, ..params("node-1") }, &parts(&request_digest));
        let reply_digest = content_digest(b"{\"from\":\"node-2\"}");
        let request_values = signed_request(&request, &request_digest);
        let reply_params = SignatureParams { nonce, ..params("node-2") };
        let reply = sign_reply(replier, &reply_params, 200, &reply_digest, &request_values)
            .expect("a signed request");
        Self { path: PATH.into(), request, request_digest, status: 200, reply, reply_digest }
    }

    fn verify(&self, keys: &[PublicKey]) -> Result<(), ReplyError> {
        verify_reply(
            &signed_reply(self.status, &self.reply_digest, &self.reply),
            &SignedRequest { path: &self.path, ..signed_request(&self.request, &self.request_digest) },
            "node-2",
            keys,
        )
    }
}

#[test]
fn replies_round_trip() {
    let (caller, replier) = (pair(), pair());
    let mut exchange = Exchange::new(&caller, &replier, 42);
    assert_eq!(
        exchange.reply.signature_input,
        "sig1=(\"@status\" \"content-digest\" \"@method\";req \"@path\";req \"content-digest\";req \
         \"signature-input\";req;key=\"sig1\" \"signature\";req;key=\"sig1\");created=1763884912\
         ;nonce=\"1763884800123-42\";keyid=\"node-2\";alg=\"ed25519\";tag=\"distomon-v2\""
    );
    let key = replier.public().clone();
    let old = pair().public().clone();
    assert_eq!(exchange.verify(std::slice::from_ref(&key)), Ok(()));
    assert_eq!(exchange.verify(&[old.clone(), key.clone()]), Ok(()), "while a key is rotated");
    assert_eq!(exchange.verify(&[]), Err(ReplyError::BadSignature));
    assert_eq!(exchange.verify(&[old, caller.public().clone()]), Err(ReplyError::BadSignature));
    // Only the member sig1 of the request's fields is covered, and in its strict form.
    exchange.request.signature_input =
        format!("px=(\"date\");tag=\"p\",  {}", exchange.request.signature_input);
    exchange.request.signature =
        format!("px=:AAAA:, {}", exchange.request.signature.replace('=', "").replacen("sig1", "sig1=", 1));
    assert_eq!(exchange.verify(&[key]), Ok(()));
}

#[test]
fn reply_verifies_only_for_its_request() {
    let (caller, replier) = (pair(), pair());
    let good = Exchange::new(&caller, &replier, 42);
    let keys = [replier.public().clone()];
    let other_digest = content_digest(b"other");
    let resigned = |key: &Keypair, path: &str, digest: &str, created_s| {
        sign_request(
            key,
            &SignatureParams { created_s, ..params("node-1") },
            &RequestParts { path, to: TO, content_digest: digest },
        )
    };
    let check = |what: &str, change: &dyn Fn(&mut Exchange)| {
        let mut exchange = good.clone();
        change(&mut exchange);
        assert_eq!(exchange.verify(&keys), Err(ReplyError::BadSignature), "{what}");
    };
    check("status", &|e| e.status = 201);
    check("reply digest", &|e| e.reply_digest.clone_from(&other_digest));
    check("path", &|e| e.path.push('x'));
    check("request digest", &|e| e.request_digest.clone_from(&other_digest));
    check("request signature", &|e| e.request.signature = format!("sig1={}", byte_sequence(&[7; 64])));
    check("request keyid", &|e| {
        e.request.signature_input = e.request.signature_input.replace("node-1", "node-3");
    });
    check("request created", &|e| {
        e.request.signature_input = e.request.signature_input.replace("=1763884912", "=1763884913");
    });
    check("request by another key", &|e| e.request = resigned(&pair(), PATH, &e.request_digest, CREATED));
    check("request signed again later", &|e| {
        e.request = resigned(&caller, PATH, &e.request_digest, CREATED + 1);
    });
    check("reply created", &|e| {
        e.reply.signature_input = e.reply.signature_input.replace("=1763884912", "=1");
    });
    check("reply signature", &|e| e.reply.signature = format!("sig1={}", byte_sequence(&[7; 64])));
    check("the request's signature sent back", &|e| e.reply.signature.clone_from(&e.request.signature));
    check("reply of another exchange", &|e| {
        // The same nonce, as after a restored backup; the body differs.
        let digest = content_digest(b"{}");
        let request = sign_request(&caller, &params("node-1"), &parts(&digest));
        e.reply =
            sign_reply(&replier, &params("node-2"), 200, &e.reply_digest, &signed_request(&request, &digest))
                .expect("a signed request");
    });
}

#[test]
fn invalid_replies() {
    let (caller, replier) = (pair(), pair());
    let good = Exchange::new(&caller, &replier, 42);
    let keys = [replier.public().clone()];
    let check = |what: &str, expected: &ReplyError, change: &dyn Fn(&mut Exchange)| {
        let mut exchange = good.clone();
        change(&mut exchange);
        let found = exchange.verify(&keys).expect_err(what);
        assert_eq!(std::mem::discriminant(&found), std::mem::discriminant(expected), "{what}: {found}");
        if let (ReplyError::Signature(a), ReplyError::Signature(b)) = (&found, expected) {
            assert_eq!(std::mem::discriminant(a), std::mem::discriminant(b), "{what}: {found}");
        }
    };
    let missing = ReplyError::Signature(SignatureError::Missing);
    let malformed = ReplyError::Signature(SignatureError::Malformed(""));
    check("unsigned", &missing, &|e| {
        e.reply = SignatureHeaders { signature_input: String::new(), signature: String::new() };
    });
    check("signature stripped", &missing, &|e| e.reply.signature.clear());
    check("the signature of the request", &malformed, &|e| e.reply = e.request.clone());
    check("binding left out", &malformed, &|e| {
        e.reply.signature_input = e.reply.signature_input.replace(" \"signature\";req;key=\"sig1\"", "");
    });
    check("binding to another label", &malformed, &|e| {
        e.reply.signature_input = e.reply.signature_input.replacen("key=\"sig1\"", "key=\"sig2\"", 1);
    });
    check("another nonce", &malformed, &|e| e.reply = Exchange::new(&caller, &replier, 43).reply);
    check("no request", &missing, &|e| e.request.signature_input.clear());
    check("a line end in a field", &malformed, &|e| e.reply_digest.push('\n'));

    let mut other = good.clone();
    other.reply.signature_input = good.reply.signature_input.replace("node-2", "node-3");
    assert_eq!(
        other.verify(&keys),
        Err(ReplyError::OtherKeyId { expected: "node-2".into(), found: "node-3".into() })
    );
    let reply = &good.reply;
    assert!(parse_request(&reply.signature_input, &reply.signature).is_err(), "a reply is not a request");
}

#[test]
fn key_ids_are_escaped() {
    let key = pair();
    for (keyid, read_back) in [("a\"b\\c;d,e", "a\"b\\c;d,e"), ("a\r\nb: ä", "ab: ")] {
        let head = sign_request(&key, &SignatureParams { created_s: u64::MAX, ..params(keyid) }, &parts("d"));
        let read = parse_request(&head.signature_input, &head.signature).expect("own head");
        assert_eq!(read.keyid, read_back);
        assert!(read.verify(key.public(), METHOD, &parts("d")));
    }
}

proptest! {
    #[test]
    fn arbitrary_text_does_not_panic(input in "\\PC{0,200}", signature in "\\PC{0,200}") {
        let _ = parse_request(&input, &signature);
    }

    #[test]
    fn nearly_valid_text_does_not_panic(parts in prop::collection::vec(
        prop::sample::select(vec![
            "sig1", "=", "(", ")", "\"@method\"", " ", ";", "tag", "\"distomon\"", ",", "\"", "\\", ":", "AA==",
            "created", "-", "1", ".", "?", "?1", "*", "keyid", "\t", "\0", "é",
        ]), 0..60)
    ) {
        let text = parts.concat();
        let _ = parse_request(&text, &text);
        let _ = crate::crypto::digest_matches(&text, b"");
    }

    #[test]
    fn any_exchange_round_trips(epoch in 0..1_u64 << 53, counter in 0..1_u64 << 53, status: u16, body: Vec<u8>) {
        let key = pair();
        let digest = content_digest(&body);
        let params = SignatureParams { nonce: Nonce { epoch, counter }, ..params("n") };
        let head = sign_request(&key, &params, &parts(&digest));
        let request = signed_request(&head, &digest);
        let reply = sign_reply(&key, &params, status, &digest, &request).expect("signed");
        prop_assert_eq!(
            verify_reply(&signed_reply(status, &digest, &reply), &request, "n", &[key.public().clone()]),
            Ok(())
        );
    }
}
