//! The commitment of a report to the reports that its author held: the root of a Merkle tree (RFC 6962, section 2.1).

use sha2::{Digest as _, Sha256};

use super::report::{Digest, VerifiedReport};

/// The Merkle root over `held`, one report of each author in the order of the authors' ids; none without reports. The
/// leaf of a report is the JSON array `["node_id",epoch,seq,"payload hash"]` without white space, with the SHA-256 of the
/// payload in base64.
pub fn merkle_root<'r>(held: impl Iterator<Item = &'r VerifiedReport>) -> Option<Digest> {
    let mut level: Vec<Digest> = held.map(leaf_hash).collect();
    if level.is_empty() {
        return None;
    }
    // RFC 6962 splits at the largest power of two below the size. Hashing neighbours level by level, and passing an odd
    // last node on unchanged, builds the same tree.
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => hash(&[&[1], left, right]),
                _ => pair[0],
            })
            .collect();
    }
    level.first().copied()
}

fn leaf_hash(report: &VerifiedReport) -> Digest {
    let leaf = (report.author(), report.id().epoch, report.id().seq, super::Base64Bytes(*report.digest()));
    let leaf = serde_json::to_vec(&leaf).expect("a tuple of plain values");
    hash(&[&[0], &leaf])
}

fn hash(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::sample;

    /// The definition of RFC 6962, section 2.1.
    fn by_definition(leaves: &[Digest]) -> Digest {
        if let [leaf] = leaves {
            return *leaf;
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        hash(&[&[1], &by_definition(left), &by_definition(right)])
    }

    #[test]
    fn root_is_that_of_rfc_6962() {
        let reports: Vec<_> =
            (0..40).map(|author| sample::sealed(author, sample::report(author, 5, 3))).collect();
        let leaves: Vec<_> = reports.iter().map(leaf_hash).collect();
        for count in 1..=reports.len() {
            let expected = by_definition(&leaves[..count]);
            assert_eq!(merkle_root(reports[..count].iter()), Some(expected), "{count} reports");
        }
        assert_eq!(merkle_root([].into_iter()), None);
    }

    #[test]
    fn leaf_has_the_documented_form() {
        let report = sample::sealed(1, sample::report(1, 5, 3));
        let digest = serde_json::to_string(&super::super::Base64Bytes(*report.digest())).expect("a string");
        let leaf = format!("[\"node-01\",5,3,{digest}]");
        assert_eq!(leaf_hash(&report), hash(&[b"\0", leaf.as_bytes()]));
    }
}
