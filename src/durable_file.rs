//! Atomic, durable file writes, and bounded reads: after a crash, a file has its old content or its new content, never a
//! part.
//!
//! A write creates a temporary file with mode 0600 in the same directory, syncs it, renames it to the final name, and
//! syncs the directory. This module knows no file formats and no paths of the program.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Reads the regular file at `path`, which may have at most `max_bytes` bytes. Rejects devices and pipes, which could
/// block or never end.
pub(crate) fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    if !fs::metadata(path)?.is_file() {
        return Err(invalid("expected a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(invalid(format!("expected at most {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// The suffix of the name of a temporary file.
const TEMPORARY_SUFFIX: &str = ".new";

/// Creates the file `path` with `content`. If it exists, leaves it unchanged and returns `AlreadyExists`.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    write_temporary(path, content)?.persist_noclobber(path)?;
    sync_parent(path)
}

/// Creates the file `path` with `content`, or replaces it.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, content, |_| Ok(()))
}

/// Does what [`replace`] does, and calls `prepare` on the new file before it replaces the old one.
pub(crate) fn replace_with(
    path: &Path,
    content: &[u8],
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = write_temporary(path, content)?;
    prepare(temporary.as_file())?;
    temporary.persist(path)?;
    sync_parent(path)
}

/// Removes the temporary files that killed processes left in `dir`. No other process may be writing there.
pub(crate) fn remove_temporary(dir: &Path) -> io::Result<()> {
    for entry in dir.read_dir()? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The directory of `path`, `.` for a bare file name.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_temporary(path: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let name = path.file_name().map(OsStr::to_string_lossy).ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{}.", name.trim_start_matches('.')))
        .suffix(TEMPORARY_SUFFIX)
        .tempfile_in(parent(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_regular_files_within_the_maximum_are_read() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "12345").expect("written");
        assert_eq!(read(&path, 5).expect("at the maximum"), b"12345");
        for (what, path, max_bytes) in [
            ("larger", path.as_path(), 4),
            ("a directory", dir.path(), 5),
            ("a device", Path::new("/dev/zero"), 5),
        ] {
            let error = read(path, max_bytes).expect_err(what);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{what}: {error}");
        }
        let missing = read(&dir.path().join("missing"), 5).expect_err("no file");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn create_and_replace() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("file");
        create(&path, b"one").expect("created");
        assert_eq!(create(&path, b"two").map_err(|error| error.kind()), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).expect("a file"), b"one");
        replace(&path, b"three").expect("replaced");
        assert_eq!(fs::read(&path).expect("a file"), b"three");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, 0o600);
        replace_with(&path, b"four", |_| Err(io::ErrorKind::Other.into())).expect_err("prepare fails");
        assert_eq!(fs::read(&path).expect("a file"), b"three");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "no temporary file remains");
        assert!(create(&dir.path().join("missing/file"), b"").is_err(), "directories are not created");
    }

    #[test]
    fn temporary_files_are_removed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in [".epoch.x1Y2z3.new", "epoch", ".hidden", "x.new"] {
            fs::write(dir.path().join(name), "").expect("write");
        }
        remove_temporary(dir.path()).expect("removed");
        let names =
            fs::read_dir(dir.path()).expect("a directory").map(|entry| entry.expect("entry").file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, [".hidden", "epoch", "x.new"]);
    }
}
