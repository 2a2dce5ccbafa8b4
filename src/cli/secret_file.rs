//! Passwords and tokens in files or on standard input. They are not arguments because all users of a host can read
//! the arguments of a process.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::error::CliError;
use super::{EX_NOINPUT, EX_USAGE};

/// Reads a secret of 1 to `max` bytes, on one line, from the file `path`, or from standard input if that is `-`.
/// Errors contain `what`, the name of the secret, but not its text.
pub(super) fn read(path: &Path, what: &str, max: usize) -> Result<Zeroizing<String>, CliError> {
    let from = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 3));
    // Two more bytes for the end of the line, and one to detect a longer secret.
    let limit = max as u64 + 3;
    let read = if path == Path::new("-") {
        read_limited(io::stdin().lock(), limit, &mut bytes)
    } else {
        File::open(path).and_then(|file| read_limited(file, limit, &mut bytes))
    };
    read.map_err(|error| CliError::new(EX_NOINPUT, format!("reading the {what} from {from}: {error}")))?;
    let expected =
        || CliError::new(EX_USAGE, format!("{from}: expected a {what} of 1 to {max} bytes on one line"));
    let text = std::str::from_utf8(&bytes).map_err(|_| expected())?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() || text.len() > max || text.contains(['\n', '\r', '\0']) {
        return Err(expected());
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn read_limited(from: impl Read, limit: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    from.take(limit).read_to_end(bytes).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("secret");
        let check = |contents: &[u8], expected: Result<&str, u8>| {
            std::fs::write(&path, contents).expect("write");
            let found = read(&path, "password", 8);
            let found = found.as_ref().map(|text| text.as_str()).map_err(|error| error.status);
            assert_eq!(found, expected, "{contents:?}");
        };
        check(b"secret", Ok("secret"));
        check(b"secret\n", Ok("secret"));
        check(b" secret\r\n", Ok(" secret"));
        check(b"12345678\r\n", Ok("12345678"));
        for bad in [&b""[..], b"\n", b"123456789", b"a\nb", b"a\n\n", b"\xff", b"a\0", &[b'a'; 10_000]] {
            check(bad, Err(EX_USAGE));
        }
        std::fs::remove_file(&path).expect("the file");
        let missing = read(&path, "password", 8).expect_err("no such file");
        assert_eq!(missing.status, EX_NOINPUT);
        assert!(missing.message.contains("secret: No such file"), "{}", missing.message);
    }
}
