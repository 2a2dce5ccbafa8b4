//! Structured fields (RFC 8941) without duplicate keys. By RFC 8941, the last of two duplicates counts; in signed fields,
//! an implementation that uses the first one would read another value.

use sfv::{Dictionary, ListEntry, Parameters, Parser};

/// Parses a dictionary of at most `max` bytes. Returns `None` if it is malformed or has a duplicate key or
/// parameter. Several fields of one name must be joined by `", "` (RFC 9110, section 5.3).
pub(super) fn dictionary(text: &str, max: usize) -> Option<Dictionary> {
    if text.len() > max {
        return None;
    }
    let dictionary = Parser::parse_dictionary(text.as_bytes()).ok()?;
    let parameters = dictionary.values().map(count_parameters).sum();
    (separators(text) == (dictionary.len().saturating_sub(1), parameters)).then_some(dictionary)
}

/// Returns the parameters of a member, without those of the items of an inner list.
pub(super) fn parameters(entry: &ListEntry) -> &Parameters {
    match entry {
        ListEntry::Item(item) => &item.params,
        ListEntry::InnerList(list) => &list.params,
    }
}

fn count_parameters(entry: &ListEntry) -> usize {
    let within = match entry {
        ListEntry::Item(_) => 0,
        ListEntry::InnerList(list) => list.items.iter().map(|item| item.params.len()).sum(),
    };
    parameters(entry).len() + within
}

/// Counts the commas and semicolons outside strings. There they only separate members and start parameters, so the counts
/// include the duplicates that the parser removes.
fn separators(text: &str) -> (usize, usize) {
    let (mut commas, mut semicolons) = (0, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' if !in_string => commas += 1,
            b';' if !in_string => semicolons += 1,
            _ => {}
        }
    }
    (commas, semicolons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_rejected() {
        for (text, accepted) in [
            ("", true),
            ("a=1, b=2", true),
            ("a=1,\tb=(\"x;y,z\";k=\"\\\";\" t;q);p;r=:AA==:", true),
            ("a=1, a=2", false),
            ("a=1;p;p=2", false),
            ("a=(1;x;x)", false),
            ("a=(1 2);x=1;y;x=1", false),
            ("a=1,", false),
            ("a=\"", false),
            ("ä=1", false),
        ] {
            assert_eq!(dictionary(text, 100).is_some(), accepted, "{text}");
        }
        assert!(dictionary("a=1", 2).is_none());
    }
}
