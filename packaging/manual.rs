//! Generates the man pages and the completions of three shells that a package installs with the program.
//!
//!     cargo run --example manual -- OUTDIR
//!
//! OUTDIR/man receives a page for the program and one for each subcommand, generated from the definition of the
//! command line, so that they agree with `--help`; and the hand-written pages of `packaging/man/`.
//! OUTDIR/completions receives those of bash, zsh and fish. The output is reproducible.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Exit status: the command line is invalid (`EX_USAGE` of sysexits.h).
const EX_USAGE: u8 = 64;
/// Exit status: an output file cannot be created (`EX_CANTCREAT` of sysexits.h).
const EX_CANTCREAT: u8 = 73;

/// The hand-written pages by file name. `@VERSION@` is a placeholder for the version.
const HAND_WRITTEN: [(&str, &str); 5] = [
    ("distomon@.service.8", include_str!("man/distomon@.service.8")),
    ("distomon.nodeconf.5", include_str!("man/distomon.nodeconf.5")),
    ("distomon.network.5", include_str!("man/distomon.network.5")),
    ("distomon.api.7", include_str!("man/distomon.api.7")),
    ("distomon.verdicts.7", include_str!("man/distomon.verdicts.7")),
];

/// The sections that follow the options on the page of the program itself.
const ENDING: &str = include_str!("man/ending.1");

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(dir), None) = (arguments.next(), arguments.next()) else {
        eprintln!("manual: expected one argument, the output directory");
        return ExitCode::from(EX_USAGE);
    };
    let dir = Path::new(&dir);
    match write(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: writing to {}: {error}", dir.display());
            ExitCode::from(EX_CANTCREAT)
        }
    }
}

/// Writes all pages and completions below `dir`.
fn write(dir: &Path) -> io::Result<()> {
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    let mut command = distomon::cli::command();
    command.build();
    write_pages(&command, None, &man)?;
    for (name, text) in HAND_WRITTEN {
        fs::write(man.join(name), text.replace("@VERSION@", distomon::VERSION))?;
    }
    let mut command = distomon::cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "distomon", &completions)?;
    }
    Ok(())
}

/// Writes the page of `command`, a subcommand of `parent`, and those of its subcommands.
fn write_pages(command: &Command, parent: Option<&str>, dir: &Path) -> io::Result<()> {
    let page = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut text = Vec::new();
    // The date stays empty, since it would make the output irreproducible.
    let man = Man::new(command.clone())
        .title(&page)
        .section("1")
        .date("")
        .source(format!("distomon {}", distomon::VERSION));
    let man = man.manual("Distomon");
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let subcommands: Vec<_> = command.get_subcommands().filter(|sub| has_page(sub)).collect();
    if !subcommands.is_empty() {
        man.render_subcommands_section(&mut text)?;
    }
    if command.get_after_long_help().is_some() || command.get_after_help().is_some() {
        let mut extra = Vec::new();
        man.render_extra_section(&mut extra)?;
        text.extend(String::from_utf8_lossy(&extra).replacen(".SH EXTRA", ".SH NOTES", 1).bytes());
    }
    match parent {
        None => text.write_all(ENDING.as_bytes())?,
        Some(parent) => write!(text, ".SH \"SEE ALSO\"\n.BR {} (1)\n", parent.replace('-', "\\-"))?,
    }
    fs::write(dir.join(format!("{page}.1")), text)?;
    for sub in subcommands {
        write_pages(sub, Some(&page), dir)?;
    }
    Ok(())
}

/// Returns whether a subcommand has a page: all but hidden ones and clap's `help`.
fn has_page(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Stdio;

    use super::*;

    /// Writes everything to a new directory and returns it with the relative paths of all files.
    fn write_all() -> (tempfile::TempDir, BTreeSet<String>) {
        let dir = tempfile::tempdir().expect("temporary directory");
        write(dir.path()).expect("written");
        let names = ["man", "completions"].iter().flat_map(|sub| {
            let entries = fs::read_dir(dir.path().join(sub)).expect("a directory");
            entries
                .map(move |entry| format!("{sub}/{}", entry.expect("a file").file_name().to_string_lossy()))
        });
        let names = names.collect();
        (dir, names)
    }

    #[test]
    fn a_page_for_each_command() {
        let (dir, names) = write_all();
        let command = distomon::cli::command();
        for name in command.get_subcommands().map(Command::get_name) {
            assert!(names.contains(&format!("man/distomon-{name}.1")), "{name}: {names:?}");
            let page = fs::read_to_string(dir.path().join("man/distomon.1")).expect("a page");
            assert!(page.contains(&format!("distomon\\-{name}(1)")), "{name}: {page}");
        }
        for name in ["man/distomon.1", "man/distomon-key-show.1", "completions/distomon.bash"] {
            assert!(names.contains(name), "{name}: {names:?}");
        }
        for name in ["man/distomon@.service.8", "completions/_distomon", "completions/distomon.fish"] {
            assert!(names.contains(name), "{name}: {names:?}");
        }
        for (name, _) in HAND_WRITTEN {
            assert!(names.contains(&format!("man/{name}")), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
        let again = write_all().0;
        for name in &names {
            let read = |dir: &tempfile::TempDir| fs::read(dir.path().join(name)).expect("a file");
            assert!(read(&dir) == read(&again), "{name}: the output is reproducible");
        }
    }

    #[test]
    fn pages_agree_with_help() {
        let (dir, _) = write_all();
        let marks =
            [("\\-", "-"), ("\\fB", ""), ("\\fR", ""), ("\\*(Aq", "'"), ("\\(aq", "'"), ("\\*(aq", "'")];
        let plain =
            |text: &str| marks.iter().fold(text.to_owned(), |text, (mark, is)| text.replace(mark, is));
        for command in distomon::cli::command().get_subcommands() {
            let path = dir.path().join(format!("man/distomon-{}.1", command.get_name()));
            let page = plain(&fs::read_to_string(path).expect("a page"));
            for long in
                command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(clap::Arg::get_long)
            {
                assert!(page.contains(&format!("--{long}")), "{}: --{long}", command.get_name());
            }
            let about = command.get_about().expect("each subcommand has a description").to_string();
            assert!(page.contains(&about), "{}: {about}", command.get_name());
        }
    }

    #[test]
    fn pages_document_exactly_the_known_keys() {
        let check = |page: &str, known: Vec<String>| {
            let (_, text) = HAND_WRITTEN.iter().find(|(name, _)| *name == page).expect("a page");
            let keys = text.split(".SH ").find(|section| section.starts_with("KEYS")).expect("its keys");
            // Each key is the whole tag of a paragraph.
            let lines: Vec<_> = keys.lines().collect();
            let tags = lines.windows(2).filter(|two| matches!(two[0], ".TP" | ".TQ"));
            let documented: BTreeSet<_> =
                tags.filter_map(|two| two[1].strip_prefix(".B ")).map(str::to_owned).collect();
            assert_eq!(documented, known.into_iter().collect(), "{page}");
        };
        check("distomon.nodeconf.5", distomon::config::nodeconf_keys());
        check("distomon.network.5", distomon::config::network_keys());
    }

    /// Runs `program` on each page and expects no output on standard error. Skipped where it is not installed.
    fn assert_silent(program: &str, arguments: &[&str]) {
        let (dir, names) = write_all();
        for name in names.iter().filter(|name| name.starts_with("man/")) {
            let mut command = std::process::Command::new(program);
            let command = command.args(arguments).arg(dir.path().join(name)).env("LC_ALL", "C.UTF-8");
            match command.stdout(Stdio::null()).stdin(Stdio::null()).output() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                output => {
                    let output = output.expect("it starts");
                    let stderr = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success() && stderr.is_empty(), "{program} {name}: {stderr}");
                }
            }
        }
    }

    #[test]
    fn man_has_no_warning() {
        assert_silent("man", &["--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"]);
    }
}
