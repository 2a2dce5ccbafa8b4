//! Verification of tokens, and a cache of verified ones.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};

use crate::crypto::password::Password;
use crate::crypto::token::{self, Claims, LEEWAY_S, TokenError};
use crate::crypto::{Keypair, PublicKey};
use crate::mesh::id::NetworkId;
use crate::server::ServedInstance;
use crate::store::NetworkHandle;

/// The maximum number of tokens in the cache, each of a few hundred bytes, at most 8 KiB.
const MAX_TOKENS: usize = 256;

/// Verified tokens. Verifying a signature costs more than a view, so each token is verified once.
#[derive(Default)]
pub(super) struct TokenCache(RwLock<HashMap<String, Arc<CachedToken>>>);

/// A verified token.
#[derive(Debug)]
pub(super) struct CachedToken {
    pub(super) claims: Claims,
    /// The network in its `kid`.
    network: NetworkId,
    /// The key that verified it.
    key: PublicKey,
    /// The stored form of the instance's password at that time.
    password: Vec<u8>,
}

impl TokenCache {
    /// Returns `token` if it is valid at `now_s` (Unix time in seconds).
    pub(super) fn check(
        &self,
        instance: &ServedInstance,
        password: &Password,
        token: &str,
        now_s: u64,
    ) -> Result<Arc<CachedToken>, TokenError> {
        let cached = self.0.read().get(token).cloned();
        if let Some(cached) = cached.filter(|cached| cached.is_valid(instance, password, now_s)) {
            return Ok(cached);
        }
        let verified = Arc::new(verify(instance, password, token, now_s)?);
        self.insert(token, verified.clone(), now_s);
        Ok(verified)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.read().len()
    }

    fn insert(&self, token: &str, verified: Arc<CachedToken>, now_s: u64) {
        let mut tokens = self.0.write();
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, cached| cached.claims.exp.saturating_add(LEEWAY_S) > now_s);
        }
        if tokens.len() >= MAX_TOKENS {
            // Rare: each token that is still in use is verified again.
            tokens.clear();
        }
        tokens.insert(token.to_owned(), verified);
    }
}

impl CachedToken {
    /// Returns whether the token is still valid: its lifetime, the password, and the key of its issuer.
    fn is_valid(&self, instance: &ServedInstance, password: &Password, now_s: u64) -> bool {
        let claims = &self.claims;
        let in_time =
            claims.iat <= now_s.saturating_add(LEEWAY_S) && now_s < claims.exp.saturating_add(LEEWAY_S);
        let node = instance.nodes.get(&self.network);
        in_time
            && self.password == password.stored()
            && node.is_some_and(|node| issuer_keys(node, &claims.iss).contains(&self.key))
    }

    /// Returns whether a node of this instance issued the token.
    pub(super) fn is_own(&self, instance: &ServedInstance) -> bool {
        let node = instance.nodes.get(&self.network);
        node.is_some_and(|node| *node.keypair.public() == self.key && node.id().as_str() == self.claims.iss)
    }

    /// Returns the networks of this instance that the token grants access to: those that it names, restricted to the
    /// issuer's network if another member issued it.
    pub(super) fn networks(&self, instance: &ServedInstance) -> Vec<NetworkId> {
        let own = self.is_own(instance);
        let named = |id: &&NetworkId| self.claims.aud.iter().any(|name| name == id.as_str());
        let granted = |id: &&NetworkId| own || **id == self.network;
        instance.nodes.keys().filter(named).filter(granted).cloned().collect()
    }
}

fn verify(
    instance: &ServedInstance,
    password: &Password,
    token: &str,
    now_s: u64,
) -> Result<CachedToken, TokenError> {
    let kid = token::key_id(token).ok_or(TokenError::Malformed)?;
    let (network, issuer) = kid.split_once('/').ok_or(TokenError::Malformed)?;
    let (network, node) = network
        .parse()
        .ok()
        .and_then(|id: NetworkId| instance.nodes.get_key_value(&id))
        .ok_or(TokenError::OtherParty)?;
    let mut result = Err(TokenError::OtherParty);
    for key in issuer_keys(node, issuer) {
        match token::verify(token, &key, issuer, network.as_str(), now_s) {
            Ok(claims) => {
                let password = password.stored().to_vec();
                result = Ok(CachedToken { claims, network: network.clone(), key, password });
                break;
            }
            Err(error) => result = Err(error),
        }
    }
    let verified = result?;
    let binding = verified.claims.login.as_deref().filter(|_| verified.is_own(instance));
    if binding.is_some_and(|binding| binding != password_binding(&node.keypair, password)) {
        return Err(TokenError::Expired);
    }
    Ok(verified)
}

/// Returns the keys of the member `issuer` in the network of `node`.
fn issuer_keys(node: &NetworkHandle, issuer: &str) -> Vec<PublicKey> {
    let snapshot = node.snapshot();
    let membership = snapshot.membership();
    let mut keys = membership.member(issuer).map(|member| member.keys.clone()).unwrap_or_default();
    let own = node.keypair.public();
    if membership.own().id.as_str() == issuer && !keys.contains(own) {
        keys.push(own.clone());
    }
    keys
}

/// Returns the claim that binds a token to `password`, so that changing the password invalidates the token.
///
/// The claim is a hash of a signature that is never published, and Ed25519 signatures are deterministic (RFC 8032):
/// only the holder of `key` can compute it, so it does not reveal the password.
pub(super) fn password_binding(key: &Keypair, password: &Password) -> String {
    let message = [b"distomon login\0", password.stored()].concat();
    let hash = Sha256::digest(key.sign(&message));
    URL_SAFE_NO_PAD.encode(&hash[..12])
}
