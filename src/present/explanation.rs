//! The steps that lead to a verdict, as sentences that the command line and the dashboard share.

use crate::mesh::verdict::VoteCount;

/// The text for a node without a report.
pub const NO_REPORT: &str = "this node has no report of it.";

/// The text for a node without votes on it.
pub const NO_VOTES: &str = "no node reports an observation of it";

/// Describes how many nodes could vote.
pub fn voters_sentence(electorate: usize) -> String {
    format!("{electorate} could vote: they are alive and observe it; nodes that share a key count once.")
}

/// Describes whether `offline` votes are a quorum of `electorate` voters.
pub fn quorum_sentence(offline: usize, electorate: usize) -> String {
    let vote_count = VoteCount { electorate, offline, ..VoteCount::default() };
    let result = if vote_count.is_quorum(offline) { "a quorum" } else { "no quorum" };
    format!(
        "{offline} say offline, which is {result} (more than half of those that could vote, and at least two)."
    )
}

/// Describes whether enough nodes have witnessed the outage.
pub fn witness_sentence(is_witnessed: bool) -> String {
    let share = if is_witnessed { "more than half" } else { "at most half" };
    format!("{share} of all nodes find it offline, or have reported since a quorum did.")
}

/// Returns the end of the line about a vote: why the vote does not count, or that it is refuted.
pub fn vote_note(abstains: Option<&str>, is_refuted: bool) -> String {
    match abstains {
        Some(reason) => format!("; does not count: {reason}"),
        None if is_refuted => "; refuted: the node has reported since".to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorum() {
        for (offline, electorate, expected) in [
            (0, 0, "0 say offline, which is no quorum"),
            (1, 1, "1 say offline, which is no quorum"),
            (2, 4, "2 say offline, which is no quorum"),
            (2, 2, "2 say offline, which is a quorum"),
            (3, 5, "3 say offline, which is a quorum"),
        ] {
            let sentence = quorum_sentence(offline, electorate);
            assert!(sentence.starts_with(expected), "{offline} of {electorate}: {sentence}");
        }
    }

    #[test]
    fn vote_notes() {
        assert_eq!(vote_note(None, false), "");
        assert_eq!(vote_note(None, true), "; refuted: the node has reported since");
        assert_eq!(vote_note(Some("it was stopped"), true), "; does not count: it was stopped");
    }
}
