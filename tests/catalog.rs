//! The message catalog: exactly one entry for each kind of journal line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Reads a file of this repository.
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn catalog() -> PathBuf {
    root().join("systemd/distomon.catalog")
}

/// Returns the source files of the program below `dir`.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let of = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(of).filter(|path| path.extension().is_some_and(|it| it == "rs")).collect()
}

/// Returns the message ids in `text`: words of 32 lower-case hexadecimal digits.
fn ids(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let is_id = |word: &&str| word.len() == 32 && word.bytes().all(|b| b"0123456789abcdef".contains(&b));
    words.filter(is_id).map(str::to_owned).collect()
}

/// Returns the entries of the catalog by id.
fn entries() -> BTreeMap<String, String> {
    let text = text(&catalog());
    let mut entries = BTreeMap::new();
    for entry in text.split("\n-- ").skip(1) {
        let (id, content) = entry.split_once('\n').expect("an id and an entry");
        assert!(entries.insert(id.to_owned(), content.to_owned()).is_none(), "{id} occurs twice");
    }
    entries
}

/// Returns the kinds of journal lines: ids by constant.
fn kinds() -> BTreeMap<String, String> {
    let text = text(&root().join("src/journal/message_id.rs"));
    let lines = text.lines().filter_map(|line| line.strip_prefix("pub const "));
    let kinds: BTreeMap<_, _> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a name and a type");
            (name.to_owned(), ids(value).pop().expect("an id"))
        })
        .collect();
    assert_eq!(kinds.len(), ids(&text).len(), "each id has a name");
    kinds
}

#[test]
fn each_kind_of_line_is_explained() {
    let kinds = kinds();
    let known: BTreeSet<_> = kinds.values().cloned().collect();
    assert_eq!(known.len(), kinds.len(), "no two kinds have one id");
    assert_eq!(entries().into_keys().collect::<BTreeSet<_>>(), known);
    let mut used = BTreeSet::new();
    for path in sources(&root().join("src")).iter().filter(|path| !path.ends_with("message_id.rs")) {
        let text = text(path);
        assert_eq!(ids(&text), Vec::<String>::new(), "{}: ids have names", path.display());
        let named = text.split("message_id::").skip(1);
        used.extend(
            named
                .filter_map(|rest| rest.split(|c: char| !c.is_ascii_uppercase() && c != '_').next())
                .map(str::to_owned),
        );
    }
    used.remove("");
    assert_eq!(used, kinds.into_keys().collect(), "the program logs each kind");
}

#[test]
fn entries_are_complete() {
    let source: String = sources(&root().join("src")).iter().map(|path| text(path)).collect();
    for (id, content) in entries() {
        let (head, body) = content.split_once("\n\n").expect("a head and a text");
        assert!(head.starts_with("Subject: ") && head.contains("\nDefined-By: distomon"), "{id}: {head}");
        assert!(body.trim().ends_with(['.', '?']), "{id}: {body}");
        let fields: Vec<_> = content.split('@').filter(|word| word.starts_with("DISTOMON_")).collect();
        for field in fields {
            assert!(source.contains(&format!("{field} = ")), "{id}: no line has {field}");
        }
    }
}

#[test]
fn journalctl_accepts_the_catalog() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let installed = dir.path().join("usr/lib/systemd/catalog");
    fs::create_dir_all(&installed).expect("a directory");
    fs::copy(catalog(), installed.join("distomon.catalog")).expect("copied");
    let journalctl = |argument: &str| {
        let output = Command::new("journalctl").arg(argument).arg("--root").arg(dir.path()).output();
        match output {
            // A machine without systemd does not read the catalog.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            output => Some(output.expect("journalctl starts")),
        }
    };
    let Some(output) = journalctl("--update-catalog") else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    let output = journalctl("--dump-catalog").expect("journalctl starts again");
    let dumped = String::from_utf8(output.stdout).expect("text");
    let found: BTreeSet<_> = ids(&dumped).into_iter().collect();
    assert_eq!(found, entries().into_keys().collect(), "{dumped}");
}
