//! YAML with positions: a tree of what the file says, where each part stands, and nothing of what it
//! means. Reading is bounded in depth and in the number of nodes, aliases included.
//!
//! Two equal keys in a mapping are mistakes here, where other readers silently take the last one.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};

use super::error::{Page, Position};

/// The largest file, in bytes.
pub(super) const MAX_FILE: u64 = 1 << 20;
/// The deepest nesting of lists and mappings.
const MAX_DEPTH: usize = 32;
/// The most nodes of a file, each use of an alias counted with all that it stands for.
const MAX_NODES: usize = 200_000;

/// A part of the file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What a part of the file is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `plain`: written without quotes, so that it may stand for a number, a truth value or nothing.
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

/// What a scalar stands for, by the core schema of YAML 1.2, section 10.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nothing,
    Truth,
    Integer,
    Number,
    Text,
}

/// The tree of the one document in `text`. Mistakes go to `page`; None if they leave no tree.
pub(super) fn parse(text: &str, page: &mut Page) -> Option<Node> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        depth: 0,
        trail: String::new(),
        page,
    };
    match reader.document() {
        Ok(node) => Some(node),
        Err(Stop { at, message }) => {
            page.error(at, "", message);
            None
        }
    }
}

/// What a scalar without quotes stands for.
pub(super) fn kind(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Nothing,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Kind::Truth,
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Kind::Number;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(unsigned) {
        return Kind::Integer;
    }
    let based = |prefix: &str, radix: u32| {
        text.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    if based("0o", 8) || based("0x", 16) {
        return Kind::Number;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_holds = (digits(whole) && (fraction.is_empty() || digits(fraction)))
        || (whole.is_empty() && digits(fraction));
    if mantissa_holds && exponent.is_none_or(digits) { Kind::Number } else { Kind::Text }
}

impl Value {
    /// What stands there, for `found …`. Long texts are cut, control characters escaped.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::List(_) => "a list".into(),
            Self::Map(_) => "a mapping".into(),
            Self::Scalar { text, plain } => match if *plain { kind(text) } else { Kind::Text } {
                Kind::Nothing => "nothing".into(),
                Kind::Truth => text.clone(),
                Kind::Integer | Kind::Number => format!("the number {}", short(text)),
                Kind::Text if text.is_empty() => "an empty text".into(),
                Kind::Text => format!("\"{}\"", short(text)),
            },
        }
    }

    /// Whether nothing stands there: no value at all, `null` or `~`.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Scalar { text, plain: true } if kind(text) == Kind::Nothing)
    }
}

/// At most 60 characters of `text`, on one line.
pub(super) fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

/// Ends the reading of a file.
struct Stop {
    at: Position,
    message: String,
}

fn stop<T>(at: Position, message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop { at, message: message.into() })
}

struct Reader<'text, 'page> {
    parser: Parser<'text, StrInput<'text>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    depth: usize,
    /// The key path of what is being read.
    trail: String,
    page: &'page mut Page,
}

impl<'text> Reader<'text, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if root.is_some() => {
                    return stop(at, "expected one document, found a second one (\"---\")");
                }
                Event::DocumentStart(_) => {
                    let (event, at) = self.next()?;
                    root = Some(self.node(event, at)?);
                }
                _ => return stop(at, "expected a document"),
            }
        }
        let start = Position { line: 1, column: 1 };
        root.map_or_else(|| stop(start, "expected a mapping, found an empty file"), Ok)
    }

    fn next(&mut self) -> Result<(Event<'text>, Position), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, position(span.start))),
            Some(Err(error)) => {
                stop(position(*error.marker()), format!("not valid YAML: {}", short(error.info())))
            }
            None => stop(Position { line: 1, column: 1 }, "not valid YAML: it ends too early"),
        }
    }

    fn node(&mut self, event: Event<'text>, at: Position) -> Result<Node, Stop> {
        self.count(at, 1)?;
        let (anchor, value) = match event {
            Event::Alias(id) => return self.alias(id, at),
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = is_text(tag.as_deref(), at)?;
                let plain = style == ScalarStyle::Plain && !tagged;
                (anchor, Value::Scalar { text: text.into_owned(), plain })
            }
            Event::SequenceStart(anchor, tag) => {
                no_tag(tag.as_deref(), at)?;
                (anchor, self.nested(at, Self::list)?)
            }
            Event::MappingStart(anchor, tag) => {
                no_tag(tag.as_deref(), at)?;
                (anchor, self.nested(at, Self::map)?)
            }
            _ => return stop(at, "not valid YAML: expected a value"),
        };
        let node = Node { at, value };
        if anchor != 0 {
            self.count(at, size(&node.value))?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, at: Position, more: usize) -> Result<(), Stop> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return stop(at, format!("expected at most {MAX_NODES} values in one file"));
        }
        Ok(())
    }

    /// The node that an alias stands for, at the alias' own place.
    fn alias(&mut self, id: usize, at: Position) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return stop(at, "this alias stands inside what it names");
        };
        self.count(at, size(&node.value))?;
        if self.depth + height(&node.value) > MAX_DEPTH {
            return stop(at, too_deep());
        }
        Ok(Node { at, ..node })
    }

    fn nested(
        &mut self,
        at: Position,
        read: impl FnOnce(&mut Self) -> Result<Value, Stop>,
    ) -> Result<Value, Stop> {
        if self.depth == MAX_DEPTH {
            return stop(at, too_deep());
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, at) => {
                    let step = format!("[{}]", items.len());
                    items.push(self.below(&step, |reader| reader.node(event, at))?);
                }
            }
        }
    }

    fn map(&mut self) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = None;
        let mut places: HashMap<String, Position> = HashMap::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let Node { value: Value::Scalar { text: key, plain }, .. } = self.node(event, at)? else {
                return stop(at, "expected a word as key, found a list or a mapping");
            };
            let step = if self.trail.is_empty() { short(&key) } else { format!(".{}", short(&key)) };
            let first = places.get(&key).copied();
            let node = self.below(&step, |reader| {
                if let Some(first) = first {
                    let message = format!("stands here twice, first in line {}: remove one", first.line);
                    reader.page.error(at, &reader.trail, message);
                }
                let (event, value_at) = reader.next()?;
                let mut node = reader.node(event, value_at)?;
                // A value that is not written stands nowhere: its key's place says more.
                if matches!(&node.value, Value::Scalar { text, plain: true } if text.is_empty()) {
                    node.at = at;
                }
                Ok(node)
            })?;
            if first.is_none() {
                places.insert(key.clone(), at);
                if plain && key == "<<" {
                    merged = Some(node);
                } else {
                    entries.push(Entry { key, at, node });
                }
            }
        }
        if let Some(node) = merged {
            merge(node, &mut places, &mut entries)?;
        }
        Ok(Value::Map(entries))
    }

    /// Reads with one more `step` of the key path.
    fn below<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        let above = self.trail.len();
        self.trail.push_str(step);
        let result = read(self);
        self.trail.truncate(above);
        result
    }
}

/// Takes what `<<: *name` stands for into `entries`; keys that are there already stay as they are.
/// (YAML 1.1's merge key: YAML 1.2 dropped it, yet the readers of most languages know it.)
fn merge(node: Node, places: &mut HashMap<String, Position>, entries: &mut Vec<Entry>) -> Result<(), Stop> {
    let Node { at, value } = node;
    match value {
        Value::Map(more) => {
            for entry in more {
                if places.insert(entry.key.clone(), entry.at).is_none() {
                    entries.push(entry);
                }
            }
            Ok(())
        }
        Value::List(nodes) if nodes.iter().all(|node| matches!(node.value, Value::Map(_))) => {
            nodes.into_iter().try_for_each(|node| merge(node, places, entries))
        }
        other => stop(at, format!("expected a mapping to merge, found {}", other.describe())),
    }
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

fn too_deep() -> String {
    format!("expected lists and mappings nested at most {MAX_DEPTH} deep")
}

/// Whether a scalar's tag makes it a text whatever it looks like.
fn is_text(tag: Option<&Tag>, at: Position) -> Result<bool, Stop> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        tag => no_tag(tag, at).map(|()| false),
    }
}

fn no_tag(tag: Option<&Tag>, at: Position) -> Result<(), Stop> {
    match tag {
        None => Ok(()),
        Some(tag) => {
            stop(at, format!("the tag {} is not understood here: remove it", short(&tag.to_string())))
        }
    }
}

/// How many nodes `value` holds, itself included.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Scalar { .. } => 0,
        Value::List(items) => items.iter().map(|item| size(&item.value)).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.node.value)).sum(),
    }
}

/// How deep lists and mappings nest in `value`.
fn height(value: &Value) -> usize {
    match value {
        Value::Scalar { .. } => 0,
        Value::List(items) => 1 + items.iter().map(|item| height(&item.value)).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| height(&entry.node.value)).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
