//! Mappings whose keys are known beforehand, and their values by type. What does not fit is noted with
//! its key, its place and what was expected; whoever reads on gets None and goes on.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::error::{Page, Position};
use super::yaml::{self, Entry, Kind, Node, Value, short};
use crate::mesh::id::BadName;

/// A mapping whose keys are known.
pub(super) struct Fields<'a> {
    at: Position,
    key: String,
    entries: &'a [Entry],
}

/// One value, with the path of keys that leads to it.
pub(super) struct Field<'a> {
    pub(super) key: String,
    /// Where the value stands.
    pub(super) at: Position,
    pub(super) value: &'a Value,
}

impl<'a> Fields<'a> {
    /// The mapping at `field`, which knows the keys `known`.
    pub(super) fn open(field: &Field<'a>, known: &[&str], page: &mut Page) -> Option<Self> {
        let Value::Map(entries) = field.value else {
            field.wrong(&format!("a mapping with {}", known.join(", ")), page);
            return None;
        };
        let fields = Self { at: field.at, key: field.key.clone(), entries };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let message = match nearest(&entry.key, known) {
                Some(near) => format!("unknown key: did you mean {near}?"),
                None => format!("unknown key: expected one of {}", known.join(", ")),
            };
            page.error(entry.at, &fields.path(&short(&entry.key)), message);
        }
        Some(fields)
    }

    /// The value of `name`, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(Field { key: self.path(name), at: entry.node.at, value: &entry.node.value })
    }

    /// The value of `name`; that it is missing is a mistake.
    pub(super) fn need(&self, name: &str, expected: &str, page: &mut Page) -> Option<Field<'a>> {
        let field = self.get(name);
        if field.is_none() {
            page.error(self.at, &self.path(name), format!("missing: expected {expected}"));
        }
        field
    }

    /// The value of `name`, unless it is missing or nothing stands there (`url: null`).
    pub(super) fn get_some(&self, name: &str) -> Option<Field<'a>> {
        self.get(name).filter(|field| !field.value.is_nothing())
    }

    /// The key path of `name` in here.
    pub(super) fn path(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }
}

impl<'a> Field<'a> {
    /// The file itself.
    pub(super) fn root(node: &'a Node) -> Self {
        Field { key: String::new(), at: node.at, value: &node.value }
    }

    /// Notes that something else was expected here.
    pub(super) fn wrong(&self, expected: &str, page: &mut Page) {
        self.error(format!("expected {expected}, found {}", self.value.describe()), page);
    }

    /// Notes a mistake here.
    pub(super) fn error(&self, message: impl Into<String>, page: &mut Page) {
        page.error(self.at, &self.key, message);
    }

    /// The items of a list, at most `most`.
    pub(super) fn list(&self, expected: &str, most: usize, page: &mut Page) -> Option<Vec<Field<'a>>> {
        let Value::List(items) = self.value else {
            self.wrong(expected, page);
            return None;
        };
        if items.len() > most {
            self.error(format!("expected at most {most} entries, found {}", items.len()), page);
            return None;
        }
        Some(self.items(items))
    }

    /// The items of a list, or the one value that stands in its place.
    pub(super) fn one_or_more(&self, expected: &str, most: usize, page: &mut Page) -> Option<Vec<Field<'a>>> {
        match self.value {
            Value::List(_) => self.list(expected, most, page),
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

    /// A text. Numbers, truth values and nothing are none unless they are quoted.
    pub(super) fn text(&self, expected: &str, page: &mut Page) -> Option<&'a str> {
        self.scalar_text(expected, false, page)
    }

    /// A text, or an integer as it is written: names are often bare numbers.
    pub(super) fn word(&self, expected: &str, page: &mut Page) -> Option<&'a str> {
        self.scalar_text(expected, true, page)
    }

    fn scalar_text(&self, expected: &str, integers: bool, page: &mut Page) -> Option<&'a str> {
        if let Value::Scalar { text, plain } = self.value {
            match if *plain { yaml::kind(text) } else { Kind::Text } {
                Kind::Text => return Some(text),
                Kind::Integer if integers => return Some(text),
                Kind::Truth | Kind::Integer | Kind::Number => {
                    let found = self.value.describe();
                    let quoted = short(text);
                    self.error(format!("expected {expected}, found {found}: quote it (\"{quoted}\")"), page);
                    return None;
                }
                Kind::Nothing => {}
            }
        }
        self.wrong(expected, page);
        None
    }

    /// The name of a node or a network.
    pub(super) fn name<T: FromStr<Err = BadName>>(&self, page: &mut Page) -> Option<T> {
        let text = self.word("a name", page)?;
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.error(format!("{error}, found \"{}\"", short(text)), page);
                None
            }
        }
    }

    /// A secret: as [`Self::word`], yet what was found is never repeated.
    pub(super) fn secret(&self, expected: &str, page: &mut Page) -> Option<&'a str> {
        match self.value {
            Value::Scalar { text, plain }
                if !plain || matches!(yaml::kind(text), Kind::Text | Kind::Integer) =>
            {
                if !text.is_empty() {
                    return Some(text);
                }
                self.error(format!("expected {expected}, found an empty text"), page);
            }
            Value::Scalar { .. } if self.value.is_nothing() => self.wrong(expected, page),
            Value::Scalar { .. } => {
                self.error(format!("expected {expected}, found a number or a truth value: quote it"), page);
            }
            _ => self.wrong(expected, page),
        }
        None
    }

    /// True or false.
    pub(super) fn truth(&self, page: &mut Page) -> Option<bool> {
        if let Value::Scalar { text, plain: true } = self.value {
            if yaml::kind(text) == Kind::Truth {
                return Some(text.eq_ignore_ascii_case("true"));
            }
        }
        self.wrong("true or false", page);
        None
    }

    /// A number within `range`. One in quotes is taken too, as the Python Distomon v0.1 did.
    pub(super) fn number(&self, range: RangeInclusive<f64>, unit: &str, page: &mut Page) -> Option<f64> {
        let number = self.decimal().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(&format!("a number from {} to {}{unit}", range.start(), range.end()), page);
        }
        number
    }

    /// A whole number within `range`, `2.0` included.
    pub(super) fn count(&self, range: RangeInclusive<u32>, page: &mut Page) -> Option<u32> {
        let whole = self.decimal().filter(|number| number.fract() == 0.0);
        let count = whole.and_then(|number| format!("{number:.0}").parse().ok());
        let count = count.filter(|count| range.contains(count));
        if count.is_none() {
            self.wrong(&format!("a whole number from {} to {}", range.start(), range.end()), page);
        }
        count
    }

    /// The number that stands here in decimal. A leading zero is refused: some readers take it for octal.
    fn decimal(&self) -> Option<f64> {
        let Value::Scalar { text, .. } = self.value else { return None };
        let octal = text.len() > 1 && text.starts_with('0') && text.as_bytes()[1].is_ascii_digit();
        if octal || !matches!(yaml::kind(text), Kind::Integer | Kind::Number) {
            return None;
        }
        text.parse().ok()
    }
}

/// The one of `known` that `word` was probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Distances are quadratic in the length, and nobody mistypes this much.
    if word.len() > 2 * crate::mesh::id::MAX_NAME {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', ' ', '.'], "_");
    let meant = plain(word);
    let distance = |name: &str| strsim::osa_distance(&meant, &plain(name));
    let (near, off) = known.iter().map(|name| (*name, distance(name))).min_by_key(|(_, off)| *off)?;
    (off <= (word.chars().count() / 3).clamp(1, 3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words() {
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
