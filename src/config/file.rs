//! Reads a small regular file, and nothing else: no pipe that blocks, no directory, no gigabyte.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// No such file.
    #[error("no such file")]
    Missing,
    /// A symbolic link whose target does not exist.
    #[error("is a symbolic link to a file that does not exist")]
    Dangling,
    /// A directory, a pipe, a device.
    #[error("expected a file, found {0}")]
    NotAFile(&'static str),
    /// Longer than the limit.
    #[error("is larger than {} KiB", .0 / 1024)]
    TooLarge(u64),
    /// Whatever the system says.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// An open regular file and what it holds. The bytes are wiped when dropped: they may be a key.
pub(super) struct Contents {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Whether this user may not read the file at `path`, or not even see whether it is there.
pub(super) fn is_closed(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::READ_OK) == Err(Errno::ACCESS)
}

/// Reads the file at `path` of at most `limit` bytes. Symbolic links are followed.
pub(super) fn read(path: &Path, limit: u64) -> Result<Contents, FileError> {
    // Opening a pipe would otherwise wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::NOENT) if path.symlink_metadata().is_ok() => return Err(FileError::Dangling),
        Err(Errno::NOENT) => return Err(FileError::Missing),
        Err(error) => return Err(FileError::Io(error.into())),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a directory" } else { "a pipe, a socket or a device" };
        return Err(FileError::NotAFile(what));
    }
    if metadata.len() > limit {
        return Err(FileError::TooLarge(limit));
    }
    // One allocation of the final size, so that no copy of a key stays behind in freed memory; the
    // length is asked again of what was read, since a file may grow meanwhile.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(limit + 1).unwrap_or(0)));
    (&mut file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge(limit));
    }
    Ok(Contents { file, metadata, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_regular_files() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("text"), "12345678").expect("write");
        std::fs::create_dir(at("dir")).expect("mkdir");
        std::os::unix::fs::symlink("nowhere", at("dangling")).expect("symlink");
        std::os::unix::fs::symlink("loop", at("loop")).expect("symlink");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .expect("mkfifo");
        File::create(at("sparse")).and_then(|file| file.set_len(100 << 20)).expect("sparse file");

        assert_eq!(*read(&at("text"), 8).expect("within the limit").bytes, b"12345678");
        let check = |name: &str, expected: &str| {
            let error = read(&at(name), 1024).map(|_| ()).expect_err(name).to_string();
            assert!(error.contains(expected), "{name}: {error}");
        };
        check("missing", "no such file");
        check("dangling", "symbolic link to a file that does not exist");
        check("loop", "symbolic links");
        check("dir", "found a directory");
        check("pipe", "found a pipe");
        check("sparse", "larger than 1 KiB");
        assert!(matches!(read(&at("text"), 7), Err(FileError::TooLarge(7))));
    }
}
