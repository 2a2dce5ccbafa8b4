use std::path::PathBuf;

use super::*;

fn read(text: &str) -> Result<Node, Vec<String>> {
    let mut page = Page::new(PathBuf::from("f"));
    let node = parse(text, &mut page);
    if page.errors.is_empty() {
        Ok(node.expect("a tree, since there is no mistake"))
    } else {
        Err(page.errors.iter().map(ToString::to_string).collect())
    }
}

#[test]
fn mistakes_of_syntax_name_their_place() {
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(read(text).map(|_| ()), Err(expected.iter().map(ToString::to_string).collect()), "{text}");
    };
    check("", &["f:1:1: expected a mapping, found an empty file"]);
    check("# only a comment\n", &["f:1:1: expected a mapping, found an empty file"]);
    check(
        "a: 1\nb: 2\na: 3\nb: 4\n",
        &[
            "f:3:1: a: stands here twice, first in line 1: remove one",
            "f:4:1: b: stands here twice, first in line 2: remove one",
        ],
    );
    check("l:\n  - x: 1\n    \"x\": 2\n", &["f:3:5: l[0].x: stands here twice, first in line 2: remove one"]);
    check("a: 1\n---\nb: 2\n", &["f:2:1: expected one document, found a second one (\"---\")"]);
    check("? [a]\n: 1\n", &["f:1:3: expected a word as key, found a list or a mapping"]);
    check("a: !mine 1\n", &["f:1:4: the tag !mine is not understood here: remove it"]);
    check("a: &x [*x]\n", &["f:1:8: this alias stands inside what it names"]);
    check("a: 1\n<<: 2\n", &["f:2:5: expected a mapping to merge, found the number 2"]);
    let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
    check(&deep, &["f:1:35: expected lists and mappings nested at most 32 deep"]);
    for broken in
        ["a: [1, 2", "a: 'x", "a:\n\tb: 1", "a: b: c", "a: \"\\q\"", "{a: 1", "a: *nobody", "%YAML 1\na"]
    {
        let errors = read(broken).map(|_| ()).expect_err(broken);
        assert!(errors[0].contains("not valid YAML: "), "{broken}: {errors:?}");
    }
}

#[test]
fn aliases_cannot_multiply_without_end() {
    let mut laughs = vec!["a: &a [x, x, x, x, x, x, x, x, x]".to_owned()];
    for (name, before) in ('b'..='i').zip('a'..) {
        let uses = vec![format!("*{before}"); 9].join(", ");
        laughs.push(format!("{name}: &{name} [{uses}]"));
    }
    let laughs = laughs.join("\n");
    let errors = read(&laughs).map(|_| ()).expect_err("too many");
    assert!(errors[0].contains("at most 200000 values"), "{errors:?}");
    let (open, close) = ("[".repeat(20), "]".repeat(20));
    let errors = read(&format!("a: &a {open}{close}\nb: {open}*a{close}\n")).map(|_| ()).expect_err("deep");
    assert!(errors[0].contains("at most 32 deep"), "{errors:?}");
}

#[test]
fn kinds_of_scalars() {
    for (text, expected) in [
        ("", Kind::Nothing),
        ("~", Kind::Nothing),
        ("True", Kind::Truth),
        ("yes", Kind::Text),
        ("12", Kind::Integer),
        ("-007", Kind::Integer),
        ("0x1F", Kind::Number),
        ("1.5", Kind::Number),
        (".5", Kind::Number),
        ("5.", Kind::Number),
        ("1e3", Kind::Number),
        ("-.inf", Kind::Number),
        (".nan", Kind::Number),
        (".", Kind::Text),
        ("1e", Kind::Text),
        ("1.2.3.4", Kind::Text),
        ("0x", Kind::Text),
        ("-", Kind::Text),
        ("node-1", Kind::Text),
    ] {
        assert_eq!(kind(text), expected, "{text}");
    }
}

/// The tree in the other reader's words, for comparison.
fn translate(node: &Node) -> serde_yaml::Value {
    match &node.value {
        Value::Scalar { text, plain } if *plain && kind(text) != Kind::Text => {
            serde_yaml::from_str(text).expect("a scalar")
        }
        Value::Scalar { text, .. } => text.as_str().into(),
        Value::List(items) => serde_yaml::Value::Sequence(items.iter().map(translate).collect()),
        Value::Map(entries) => serde_yaml::Value::Mapping(
            entries.iter().map(|entry| (entry.key.as_str().into(), translate(&entry.node))).collect(),
        ),
    }
}

#[test]
fn both_readers_agree() {
    for text in [
        "---\na: 1\nb: [x, 'y', \"z\\n\"]\n...\n",
        "\u{feff}a: no\n",
        "a: |\n  two\n  lines\nb: >-\n  one\n  line\nc:\nd: ~\n",
        "a: &x {k: 1.5, l: true}\nb: *x\nc: {<<: *x, k: 2}\n",
        "a: {<<: [{k: 1}, {k: 2, l: 3}], m: 4}\n",
        "a: !!str 12\n",
        "- 1\n- - 2\n  - 3\n",
        "a: \"ä\u{1F600}\" # comment\n",
        "a: x # y\nb: x#y\n",
    ] {
        let ours = read(text).expect(text);
        let mut theirs: serde_yaml::Value =
            serde_yaml::from_str(text.trim_start_matches('\u{feff}')).expect(text);
        theirs.apply_merge().expect(text);
        assert_eq!(translate(&ours), theirs, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[-a-c:,?&*!|>'\"%@`{}\\[\\]#~<. \t\r\n0-9\\\\é]{0,80}") {
        let _ = read(&text);
    }
}
