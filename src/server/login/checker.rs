//! Which networks a token opens, and a memory of those that were checked.

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

/// The most tokens that are remembered; each takes a few hundred bytes, at most some 8 KiB.
const MAX_REMEMBERED: usize = 256;

/// Checks tokens. A token that was checked is not checked again, since a signature costs more than a view.
#[derive(Default)]
pub(super) struct Checker(RwLock<HashMap<String, Arc<Checked>>>);

/// A token that was found good.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) claims: Claims,
    /// The network of its `kid`.
    network: NetworkId,
    /// What it was verified with.
    key: PublicKey,
    /// What was stored of this instance's password then.
    password: Vec<u8>,
}

impl Checker {
    /// What a token says, if it is good at `now_s` (seconds since 1970).
    pub(super) fn check(
        &self,
        instance: &ServedInstance,
        password: &Password,
        token: &str,
        now_s: u64,
    ) -> Result<Arc<Checked>, TokenError> {
        let known = self.0.read().get(token).cloned();
        if let Some(known) = known.filter(|known| known.is_good(instance, password, now_s)) {
            return Ok(known);
        }
        let checked = Arc::new(check(instance, password, token, now_s)?);
        self.remember(token, checked.clone(), now_s);
        Ok(checked)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.read().len()
    }

    fn remember(&self, token: &str, checked: Arc<Checked>, now_s: u64) {
        let mut known = self.0.write();
        if known.len() >= MAX_REMEMBERED {
            known.retain(|_, checked| checked.claims.exp.saturating_add(LEEWAY_S) > now_s);
        }
        if known.len() >= MAX_REMEMBERED {
            // Rare, and costs no more than to check a few of them again.
            known.clear();
        }
        known.insert(token.to_owned(), checked);
    }
}

impl Checked {
    /// Whether all that it was checked against still holds.
    fn is_good(&self, instance: &ServedInstance, password: &Password, now_s: u64) -> bool {
        let claims = &self.claims;
        let in_time =
            claims.iat <= now_s.saturating_add(LEEWAY_S) && now_s < claims.exp.saturating_add(LEEWAY_S);
        let node = instance.nodes.get(&self.network);
        in_time
            && self.password == password.stored()
            && node.is_some_and(|node| keys(node, &claims.iss).contains(&self.key))
    }

    /// Whether a key of this instance itself issued it.
    pub(super) fn is_own(&self, instance: &ServedInstance) -> bool {
        let node = instance.nodes.get(&self.network);
        node.is_some_and(|node| *node.keypair.public() == self.key && node.id().as_str() == self.claims.iss)
    }

    /// The networks of this instance that it opens: what it names if this instance issued it, else only the
    /// network whose member did.
    pub(super) fn networks(&self, instance: &ServedInstance) -> Vec<NetworkId> {
        let own = self.is_own(instance);
        let named = |id: &&NetworkId| self.claims.aud.iter().any(|name| name == id.as_str());
        let open = |id: &&NetworkId| own || **id == self.network;
        instance.nodes.keys().filter(named).filter(open).cloned().collect()
    }
}

fn check(
    instance: &ServedInstance,
    password: &Password,
    token: &str,
    now_s: u64,
) -> Result<Checked, TokenError> {
    let kid = token::key_id(token).ok_or(TokenError::Malformed)?;
    let (network, issuer) = kid.split_once('/').ok_or(TokenError::Malformed)?;
    let (network, node) = network
        .parse()
        .ok()
        .and_then(|id: NetworkId| instance.nodes.get_key_value(&id))
        .ok_or(TokenError::OtherParty)?;
    let mut found = Err(TokenError::OtherParty);
    for key in keys(node, issuer) {
        match token::verify(token, &key, issuer, network.as_str(), now_s) {
            Ok(claims) => {
                let password = password.stored().to_vec();
                found = Ok(Checked { claims, network: network.clone(), key, password });
                break;
            }
            Err(error) => found = Err(error),
        }
    }
    let checked = found?;
    let binding = checked.claims.login.as_deref().filter(|_| checked.is_own(instance));
    if binding.is_some_and(|binding| binding != password_binding(&node.keypair, password)) {
        return Err(TokenError::Expired);
    }
    Ok(checked)
}

/// The keys that the node `issuer` may sign with in the network of `node`.
fn keys(node: &NetworkHandle, issuer: &str) -> Vec<PublicKey> {
    let snapshot = node.snapshot();
    let membership = snapshot.membership();
    let mut keys = membership.member(issuer).map(|member| member.keys.clone()).unwrap_or_default();
    let own = node.keypair.public();
    if membership.own().id.as_str() == issuer && !keys.contains(own) {
        keys.push(own.clone());
    }
    keys
}

/// Ties a token to the password that it was given for, so that it ends with that password. It tells nothing
/// of the password, since only the key's holder can compute it. (Ed25519 gives one message always the same
/// signature, RFC 8032, and this one is never shown.)
pub(super) fn password_binding(key: &Keypair, password: &Password) -> String {
    let message = [b"distomon login\0", password.stored()].concat();
    let hash = Sha256::digest(key.sign(&message));
    URL_SAFE_NO_PAD.encode(&hash[..12])
}
