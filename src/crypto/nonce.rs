//! The anti-replay nonce of an exchange.

use std::fmt;
use std::str::FromStr;

/// The largest epoch and counter: 2^53 − 1, which every JSON parser represents exactly.
const MAX: u64 = (1 << 53) - 1;

/// The nonce of an exchange, written `<epoch>-<counter>`. A receiver rejects a nonce that is not larger than the
/// last one of the sender; the epoch is compared first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce {
    /// The epoch of the sender, larger at each start, at most 2^53 − 1.
    pub epoch: u64,
    /// The number of the request in that epoch, at most 2^53 − 1.
    pub counter: u64,
}

/// The error for a text that is not a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected <epoch>-<counter>, two decimal numbers up to 9007199254740991 without leading zeros")]
pub struct BadNonce;

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.counter)
    }
}

impl FromStr for Nonce {
    type Err = BadNonce;

    /// Accepts only the form that [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, BadNonce> {
        let (epoch, counter) = text.split_once('-').ok_or(BadNonce)?;
        Ok(Self { epoch: number(epoch)?, counter: number(counter)? })
    }
}

fn number(text: &str) -> Result<u64, BadNonce> {
    let plain = !text.is_empty() && text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return Err(BadNonce);
    }
    text.parse().ok().filter(|value| *value <= MAX).ok_or(BadNonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form() {
        for good in ["0-0", "1-2", "1763884800123-42", "9007199254740991-9007199254740991"] {
            let nonce: Nonce = good.parse().expect("canonical");
            assert_eq!(nonce.to_string(), good);
        }
        for bad in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "01-1",
            "1-01",
            "+1-1",
            "1--1",
            "1-1-1",
            " 1-1",
            "1-1 ",
            "1-x",
            "9007199254740992-1",
            "1-9007199254740992",
            "1-99999999999999999999999",
            "١-1",
        ] {
            assert_eq!(bad.parse::<Nonce>(), Err(BadNonce), "{bad:?}");
        }
    }

    #[test]
    fn order_by_epoch_first() {
        let nonce = |epoch, counter| Nonce { epoch, counter };
        assert!(nonce(2, 0) > nonce(1, 9));
        assert!(nonce(1, 10) > nonce(1, 9));
    }
}
