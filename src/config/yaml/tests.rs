use std::path::PathBuf;

use super::*;

fn read(text: &str) -> Result<Node, Vec<String>> {
    let mut diagnostics = Diagnostics::new(PathBuf::from("f"));
    let node = parse(text, &mut diagnostics);
    if diagnostics.errors.is_empty() {
        Ok(node.expect("a tree, since there is no error"))
    } else {
        Err(diagnostics.errors.iter().map(ToString::to_string).collect())
    }
}

#[test]
fn syntax_errors_have_positions() {
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(read(text).map(|_| ()), Err(expected.iter().map(ToString::to_string).collect()), "{text}");
    };
    check("", &["f:1:1: expected a mapping, found an empty file"]);
    check("# only a comment\n", &["f:1:1: expected a mapping, found an empty file"]);
    check(
        "a: 1\nb: 2\na: 3\nb: 4\n",
        &[
            "f:3:1: a: duplicate key, first in line 1: remove one",
            "f:4:1: b: duplicate key, first in line 2: remove one",
        ],
    );
    check("l:\n  - x: 1\n    \"x\": 2\n", &["f:3:5: l[0].x: duplicate key, first in line 2: remove one"]);
    check("a: 1\n---\nb: 2\n", &["f:2:1: expected one document, found a second one (\"---\")"]);
    check("? [a]\n: 1\n", &["f:1:3: expected a string as key, found a list or a mapping"]);
    check("a: !mine 1\n", &["f:1:4: unsupported tag !mine: remove it"]);
    check("a: &x [*x]\n", &["f:1:8: the alias refers to a node that contains it"]);
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
fn alias_expansion_is_bounded() {
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
fn scalar_kinds() {
    for (text, expected) in [
        ("", ScalarKind::Null),
        ("~", ScalarKind::Null),
        ("True", ScalarKind::Bool),
        ("yes", ScalarKind::Text),
        ("12", ScalarKind::Integer),
        ("-007", ScalarKind::Integer),
        ("0x1F", ScalarKind::Number),
        ("1.5", ScalarKind::Number),
        (".5", ScalarKind::Number),
        ("5.", ScalarKind::Number),
        ("1e3", ScalarKind::Number),
        ("-.inf", ScalarKind::Number),
        (".nan", ScalarKind::Number),
        (".", ScalarKind::Text),
        ("1e", ScalarKind::Text),
        ("1.2.3.4", ScalarKind::Text),
        ("0x", ScalarKind::Text),
        ("-", ScalarKind::Text),
        ("node-1", ScalarKind::Text),
    ] {
        assert_eq!(scalar_kind(text), expected, "{text}");
    }
}

/// Converts the tree to the type of `serde_yaml`, for comparison.
fn to_serde_yaml(node: &Node) -> serde_yaml::Value {
    match &node.value {
        Value::Scalar { text, plain } if *plain && scalar_kind(text) != ScalarKind::Text => {
            serde_yaml::from_str(text).expect("a scalar")
        }
        Value::Scalar { text, .. } => text.as_str().into(),
        Value::List(items) => serde_yaml::Value::Sequence(items.iter().map(to_serde_yaml).collect()),
        Value::Map(entries) => serde_yaml::Value::Mapping(
            entries.iter().map(|entry| (entry.key.as_str().into(), to_serde_yaml(&entry.node))).collect(),
        ),
    }
}

#[test]
fn same_results_as_serde_yaml() {
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
        assert_eq!(to_serde_yaml(&ours), theirs, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_does_not_panic(text in "[-a-c:,?&*!|>'\"%@`{}\\[\\]#~<. \t\r\n0-9\\\\é]{0,80}") {
        let _ = read(&text);
    }
}
