//! Structured fields (RFC 8941) as the signature headers need them: dictionaries in which nothing is
//! said twice. The parser keeps the last of two duplicates without a word, as its RFC wants; where
//! signatures hang on it, two readers must not be able to see two things.

use sfv::{Dictionary, ListEntry, Parameters, Parser};

/// The dictionary in `text`, if it is one, has at most `max` bytes, and repeats no key and no parameter.
/// Several fields of one name come joined by `", "` (RFC 9110, section 5.3).
pub(super) fn dictionary(text: &str, max: usize) -> Option<Dictionary> {
    if text.len() > max {
        return None;
    }
    let dictionary = Parser::parse_dictionary(text.as_bytes()).ok()?;
    let parameters = dictionary.values().map(parameters_of).sum();
    (separators(text) == (dictionary.len().saturating_sub(1), parameters)).then_some(dictionary)
}

/// The parameters of a dictionary's member itself, not those of an inner list's items.
pub(super) fn parameters(entry: &ListEntry) -> &Parameters {
    match entry {
        ListEntry::Item(item) => &item.params,
        ListEntry::InnerList(list) => &list.params,
    }
}

fn parameters_of(entry: &ListEntry) -> usize {
    let within = match entry {
        ListEntry::Item(_) => 0,
        ListEntry::InnerList(list) => list.items.iter().map(|item| item.params.len()).sum(),
    };
    parameters(entry).len() + within
}

/// How many commas and semicolons stand outside strings. Nothing but a string can contain them, so they
/// count the members and parameters that were written, whether or not the parser kept them all.
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
    fn duplicates_are_refused() {
        for (text, taken) in [
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
            assert_eq!(dictionary(text, 100).is_some(), taken, "{text}");
        }
        assert!(dictionary("a=1", 2).is_none());
    }
}
