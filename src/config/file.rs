//! Bounded reads of regular files. Rejects pipes, which would block, and devices.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// The reason why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The file does not exist.
    #[error("no such file")]
    Missing,
    /// A symbolic link to a file that does not exist.
    #[error("is a symbolic link to a file that does not exist")]
    Dangling,
    /// A directory, a pipe, a socket or a device.
    #[error("expected a file, found {0}")]
    NotAFile(&'static str),
    /// A file larger than the limit, in bytes.
    #[error("is too large: expected at most {} KiB", .0 / 1024)]
    TooLarge(u64),
    /// An error of the system.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl FileError {
    /// Returns the kind of the system's error.
    pub(super) fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io(error) => Some(error.kind()),
            _ => None,
        }
    }
}

/// An open regular file and its content, which is wiped when dropped since it may be a key.
pub(super) struct Contents {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Returns whether this user may not read the file `path`, or may not search its directory.
pub(super) fn is_unreadable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::READ_OK) == Err(Errno::ACCESS)
}

/// Reads the file `path` of at most `limit` bytes. Follows symbolic links.
pub(super) fn read(path: &Path, limit: u64) -> Result<Contents, FileError> {
    // Without NONBLOCK, opening a pipe waits for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        // Another thread may have created the file meanwhile.
        Err(Errno::NOENT) if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) => {
            return Err(FileError::Dangling);
        }
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
    // A buffer that never grows leaves no copy of a key in freed memory. The file may have grown since the check
    // above, so the limit applies to the bytes as well.
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
        check("sparse", "is too large: expected at most 1 KiB");
        assert!(matches!(read(&at("text"), 7), Err(FileError::TooLarge(7))));
    }
}
