//! A YAML parser that returns a tree with positions. It knows no configuration keys, and bounds the depth and the number
//! of nodes, with aliases expanded.
//!
//! Duplicate keys in a mapping are errors; other parsers silently use the last one.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};

use super::error::{Diagnostics, Position};

/// The maximum size of a file, in bytes.
pub(super) const MAX_FILE: u64 = 1 << 20;
/// The maximum nesting depth of lists and mappings.
const MAX_DEPTH: usize = 32;
/// The maximum number of nodes in a file, with aliases expanded.
const MAX_NODES: usize = 200_000;

/// A node of the tree.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// The value of a node.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A scalar; `plain`: without quotes, so that it may be a number, a boolean or null.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) node: Node,
}

/// The type of a scalar in the core schema of YAML 1.2, section 10.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScalarKind {
    Null,
    Bool,
    Integer,
    Number,
    Text,
}

/// Parses the only document in `text`. Records errors in `diagnostics`, and returns `None` after one that ends parsing.
pub(super) fn parse(text: &str, diagnostics: &mut Diagnostics) -> Option<Node> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        depth: 0,
        key_path: String::new(),
        diagnostics,
    };
    match reader.document() {
        Ok(node) => Some(node),
        Err(ParseAbort { at, message }) => {
            diagnostics.error(at, "", message);
            None
        }
    }
}

/// Returns the type of an unquoted scalar.
pub(super) fn scalar_kind(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ScalarKind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return ScalarKind::Bool,
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return ScalarKind::Number;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(unsigned) {
        return ScalarKind::Integer;
    }
    let based = |prefix: &str, radix: u32| {
        text.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    if based("0o", 8) || based("0x", 16) {
        return ScalarKind::Number;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_mantissa = (digits(whole) && (fraction.is_empty() || digits(fraction)))
        || (whole.is_empty() && digits(fraction));
    if is_mantissa && exponent.is_none_or(digits) { ScalarKind::Number } else { ScalarKind::Text }
}

impl Value {
    /// Describes the value for `found …` in errors, on one line of limited length.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::List(_) => "a list".into(),
            Self::Map(_) => "a mapping".into(),
            Self::Scalar { text, plain } => match if *plain { scalar_kind(text) } else { ScalarKind::Text } {
                ScalarKind::Null => "nothing".into(),
                ScalarKind::Bool => text.clone(),
                ScalarKind::Integer | ScalarKind::Number => format!("the number {}", excerpt(text)),
                ScalarKind::Text if text.is_empty() => "an empty string".into(),
                ScalarKind::Text => format!("\"{}\"", excerpt(text)),
            },
        }
    }

    /// Returns whether the value is null: empty, `null` or `~`.
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Scalar { text, plain: true } if scalar_kind(text) == ScalarKind::Null)
    }
}

/// Returns at most 60 characters of `text`, with control characters escaped.
pub(super) fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

/// An error that ends the parsing of a file.
struct ParseAbort {
    at: Position,
    message: String,
}

fn abort<T>(at: Position, message: impl Into<String>) -> Result<T, ParseAbort> {
    Err(ParseAbort { at, message: message.into() })
}

struct Reader<'text, 'diagnostics> {
    parser: Parser<'text, StrInput<'text>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    depth: usize,
    /// The key path of the current node.
    key_path: String,
    diagnostics: &'diagnostics mut Diagnostics,
}

impl<'text> Reader<'text, '_> {
    fn document(&mut self) -> Result<Node, ParseAbort> {
        let mut root = None;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if root.is_some() => {
                    return abort(at, "expected one document, found a second one (\"---\")");
                }
                Event::DocumentStart(_) => {
                    let (event, at) = self.next()?;
                    root = Some(self.node(event, at)?);
                }
                _ => return abort(at, "expected a document"),
            }
        }
        let start = Position { line: 1, column: 1 };
        root.map_or_else(|| abort(start, "expected a mapping, found an empty file"), Ok)
    }

    fn next(&mut self) -> Result<(Event<'text>, Position), ParseAbort> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, position(span.start))),
            Some(Err(error)) => {
                abort(position(*error.marker()), format!("not valid YAML: {}", excerpt(error.info())))
            }
            None => abort(Position { line: 1, column: 1 }, "not valid YAML: it ends too early"),
        }
    }

    fn node(&mut self, event: Event<'text>, at: Position) -> Result<Node, ParseAbort> {
        self.count(at, 1)?;
        let (anchor, value) = match event {
            Event::Alias(id) => return self.alias(id, at),
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = is_string_tag(tag.as_deref(), at)?;
                let plain = style == ScalarStyle::Plain && !tagged;
                (anchor, Value::Scalar { text: text.into_owned(), plain })
            }
            Event::SequenceStart(anchor, tag) => {
                reject_tag(tag.as_deref(), at)?;
                (anchor, self.nested(at, Self::list)?)
            }
            Event::MappingStart(anchor, tag) => {
                reject_tag(tag.as_deref(), at)?;
                (anchor, self.nested(at, Self::map)?)
            }
            _ => return abort(at, "not valid YAML: expected a value"),
        };
        let node = Node { at, value };
        if anchor != 0 {
            self.count(at, size(&node.value))?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, at: Position, more: usize) -> Result<(), ParseAbort> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return abort(at, format!("expected at most {MAX_NODES} values in one file"));
        }
        Ok(())
    }

    /// Returns a copy of the node that an alias refers to, with the position of the alias.
    fn alias(&mut self, id: usize, at: Position) -> Result<Node, ParseAbort> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return abort(at, "the alias refers to a node that contains it");
        };
        self.count(at, size(&node.value))?;
        if self.depth + height(&node.value) > MAX_DEPTH {
            return abort(at, too_deep());
        }
        Ok(Node { at, ..node })
    }

    fn nested(
        &mut self,
        at: Position,
        read: impl FnOnce(&mut Self) -> Result<Value, ParseAbort>,
    ) -> Result<Value, ParseAbort> {
        if self.depth == MAX_DEPTH {
            return abort(at, too_deep());
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Result<Value, ParseAbort> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, at) => {
                    let step = format!("[{}]", items.len());
                    items.push(self.with_key(&step, |reader| reader.node(event, at))?);
                }
            }
        }
    }

    fn map(&mut self) -> Result<Value, ParseAbort> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = None;
        let mut positions: HashMap<String, Position> = HashMap::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let Node { value: Value::Scalar { text: key, plain }, .. } = self.node(event, at)? else {
                return abort(at, "expected a string as key, found a list or a mapping");
            };
            let step = if self.key_path.is_empty() { excerpt(&key) } else { format!(".{}", excerpt(&key)) };
            let first = positions.get(&key).copied();
            let node = self.with_key(&step, |reader| {
                if let Some(first) = first {
                    let message = format!("duplicate key, first in line {}: remove one", first.line);
                    reader.diagnostics.error(at, &reader.key_path, message);
                }
                let (event, value_at) = reader.next()?;
                let mut node = reader.node(event, value_at)?;
                // An empty value has no position, so it gets that of its key.
                if matches!(&node.value, Value::Scalar { text, plain: true } if text.is_empty()) {
                    node.at = at;
                }
                Ok(node)
            })?;
            if first.is_none() {
                positions.insert(key.clone(), at);
                if plain && key == "<<" {
                    merged = Some(node);
                } else {
                    entries.push(Entry { key, at, node });
                }
            }
        }
        if let Some(node) = merged {
            merge(node, &mut positions, &mut entries)?;
        }
        Ok(Value::Map(entries))
    }

    /// Calls `read` with `step` appended to the key path.
    fn with_key<T>(
        &mut self,
        step: &str,
        read: impl FnOnce(&mut Self) -> Result<T, ParseAbort>,
    ) -> Result<T, ParseAbort> {
        let above = self.key_path.len();
        self.key_path.push_str(step);
        let result = read(self);
        self.key_path.truncate(above);
        result
    }
}

/// Adds the entries of `<<: *name` to `entries`, except for keys that exist. (The merge key of YAML 1.1 is not in YAML
/// 1.2, but most parsers support it.)
fn merge(
    node: Node,
    positions: &mut HashMap<String, Position>,
    entries: &mut Vec<Entry>,
) -> Result<(), ParseAbort> {
    let Node { at, value } = node;
    match value {
        Value::Map(more) => {
            for entry in more {
                if positions.insert(entry.key.clone(), entry.at).is_none() {
                    entries.push(entry);
                }
            }
            Ok(())
        }
        Value::List(nodes) if nodes.iter().all(|node| matches!(node.value, Value::Map(_))) => {
            nodes.into_iter().try_for_each(|node| merge(node, positions, entries))
        }
        other => abort(at, format!("expected a mapping to merge, found {}", other.describe())),
    }
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

fn too_deep() -> String {
    format!("expected lists and mappings nested at most {MAX_DEPTH} deep")
}

/// Returns whether the tag of a scalar is `!!str`. Other tags are errors.
fn is_string_tag(tag: Option<&Tag>, at: Position) -> Result<bool, ParseAbort> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        tag => reject_tag(tag, at).map(|()| false),
    }
}

fn reject_tag(tag: Option<&Tag>, at: Position) -> Result<(), ParseAbort> {
    match tag {
        None => Ok(()),
        Some(tag) => abort(at, format!("unsupported tag {}: remove it", excerpt(&tag.to_string()))),
    }
}

/// Returns the number of nodes in `value`, itself included.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Scalar { .. } => 0,
        Value::List(items) => items.iter().map(|item| size(&item.value)).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.node.value)).sum(),
    }
}

/// Returns the nesting depth of lists and mappings in `value`.
fn height(value: &Value) -> usize {
    match value {
        Value::Scalar { .. } => 0,
        Value::List(items) => 1 + items.iter().map(|item| height(&item.value)).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| height(&entry.node.value)).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
