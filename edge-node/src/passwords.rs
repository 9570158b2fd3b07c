//! The passwords file: one line `device:password` for each device, readable by the edge's user only.
//!
//! The edge adds a random password for each device of its sites that has none, and changes nothing else.
//! Empty lines and lines that begin with `#` are passed over.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rand::Rng;
use wattle_wire::DeviceId;

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "passwords";
const OWNER_ONLY: u32 = 0o600;
const PASSWORD_CHARACTERS: usize = 24;

/// Why the passwords could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PasswordsError {
    /// The file or folder refused.
    #[error("passwords file {path}: {source}; check that the edge's user may read and write it")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line that isn't `device:password`.
    #[error("passwords file {path}, line {line}: not of the form device:password")]
    Line {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: usize,
    },
}

/// Reads the passwords and adds those that `devices` lack.
///
/// # Errors
/// When the file can't be read, has a line of another form, or can't be written.
pub fn load(path: &Path, devices: &[&DeviceId]) -> Result<BTreeMap<String, String>, PasswordsError> {
    let failed = |source| PasswordsError::Io { path: path.display().to_string(), source };
    let mut passwords = match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(e) => return Err(failed(e)),
    };
    let mut file =
        OpenOptions::new().append(true).create(true).mode(OWNER_ONLY).open(path).map_err(failed)?;
    file.set_permissions(std::fs::Permissions::from_mode(OWNER_ONLY)).map_err(failed)?;
    let mut added = String::new();
    for device in devices {
        if !passwords.contains_key(device.as_str()) {
            let password = random();
            added.push_str(&format!("{device}:{password}\n"));
            passwords.insert(device.to_string(), password);
        }
    }
    file.write_all(added.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(passwords)
}

/// A password that nobody has to type: 24 letters and digits.
pub fn random() -> String {
    let letters = rand::distr::Alphanumeric;
    rand::rng().sample_iter(letters).take(PASSWORD_CHARACTERS).map(char::from).collect()
}

fn parse(path: &Path, text: &str) -> Result<BTreeMap<String, String>, PasswordsError> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, text)| match text.rsplit_once(':') {
            Some((device, password)) if !device.is_empty() && !password.is_empty() => {
                Ok((device.to_owned(), password.to_owned()))
            }
            _ => Err(PasswordsError::Line { path: path.display().to_string(), line }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> DeviceId {
        DeviceId::new(name).expect("name")
    }

    #[test]
    fn a_device_without_a_password_gets_one_and_keeps_it() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(FILE_NAME);
        let (one, two) = (device("cp-1"), device("cp-2"));
        let first = load(&path, &[&one]).expect("made");
        let second = load(&path, &[&one, &two]).expect("read");
        assert_eq!(first["cp-1"], second["cp-1"]);
        assert_ne!(second["cp-1"], second["cp-2"]);
        assert_eq!(second["cp-2"].len(), PASSWORD_CHARACTERS);
    }

    #[test]
    fn only_the_owner_may_read_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, "cp-9:known\n").expect("writable");
        let passwords = load(&path, &[]).expect("read");
        assert_eq!(passwords["cp-9"], "known");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, OWNER_ONLY);
    }

    #[test]
    fn a_line_of_another_form_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(FILE_NAME);
        for text in ["# fine\n\ncp-1:x\ncp-2\n", "# fine\n\ncp-1:x\n:x\n", "# fine\n\ncp-1:x\ncp-2:\n"] {
            std::fs::write(&path, text).expect("writable");
            let error = load(&path, &[]).expect_err("a line is wrong").to_string();
            assert!(error.contains("line 4"), "{error}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(load(&folder.path().join("none").join(FILE_NAME), &[]).is_err());
    }
}
