//! Files with secrets: created and replaced atomically, readable by their owner alone.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, fchown};
use std::path::Path;

use crate::durable_file;

/// Creates the file `path`, and missing directories with mode 0700. The content is on disk when this returns. If
/// the file exists, leaves it unchanged and returns `AlreadyExists`.
pub(super) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(durable_file::parent(path))?;
    durable_file::create(path, content)
}

/// Creates or replaces the file `path`. The content is on disk when this returns. If root writes it, the file
/// gets the owner of its directory: the user of the service, which must be able to read it.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let owner = durable_file::parent(path).metadata()?;
    durable_file::replace_with(path, content, |file: &File| {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        fchown(file, Some(owner.uid()), Some(owner.gid()))
    })
}
