//! The file `epoch`, checked against the copies of the epoch in `last_run` and `heads.json`: damage that changes one of
//! the three numbers must neither repeat an epoch nor use up all that are left.

use std::io;

use crate::mesh::id::MAX_INTEGER;

/// How far one of the three numbers may exceed both the others and the clock, in ms: ten years.
const MAX_LEAD_MS: u64 = 10 * 366 * 24 * 60 * 60 * 1000;

/// Why the last epoch is unknown.
#[derive(Debug)]
pub(super) struct LostEpoch {
    /// The largest epoch that is not damaged, as far as that is known; 0 for none.
    pub(super) known: u64,
    /// The damage.
    pub(super) error: io::Error,
}

/// Returns the last epoch that this node used, smaller than 2^53 − 1 so that a larger one exists; 0 for none. `file` is
/// the content of the file, none if it is missing; `copies` are the epochs that `last_run` and `heads.json` name, 0 for
/// none.
pub(super) fn last_epoch(
    file: io::Result<Option<String>>,
    copies: [u64; 2],
    wall_ms: u64,
) -> Result<u64, LostEpoch> {
    let parsed = file.and_then(|text| text.map_or(Ok(0), |text| parse(&text)));
    let (epoch, error) = match parsed {
        Ok(epoch) => (epoch, None),
        Err(error) => (0, Some(error)),
    };
    let mut epochs = [epoch, copies[0], copies[1]];
    epochs.sort_unstable();
    let [_, second, largest] = epochs;
    let limit = second.max(wall_ms).saturating_add(MAX_LEAD_MS);
    let known = if largest > limit { second } else { largest };
    let error = if error.is_some() {
        error
    } else if largest > limit {
        Some(invalid(format!(
            "the epoch {largest} is more than ten years later than the clock and all copies"
        )))
    } else if largest >= MAX_INTEGER {
        Some(invalid(format!("no epoch is larger than {largest}")))
    } else {
        None
    };
    error.map_or(Ok(known), |error| Err(LostEpoch { known, error }))
}

fn parse(text: &str) -> io::Result<u64> {
    let epoch = text.trim().parse().ok().filter(|epoch| *epoch < MAX_INTEGER);
    epoch.ok_or_else(|| invalid(format!("expected one number less than {MAX_INTEGER}")))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL_MS: u64 = 1_763_884_900_000;
    const LATE: u64 = WALL_MS + MAX_LEAD_MS;

    /// The last epoch, or the error with the known one.
    fn last(file: Option<&str>, copies: [u64; 2]) -> Result<u64, u64> {
        last_epoch(Ok(file.map(str::to_owned)), copies, WALL_MS).map_err(|lost| lost.known)
    }

    #[test]
    fn the_largest_of_three_numbers_counts() {
        for (file, copies, expected) in [
            (None, [0, 0], 0),
            (Some("7\n"), [0, 0], 7),
            (Some("7"), [8, 6], 8),
            (Some("7"), [6, 8], 8),
            (None, [8, 0], 8),
            (None, [6, 9], 9),
        ] {
            assert_eq!(last(file, copies), Ok(expected), "{file:?} {copies:?}");
        }
        for damaged in ["", "x", "-1", "1 2", "9007199254740991", "18446744073709551616"] {
            assert_eq!(last(Some(damaged), [5, 6]), Err(6), "{damaged}");
        }
        let unreadable = last_epoch(Err(io::ErrorKind::IsADirectory.into()), [5, 4], WALL_MS);
        assert_eq!(unreadable.expect_err("unreadable").known, 5);
    }

    #[test]
    fn number_far_above_the_clock_and_the_others_is_damaged() {
        let largest = MAX_INTEGER - 1;
        assert_eq!(last(Some(&LATE.to_string()), [5, 0]), Ok(LATE));
        assert_eq!(last(Some(&(LATE + 1).to_string()), [5, 4]), Err(5));
        assert_eq!(last(Some(&largest.to_string()), [WALL_MS, WALL_MS - 1]), Err(WALL_MS));
        for copies in [[LATE + 1, 0], [0, LATE + 1]] {
            assert_eq!(last(Some("5"), copies), Err(5), "{copies:?}");
            assert_eq!(last(None, copies), Err(0), "{copies:?}");
            assert_eq!(last(Some("damaged"), copies), Err(0), "{copies:?}");
            assert_eq!(last(Some(&(LATE + 2).to_string()), copies), Ok(LATE + 2), "the clock was ahead");
        }
        // The copy is ten years above the clock, and the file ten years above the copy.
        assert_eq!(last(Some(&(LATE + MAX_LEAD_MS).to_string()), [LATE, 0]), Ok(LATE + MAX_LEAD_MS));
        assert_eq!(last(Some(&(LATE + MAX_LEAD_MS + 1).to_string()), [LATE, 0]), Err(LATE));
    }

    #[test]
    fn no_epoch_follows_the_largest() {
        let largest = MAX_INTEGER - 1;
        assert_eq!(last(Some(&largest.to_string()), [largest, 0]), Ok(largest));
        assert_eq!(last(Some(&largest.to_string()), [MAX_INTEGER, 0]), Err(MAX_INTEGER));
        assert_eq!(last(None, [MAX_INTEGER, MAX_INTEGER]), Err(MAX_INTEGER));
    }
}
