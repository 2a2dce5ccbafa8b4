use proptest::prelude::*;

use super::*;
use crate::crypto::dsse::MAX_ENVELOPE;
use crate::mesh::sample;
use crate::mesh::wire::message::FILL_BYTES;

/// The index of this node; the peer's does not matter.
const ME: usize = 0;
const PEER: usize = 1;

/// More than half of a message: no two of these fit.
const HALF: usize = FILL_BYTES / 2 + 1;

/// A report that needs `bytes` bytes in a message.
fn report(author: usize, bytes: usize) -> Arc<VerifiedReport> {
    let report = sample::report(author, 1, 1);
    let key = sample::keypair(author as u64).public().clone();
    Arc::new(VerifiedReport::own(report, b"", " ".repeat(bytes - 1), key))
}

/// Reports that a peer lacks, each in `sizes` by its author and its size in bytes.
fn missing(sizes: &[(usize, usize)]) -> MissingReports {
    let report_of = |&(author, bytes): &(usize, usize)| (author, report(author, bytes));
    let (own, others): (Vec<_>, Vec<_>) = sizes.iter().map(report_of).partition(|(author, _)| *author == ME);
    MissingReports {
        own: own.into_iter().map(|(_, report)| report).next(),
        others,
        bytes: sizes.iter().map(|(_, bytes)| bytes).sum(),
        room: FILL_BYTES,
    }
}

/// The authors of the reports in the next message, in its order.
fn next(round_robin: &mut RoundRobin, sizes: &[(usize, usize)]) -> Vec<usize> {
    let selected = round_robin.select(PEER, missing(sizes));
    let bytes: usize = selected.iter().map(|report| bytes_in_message(report)).sum();
    assert!(bytes <= FILL_BYTES, "{bytes} bytes");
    let number = |report: &Arc<VerifiedReport>| report.author().as_str()[5..].parse().expect("a number");
    selected.iter().map(number).collect()
}

/// The authors in each of the next messages to a peer that lacks the same reports every time.
fn messages<const N: usize>(sizes: &[(usize, usize)]) -> [Vec<usize>; N] {
    let mut round_robin = RoundRobin::default();
    std::array::from_fn(|_| next(&mut round_robin, sizes))
}

#[test]
fn reports_that_fit_are_all_sent() {
    let fill = FILL_BYTES - 1_001;
    assert_eq!(messages(&[(ME, 1), (2, fill), (3, 1_000)]), [vec![0, 2, 3], vec![0, 2, 3]]);
    let mut round_robin = RoundRobin::default();
    next(&mut round_robin, &[(ME, 1), (2, fill), (3, 1_000)]);
    assert!(round_robin.turns.is_empty(), "needs no memory");
    assert_eq!(messages(&[(ME, 2), (2, fill), (3, 1_000)]), [vec![0, 2], vec![0, 3]], "one byte more");
}

#[test]
fn a_report_that_does_not_fit_is_skipped() {
    // Before, the second large one ended the message.
    let sizes = [(ME, 1_000), (2, HALF), (3, HALF), (4, 1_000), (5, 1_000)];
    assert_eq!(messages(&sizes), [vec![0, 2, 4, 5], vec![0, 3, 4, 5], vec![0, 2, 4, 5]]);
}

#[test]
fn reports_within_an_equal_share_precede_larger_ones() {
    // Four authors share a message. Author 2 has the first turn.
    let share = FILL_BYTES / 4;
    assert_eq!(
        messages(&[(2, share), (3, share + 1), (4, share), (5, share)]),
        [vec![2, 4, 5], vec![3, 4, 5]]
    );
    // This node's own report counts as one of four.
    assert_eq!(
        messages(&[(ME, share), (2, share), (3, share + 1), (4, share)]),
        [vec![0, 2, 4], vec![0, 3, 4]]
    );
}

#[test]
fn large_reports_are_not_starved_by_small_ones() {
    let small = (3..35).map(|author| (author, FILL_BYTES / 33));
    let sizes: Vec<_> = std::iter::once((2, MAX_ENVELOPE)).chain(small).collect();
    let sent: [Vec<usize>; 33] = messages(&sizes);
    // After the first message it has a turn again after those that were skipped.
    let with_large: Vec<_> = (0..33).filter(|at| sent[*at].contains(&2)).collect();
    assert_eq!(with_large, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32]);
}

#[test]
fn small_reports_are_not_starved_by_two_large_ones() {
    let small = (2..66).filter(|author| ![20, 40].contains(author)).map(|author| (author, 1_000));
    let sizes: Vec<_> = small.chain([(20, MAX_ENVELOPE), (40, MAX_ENVELOPE)]).collect();
    let mut sizes = sizes;
    sizes.sort_unstable();
    for sent in messages::<8>(&sizes) {
        assert_eq!(sent.len(), 63, "all small ones and one of the large: {sent:?}");
    }
}

#[test]
fn the_own_report_is_sent_at_least_in_every_other_message() {
    let sizes = [(ME, HALF), (2, HALF), (3, HALF), (4, 1_000)];
    assert_eq!(messages(&sizes), [vec![0, 4], vec![2, 4], vec![0, 4], vec![3, 4], vec![0, 4], vec![2, 4]]);
    // Reports that fit beside it do not displace it.
    let sizes = [(ME, HALF), (2, HALF - 2), (3, HALF - 2)];
    assert_eq!(messages(&sizes), [vec![0, 2], vec![0, 3], vec![0, 2]]);
}

#[test]
fn each_peer_has_its_own_turns() {
    let mut round_robin = RoundRobin::default();
    let sizes = [(2, HALF), (3, HALF)];
    assert_eq!(next(&mut round_robin, &sizes), [2]);
    let other = round_robin.select(7, missing(&sizes));
    assert_eq!(other[0].author().as_str(), "node-02");
    assert_eq!(next(&mut round_robin, &sizes), [3]);
}

#[test]
fn turns_survive_a_change_of_the_membership() {
    let mut round_robin = RoundRobin::default();
    next(&mut round_robin, &[(8, HALF), (9, HALF)]);
    assert_eq!(next(&mut round_robin, &[(2, HALF), (3, HALF)]), [2], "no author has an index from 9 on");
}

proptest! {
    /// Some reports advance between two messages and so are missing again, whatever their authors choose.
    #[test]
    fn every_missing_report_is_sent_within_a_round(
        sizes in proptest::collection::vec(1..=MAX_ENVELOPE, 2..12),
        advancing in proptest::collection::vec(any::<u16>(), 24),
        later in proptest::collection::vec(1..=MAX_ENVELOPE, 24),
    ) {
        let count = sizes.len();
        let mut round_robin = RoundRobin::default();
        let mut lacking: Vec<Option<usize>> = sizes.into_iter().map(Some).collect();
        let mut waiting = vec![0; count];
        for (advancing, size) in advancing.iter().zip(&later) {
            for (author, lacking) in lacking.iter_mut().enumerate() {
                if advancing >> author & 1 == 1 {
                    *lacking = Some(*size);
                }
            }
            let missing: Vec<_> =
                lacking.iter().enumerate().filter_map(|(author, size)| Some((author, (*size)?))).collect();
            let sent = next(&mut round_robin, &missing);
            for (author, lacking) in lacking.iter_mut().enumerate() {
                if sent.contains(&author) {
                    (*lacking, waiting[author]) = (None, 0);
                } else if lacking.is_some() {
                    waiting[author] += 1;
                    // This node's own report may take every other message.
                    prop_assert!(waiting[author] < 2 * count, "{author} waits for {} messages", waiting[author]);
                }
            }
            prop_assert!(waiting[ME] <= 1);
        }
    }
}
