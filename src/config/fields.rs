//! Typed access to mappings with known keys. Records each error with its key, its position and what was expected, and
//! returns `None`, so that the caller can continue and find further errors.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::error::{Diagnostics, Position};
use super::yaml::{self, Entry, Node, ScalarKind, Value, excerpt};
use crate::mesh::id::BadName;

/// A mapping with known keys.
pub(super) struct Fields<'a> {
    at: Position,
    key: String,
    entries: &'a [Entry],
}

/// A value with its key path.
pub(super) struct Field<'a> {
    pub(super) key: String,
    /// The position of the value.
    pub(super) at: Position,
    pub(super) value: &'a Value,
}

impl<'a> Fields<'a> {
    /// Opens the mapping `field`. Records an error for each key that is not in `known`.
    pub(super) fn open(field: &Field<'a>, known: &[&str], diagnostics: &mut Diagnostics) -> Option<Self> {
        let Value::Map(entries) = field.value else {
            field.unexpected(&format!("a mapping with {}", known.join(", ")), diagnostics);
            return None;
        };
        let fields = Self { at: field.at, key: field.key.clone(), entries };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let message = match nearest(&entry.key, known) {
                Some(near) => format!("unknown key: did you mean {near}?"),
                None => format!("unknown key: expected one of {}", known.join(", ")),
            };
            diagnostics.error(entry.at, &fields.path(&excerpt(&entry.key)), message);
        }
        Some(fields)
    }

    /// Returns the value of `name`, if present.
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(Field { key: self.path(name), at: entry.node.at, value: &entry.node.value })
    }

    /// Returns the value of `name`. Records an error if it is missing.
    pub(super) fn require(
        &self,
        name: &str,
        expected: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<Field<'a>> {
        let field = self.get(name);
        if field.is_none() {
            diagnostics.error(self.at, &self.path(name), format!("missing: expected {expected}"));
        }
        field
    }

    /// Returns the value of `name`, unless it is missing or null (`url: null`).
    pub(super) fn get_non_null(&self, name: &str) -> Option<Field<'a>> {
        self.get(name).filter(|field| !field.value.is_null())
    }

    /// Returns the key path of `name` in this mapping.
    pub(super) fn path(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }
}

impl<'a> Field<'a> {
    /// Returns the root of a file.
    pub(super) fn root(node: &'a Node) -> Self {
        Field { key: String::new(), at: node.at, value: &node.value }
    }

    /// Records that `expected` was expected here.
    pub(super) fn unexpected(&self, expected: &str, diagnostics: &mut Diagnostics) {
        self.error(format!("expected {expected}, found {}", self.value.describe()), diagnostics);
    }

    /// Records an error here.
    pub(super) fn error(&self, message: impl Into<String>, diagnostics: &mut Diagnostics) {
        diagnostics.error(self.at, &self.key, message);
    }

    /// Returns the items of a list, at most `max`.
    pub(super) fn list(
        &self,
        expected: &str,
        max: usize,
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<Field<'a>>> {
        let Value::List(items) = self.value else {
            self.unexpected(expected, diagnostics);
            return None;
        };
        if items.len() > max {
            self.error(format!("expected at most {max} entries, found {}", items.len()), diagnostics);
            return None;
        }
        Some(self.items(items))
    }

    /// Returns the items of a list, or a value that is not a list as the only item.
    pub(super) fn one_or_more(
        &self,
        expected: &str,
        max: usize,
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<Field<'a>>> {
        match self.value {
            Value::List(_) => self.list(expected, max, diagnostics),
            value => Some(vec![Field { key: self.key.clone(), at: self.at, value }]),
        }
    }

    fn items(&self, items: &'a [Node]) -> Vec<Field<'a>> {
        let item = |(index, node): (usize, &'a Node)| Field {
            key: format!("{}[{index}]", self.key),
            at: node.at,
            value: &node.value,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// Returns a string. Unquoted numbers, booleans and null are errors.
    pub(super) fn text(&self, expected: &str, diagnostics: &mut Diagnostics) -> Option<&'a str> {
        self.scalar_text(expected, false, diagnostics)
    }

    /// Returns a string, or the text of an unquoted integer, since names may be numbers.
    pub(super) fn text_or_integer(&self, expected: &str, diagnostics: &mut Diagnostics) -> Option<&'a str> {
        self.scalar_text(expected, true, diagnostics)
    }

    fn scalar_text(&self, expected: &str, integers: bool, diagnostics: &mut Diagnostics) -> Option<&'a str> {
        if let Value::Scalar { text, plain } = self.value {
            match if *plain { yaml::scalar_kind(text) } else { ScalarKind::Text } {
                ScalarKind::Text => return Some(text),
                ScalarKind::Integer if integers => return Some(text),
                ScalarKind::Bool | ScalarKind::Integer | ScalarKind::Number => {
                    let found = self.value.describe();
                    let quoted = excerpt(text);
                    self.error(
                        format!("expected {expected}, found {found}: quote it (\"{quoted}\")"),
                        diagnostics,
                    );
                    return None;
                }
                ScalarKind::Null => {}
            }
        }
        self.unexpected(expected, diagnostics);
        None
    }

    /// Returns the name of a node, a network or a site.
    pub(super) fn name<T: FromStr<Err = BadName>>(&self, diagnostics: &mut Diagnostics) -> Option<T> {
        let text = self.text_or_integer("a name", diagnostics)?;
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.error(format!("{error}, found \"{}\"", excerpt(text)), diagnostics);
                None
            }
        }
    }

    /// Does what [`Self::text_or_integer`] does, without the value in error messages.
    pub(super) fn secret(&self, expected: &str, diagnostics: &mut Diagnostics) -> Option<&'a str> {
        match self.value {
            Value::Scalar { text, plain }
                if !plain || matches!(yaml::scalar_kind(text), ScalarKind::Text | ScalarKind::Integer) =>
            {
                if !text.is_empty() {
                    return Some(text);
                }
                self.error(format!("expected {expected}, found an empty string"), diagnostics);
            }
            Value::Scalar { .. } if self.value.is_null() => self.unexpected(expected, diagnostics),
            Value::Scalar { .. } => {
                self.error(
                    format!("expected {expected}, found a number or a boolean: quote it"),
                    diagnostics,
                );
            }
            _ => self.unexpected(expected, diagnostics),
        }
        None
    }

    /// Returns a boolean.
    pub(super) fn boolean(&self, diagnostics: &mut Diagnostics) -> Option<bool> {
        if let Value::Scalar { text, plain: true } = self.value {
            if yaml::scalar_kind(text) == ScalarKind::Bool {
                return Some(text.eq_ignore_ascii_case("true"));
            }
        }
        self.unexpected("true or false", diagnostics);
        None
    }

    /// Returns a number within `range`. Accepts a quoted number, as v0.1 did.
    pub(super) fn number(
        &self,
        range: RangeInclusive<f64>,
        unit: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<f64> {
        let number = self.decimal().filter(|number| range.contains(number));
        if number.is_none() {
            self.unexpected(
                &format!("a number from {} to {}{unit}", range.start(), range.end()),
                diagnostics,
            );
        }
        number
    }

    /// Returns a whole number within `range`. Accepts `2.0`, and a quoted number.
    pub(super) fn integer(&self, range: RangeInclusive<u32>, diagnostics: &mut Diagnostics) -> Option<u32> {
        let whole = self.decimal().filter(|number| number.fract() == 0.0);
        let count = whole.and_then(|number| format!("{number:.0}").parse().ok());
        let count = count.filter(|count| range.contains(count));
        if count.is_none() {
            self.unexpected(
                &format!("a whole number from {} to {}", range.start(), range.end()),
                diagnostics,
            );
        }
        count
    }

    /// Returns a decimal number. Rejects a leading zero, which some YAML parsers read as octal.
    fn decimal(&self) -> Option<f64> {
        let Value::Scalar { text, .. } = self.value else { return None };
        let octal = text.len() > 1 && text.starts_with('0') && text.as_bytes()[1].is_ascii_digit();
        if octal || !matches!(yaml::scalar_kind(text), ScalarKind::Integer | ScalarKind::Number) {
            return None;
        }
        text.parse().ok()
    }
}

/// Returns the entry of `known` of which `word` is probably a misspelling.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // The cost is quadratic in the length, and a text this long is not a misspelling.
    if word.len() > 2 * crate::mesh::id::MAX_NAME {
        return None;
    }
    let normalize = |text: &str| text.to_ascii_lowercase().replace(['-', ' ', '.'], "_");
    let normalized = normalize(word);
    let distance = |name: &str| strsim::osa_distance(&normalized, &normalize(name));
    let (near, off) = known.iter().map(|name| (*name, distance(name))).min_by_key(|(_, off)| *off)?;
    (off <= (word.chars().count() / 3).clamp(1, 3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_key() {
        let known = ["node_id", "url", "poll_rate", "retry", "timeout", "public_key"];
        let check =
            |word: &str, expected: Option<&str>| assert_eq!(nearest(word, &known), expected, "{word}");
        check("pollrate", Some("poll_rate"));
        check("Poll-Rate", Some("poll_rate"));
        check("retyr", Some("retry"));
        check("nodeid", Some("node_id"));
        check("uri", Some("url"));
        check("pubkey", None);
        check("publickey", Some("public_key"));
        check("colour", None);
        check("x", None);
        check(&"poll_rate".repeat(1000), None);
    }
}
