//! Where secrets come from: a file that only its owner reads, a systemd credential, the environment. Never the command line.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crypto::Secret;
use nix::fcntl::OFlag;
use nix::unistd::{Uid, User, geteuid};

/// The longest secret file that is read, in octets; an RSA key of 4096 bits has a fifth of that.
const MOST_OCTETS: u64 = 16_384;

/// The user that the packaged unit runs the daemon as.
const DAEMON_USER: &str = "causeway";

/// Why a secret could not be had. No variant holds any of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SecretError {
    #[error("cannot read {path}: {reason}", path = .path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("cannot read {path}: the user {user} may not", path = .path.display())]
    NotOurs { path: PathBuf, user: String },
    #[error("{path} may be read by others (mode {mode:04o}); expected 0600 or stricter", path = .path.display())]
    TooOpen { path: PathBuf, mode: u32 },
    #[error("{path} belongs to user {owner}; expected root or the daemon's own user", path = .path.display())]
    ForeignOwner { path: PathBuf, owner: u32 },
    #[error("{path} is empty", path = .path.display())]
    Empty { path: PathBuf },
    #[error("{path} has more than {MOST_OCTETS} octets, which is no key", path = .path.display())]
    TooLong { path: PathBuf },
    #[error("the environment variable {0} is not set")]
    NotInEnvironment(String),
    #[error("no systemd credential {0}: CREDENTIALS_DIRECTORY is not set")]
    NoCredentials(String),
    #[error("the credential name {0} is not a plain file name")]
    BadCredentialName(String),
}

impl SecretError {
    /// What to do about it, where the message does not say so already.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Unreadable { path, .. } => Some(format!(
                "put the key into {}, readable by its owner alone (mode 0600)",
                path.display()
            )),
            Self::NotOurs { path, user } => Some(format!("chown {user} {}", path.display())),
            Self::TooOpen { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::ForeignOwner { path, .. } => {
                let owner = daemon_user().map_or("root", |_| DAEMON_USER);
                Some(format!("chown {owner} {}", path.display()))
            }
            Self::Empty { .. } | Self::TooLong { .. } | Self::BadCredentialName(_) => None,
            Self::NotInEnvironment(_) => {
                Some("name a file instead: psk = { file = \"/etc/causeway/name.psk\" }".into())
            }
            Self::NoCredentials(name) => {
                Some(format!("add LoadCredential={name}:/path to the unit"))
            }
        }
    }
}

/// Reads a secret from a file; one final newline is not part of it.
///
/// # Errors
/// When the file cannot be read, is empty or too long, or others than its owner may read it.
pub(crate) fn from_file(path: &Path) -> Result<Secret, SecretError> {
    let unreadable = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            return SecretError::NotOurs {
                path: path.to_owned(),
                user: our_name(),
            };
        }
        SecretError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    };
    // The mode is asked of the open file, so that it is the mode of what is read. Without O_NONBLOCK a pipe that nobody writes to would
    // stop the whole daemon at a reload.
    let mut file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(std::io::Error::other(
            "it is not a regular file",
        )));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    let owner = metadata.uid();
    let us = geteuid();
    // Root looks at keys on behalf of the daemon's user, too.
    let trusted = owner == 0
        || owner == us.as_raw()
        || (us.is_root() && daemon_user().is_some_and(|user| user.as_raw() == owner));
    if !trusted {
        return Err(SecretError::ForeignOwner {
            path: path.to_owned(),
            owner,
        });
    }
    read(&mut file, path)
}

/// Reads a systemd credential (`LoadCredential=`), which systemd itself keeps from others.
///
/// # Errors
/// When systemd passed no credentials, or not this one.
pub(crate) fn from_credential(name: &str) -> Result<Secret, SecretError> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(SecretError::BadCredentialName(name.to_owned()));
    }
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
        .ok_or_else(|| SecretError::NoCredentials(name.to_owned()))?;
    let path = Path::new(&folder).join(name);
    let mut file = fs::File::open(&path).map_err(|error| SecretError::Unreadable {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    read(&mut file, &path)
}

/// Takes a secret from the environment.
///
/// # Errors
/// When the variable is not set.
pub(crate) fn from_environment(name: &str) -> Result<Secret, SecretError> {
    let value = std::env::var(name).map_err(|_| SecretError::NotInEnvironment(name.to_owned()))?;
    Ok(Secret::new(value.into_bytes()))
}

/// Whether the daemon of the packaged unit could not read a file that we, as root, can: what to do then.
pub(crate) fn hidden_from_the_daemon(path: &Path) -> Option<String> {
    if !geteuid().is_root() {
        return None;
    }
    let user = daemon_user()?;
    let owner = fs::metadata(path).ok()?.uid();
    (owner != user.as_raw()).then(|| {
        format!(
            "the unit runs the daemon as the user {DAEMON_USER}, who cannot read {path}: chown {DAEMON_USER} {path}",
            path = path.display()
        )
    })
}

/// The user that the packaged unit runs the daemon as, where there is one on this machine.
fn daemon_user() -> Option<Uid> {
    let user = User::from_name(DAEMON_USER).ok()?;
    user.map(|user| user.uid)
}

/// What this process's user is called.
fn our_name() -> String {
    let us = geteuid();
    let user = User::from_uid(us).ok().flatten();
    user.map_or_else(|| us.to_string(), |user| user.name)
}

fn read(file: &mut fs::File, path: &Path) -> Result<Secret, SecretError> {
    // The capacity is final, so that no reallocation leaves a copy behind.
    let mut octets = Vec::with_capacity(MOST_OCTETS as usize + 2);
    file.take(MOST_OCTETS + 1)
        .read_to_end(&mut octets)
        .map_err(|error| SecretError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    if octets.last() == Some(&b'\n') {
        octets.pop();
        if octets.last() == Some(&b'\r') {
            octets.pop();
        }
    }
    let long = octets.len() as u64 > MOST_OCTETS;
    let secret = Secret::new(octets);
    if long {
        return Err(SecretError::TooLong {
            path: path.to_owned(),
        });
    }
    if secret.is_empty() {
        return Err(SecretError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(name: &str, text: &str, mode: u32) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("causeway-secret-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_secret_file_gives_its_text_without_the_final_newline() {
        let path = file("good", "correct horse\n", 0o600);
        assert_eq!(from_file(&path).unwrap().expose(), b"correct horse");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_secret_file_that_others_may_read_is_refused() {
        let path = file("open", "correct horse", 0o644);
        assert_eq!(
            from_file(&path),
            Err(SecretError::TooOpen {
                path: path.clone(),
                mode: 0o644
            })
        );
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_pipe_in_place_of_a_secret_file_is_refused_and_not_waited_for() {
        let path =
            std::env::temp_dir().join(format!("causeway-secret-{}-pipe", std::process::id()));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(
            from_file(&path),
            Err(SecretError::Unreadable { .. })
        ));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_empty_or_endless_secret_file_is_refused() {
        let path = file("empty", "\n", 0o600);
        assert_eq!(
            from_file(&path),
            Err(SecretError::Empty { path: path.clone() })
        );
        fs::write(&path, "x".repeat(20_000)).unwrap();
        assert_eq!(
            from_file(&path),
            Err(SecretError::TooLong { path: path.clone() })
        );
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_credential_name_cannot_leave_its_folder() {
        assert!(matches!(
            from_credential("../shadow"),
            Err(SecretError::BadCredentialName(_))
        ));
    }
}
