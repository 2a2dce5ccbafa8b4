//! Replies that are signed for one request.

use std::borrow::Cow;
use std::time::Instant;

use rouille::{Response, ResponseBody};

use super::AdmittedExchange;
use super::error::ExchangeError;
use crate::crypto;
use crate::crypto::http_signature::{self, SignatureParams, SignedRequest};
use crate::server::exchange_rate::{ExchangeRates, RejectStage};
use crate::server::problem::{self, problem};
use crate::store::clock::wall_us;

impl AdmittedExchange {
    /// Creates the signed reply to a request whose body, or whose reply, exceeds the sender's share of memory, and counts
    /// it.
    pub(in crate::server) fn reject_beyond_share(&self) -> Response {
        self.reject(&ExchangeError::too_many("other requests of this node use up its share of memory"))
    }

    /// Creates the reply of an error, signed within the sender's limit of signed errors, and counts it.
    pub(super) fn reject_limited(
        &self,
        error: &ExchangeError,
        rates: &ExchangeRates,
        stage: RejectStage,
    ) -> Response {
        if rates.may_sign_error(&self.sender_id, self.limits, stage, Instant::now()) {
            return self.reject(error);
        }
        error.count(&self.node, self.sender.as_str());
        error.to_unsigned()
    }

    /// Creates the signed reply of an error, and counts it.
    pub(super) fn reject(&self, error: &ExchangeError) -> Response {
        error.count(&self.node, self.sender.as_str());
        let mut body = problem::body(error.status, error.title, &error.detail);
        if let Some(evidence) = &error.evidence {
            body.truncate(body.len() - 1);
            body = format!("{body},\"reports\":{evidence}}}");
        }
        self.sign(error.status, problem::MEDIA_TYPE, body)
    }

    /// Creates a reply with its digest and signature.
    pub(super) fn sign(&self, status: u16, media_type: &'static str, body: String) -> Response {
        let node = &self.node;
        let digest = crypto::content_digest(body.as_bytes());
        let signed_head = &self.signed;
        let context = SignedRequest {
            path: &signed_head.path,
            content_digest: &signed_head.content_digest,
            signature_input: &signed_head.signature_input,
            signature: &signed_head.signature,
        };
        let own = node.id();
        let created_s = wall_us() / 1_000_000;
        let params = SignatureParams { keyid: own.as_str(), created_s, nonce: self.nonce };
        let signed = http_signature::sign_reply(&node.keypair, &params, status, &digest, &context);
        let signed = match signed {
            Ok(signed) => signed,
            // The request's fields were parsed successfully before, so they are not the cause.
            Err(error) => {
                return problem(500, "Internal Server Error", &format!("signing the reply: {error}"));
            }
        };
        Response {
            status_code: status,
            headers: vec![
                (Cow::Borrowed("Content-Type"), Cow::Borrowed(media_type)),
                (Cow::Borrowed("Cache-Control"), Cow::Borrowed("no-store")),
                (Cow::Borrowed("Content-Digest"), digest.into()),
                (Cow::Borrowed("Signature-Input"), signed.signature_input.into()),
                (Cow::Borrowed("Signature"), signed.signature.into()),
            ],
            data: ResponseBody::from_string(body),
            upgrade: None,
        }
    }
}
