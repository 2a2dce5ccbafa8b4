//! Files with secrets: written whole or not at all, and readable by their owner alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Writes the new file `path`, on disk when this returns. Missing directories are made, for the owner alone. A
/// file that is there stays as it is, and the error is `AlreadyExists`.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = directory(path);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    written(path, bytes, |_| Ok(()), publish)
}

/// Writes the file `path`, new or in place of the one that is there, on disk when this returns. What root
/// writes belongs to the directory's owner: a service's own user, who has to read it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let owner = directory(path).metadata()?;
    let give = |file: &File| {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        fchown(file, Some(owner.uid()), Some(owner.gid()))
    };
    written(path, bytes, give, |draft, path| std::fs::rename(draft, path))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn written(
    path: &Path,
    bytes: &[u8],
    prepare: impl Fn(&File) -> io::Result<()>,
    publish: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let draft = draft_of(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = prepare(&file)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| publish(&draft, path));
    if written.is_err() {
        // What went wrong is reported; a draft that cannot be removed harms nobody.
        let _ = std::fs::remove_file(&draft);
    }
    written?;
    File::open(directory(path))?.sync_all()
}

/// A name beside `path` that nobody else takes.
fn draft_of(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let name = name.trim_start_matches('.');
    Ok(directory(path).join(format!(".{name}.{}.{:08x}", std::process::id(), fastrand::u32(..))))
}

/// Gives the finished `draft` its name, unless that is taken.
fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE) {
        // Not every file system can; then two processes that start at once are told apart less sharply.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if path.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(draft, path)
        }
        result => Ok(result?),
    }
}
