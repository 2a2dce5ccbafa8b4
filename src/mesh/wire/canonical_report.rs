//! Reads the payload of a report in the form in which this release writes it, several times faster than serde.
//!
//! A network of 64 nodes has 63 observations in each report, and the rules of [`lenient`](super::lenient) parse every
//! member several times. Payloads in any other form are left to serde, so these rules have one implementation.

use super::observation::{Failure, Observation, ProbeStatus, ProbeTries};
use super::report::Report;
use crate::mesh::id::{MAX_INTEGER, NodeId, ReportId};
use crate::mesh::membership::Membership;

/// The start of the last member.
const OBSERVATIONS: &[u8] = b",\"observations\":{";

/// The size of the shortest observation with its node id, in bytes: `"a":{"status":"online","since":0}`.
const MIN_OBSERVATION_BYTES: usize = 32;

/// Reads a payload: none if any part of it has another form. Observations of nodes that the membership lacks are
/// dropped, and the ids of the others are the membership's copies.
pub(super) fn read(payload: &[u8], membership: &Membership) -> Option<Report> {
    let is_start = |window: &[u8]| window[0] == OBSERVATIONS[0] && window == OBSERVATIONS;
    let at = payload.windows(OBSERVATIONS.len()).position(is_start)?;
    let (others, list) = payload.split_at(at);
    let list = list.strip_prefix(OBSERVATIONS)?.strip_suffix(b"}}")?;
    // If this is JSON, the payload is as well, and its other members are these.
    let others = [others, OBSERVATIONS, b"}}"].concat();
    let mut report: Report = serde_json::from_slice(&others).ok()?;
    let author = membership.index(report.node_id.as_str())?;
    let capacity = membership.observed_count(author).min(list.len() / MIN_OBSERVATION_BYTES);
    report.observations.reserve_exact(capacity);
    Cursor { rest: list }.observations(membership, &mut report.observations)?;
    Some(report)
}

/// The unread part of the text. Each method returns none if the text has another form.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Reads all observations to the end of the text. Ids must ascend, so that none occurs twice.
    fn observations(
        mut self,
        membership: &Membership,
        observations: &mut Vec<(NodeId, Observation)>,
    ) -> Option<()> {
        let (mut previous, mut expected) = ("", 0);
        while !self.rest.is_empty() {
            if !previous.is_empty() {
                self.literal(b",")?;
            }
            let id = self.word()?;
            if id <= previous {
                return None;
            }
            previous = id;
            self.literal(b":")?;
            let observation = self.observation()?;
            if let Some(index) = membership.index_near(expected, id) {
                expected = index + 1;
                observations.push((membership.members()[index].id.clone(), observation));
            }
        }
        Some(())
    }

    fn observation(&mut self) -> Option<Observation> {
        self.literal(b"{\"status\":")?;
        let status = match self.word()? {
            "online" => ProbeStatus::Online,
            "offline" => ProbeStatus::Offline,
            "unknown" => ProbeStatus::Unknown,
            _ => return None,
        };
        self.literal(b",\"since\":")?;
        let observation = Observation {
            status,
            since_ms: self.integer(MAX_INTEGER)?,
            rtt_us: self.optional(b",\"rtt_us\":", Self::small_integer)?,
            took_us: self.optional(b",\"took_us\":", Self::small_integer)?,
            clock_offset_ms: self.optional(b",\"clock_offset_ms\":", Self::signed_integer)?,
            error: self.optional(b",\"error\":", |cursor| Failure::known(cursor.word()?))?,
            head: self.optional(b",\"head\":", Self::report_id)?,
            first: self.optional(b",\"first\":", Self::report_id)?,
            newest: self.optional(b",\"newest\":", Self::report_id)?,
            tries: self.optional(b",\"tries\":", Self::tries)?,
        };
        self.literal(b"}")?;
        Some(observation)
    }

    /// Reads the value after `name` if that is next.
    #[expect(clippy::option_option, reason = "a missing member is no other form")]
    fn optional<T, const N: usize>(
        &mut self,
        name: &[u8; N],
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.literal(name).is_some() { read(self).map(Some) } else { Some(None) }
    }

    fn literal<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        // A comparison of a constant length needs no call.
        let (start, rest) = self.rest.split_first_chunk()?;
        if start != text {
            return None;
        }
        self.rest = rest;
        Some(())
    }

    /// Reads a string without escapes.
    fn word(&mut self) -> Option<&'a str> {
        self.literal(b"\"")?;
        let end =
            self.rest.iter().position(|&byte| !(byte.is_ascii_alphanumeric() || b"._-".contains(&byte)))?;
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(word).ok()
    }

    /// Reads an integer from 0 to `max`, which is at most [`MAX_INTEGER`].
    fn integer(&mut self, max: u64) -> Option<u64> {
        // 2^53 − 1 has 16 digits, and 16 digits fit into 64 bits.
        let digits = self.rest.iter().take(17).take_while(|byte| byte.is_ascii_digit()).count();
        let (text, rest) = self.rest.split_at(digits);
        if !(1..=16).contains(&digits) || (text[0] == b'0' && digits > 1) {
            return None;
        }
        self.rest = rest;
        let value = text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        (value <= max).then_some(value)
    }

    fn small_integer(&mut self) -> Option<u32> {
        u32::try_from(self.integer(u32::MAX.into())?).ok()
    }

    fn signed_integer(&mut self) -> Option<i64> {
        let is_negative = self.literal(b"-").is_some();
        let value = i64::try_from(self.integer(MAX_INTEGER)?).ok()?;
        // JSON has a negative zero, which serde does not read as an integer.
        if is_negative { (value > 0).then_some(-value) } else { Some(value) }
    }

    fn report_id(&mut self) -> Option<ReportId> {
        self.literal(b"[")?;
        let epoch = self.integer(MAX_INTEGER)?;
        self.literal(b",")?;
        let seq = self.integer(MAX_INTEGER)?;
        self.literal(b"]")?;
        Some(ReportId { epoch, seq })
    }

    fn tries(&mut self) -> Option<ProbeTries> {
        self.literal(b"[")?;
        let attempts = self.small_integer()?;
        self.literal(b",")?;
        let failures = self.small_integer()?;
        self.literal(b",")?;
        let late = self.small_integer()?;
        self.literal(b"]")?;
        Some(ProbeTries { attempts, failures, late })
    }
}

#[cfg(test)]
mod tests;
