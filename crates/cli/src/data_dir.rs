//! The data directory of `stele up`.
//!
//! ```text
//! DIR/lock               held by the one process that uses the directory
//! DIR/log/               the ledger's objects
//! DIR/keys/log.key       private key of the log, for its owner's eyes only
//! DIR/keys/log.pub       its public keys, to be handed out
//! DIR/keys/log.key.next  the key that is about to replace it (`stele log rotate-key`)
//! DIR/keys/log.key.1     the first key that was replaced, and so on
//! DIR/keys/admin.token   token of the owner
//! DIR/keys/tokens        further tokens (SHA-256 only), written by hand
//! DIR/keys/append.key    key of the source of appended events
//! DIR/keys/tls.crt       certificate of the API, signed with its own key
//! DIR/keys/tls.key       private key of that
//! DIR/state/             the views; may be deleted, they are rebuilt
//! DIR/sources/NAME/      key and spool of each recorder or import
//! ```
//!
//! The objects could be written by several processes; views, spools and keys could not, so the
//! whole directory is one process's.
//!
//! Invariant: a directory becomes a ledger only by [`DataDir::create`]; a mistyped path never
//! gives a new and empty log where an old one was meant.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use stele_ledger::LogKey;
use stele_server::{TlsIdentity, Token, TokenFile, Tokens};
use stele_store::random_bytes;

use crate::error::CliError;
use crate::tls;

/// While it lives, no other process uses the directory.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

/// A data directory.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// The directory at `root`, whatever it holds.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory at `root`, which must hold a ledger.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn existing(root: impl Into<PathBuf>) -> Result<Self, CliError> {
        let dir = Self::new(root);
        if dir.has_ledger() {
            return Ok(dir);
        }
        let shown = dir.root.display();
        Err(CliError::usage(format!("there is no ledger in {shown}"))
            .hint("`stele up --data DIR` makes one; `stele demo` shows one"))
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the ledger's objects are.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Where the views are.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Where the source of this name lives.
    pub(crate) fn source(&self, name: &str) -> PathBuf {
        self.root.join("sources").join(name)
    }

    /// The file with the owner's token.
    pub(crate) fn admin_token(&self) -> PathBuf {
        self.key("admin.token")
    }

    /// The file with the log's public keys.
    pub(crate) fn public_keys(&self) -> PathBuf {
        self.key("log.pub")
    }

    /// The API's TLS certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.key("tls.crt")
    }

    /// Key and certificate of the API, made now if there are none. Besides this machine's own names
    /// the certificate is good for the address that the API listens on at the time.
    ///
    /// # Errors
    /// When they can't be read or written, or do not belong together.
    pub(crate) fn tls_identity(&self, listening: IpAddr) -> Result<TlsIdentity, CliError> {
        let (path, key_path) = (self.certificate(), self.key("tls.key"));
        if !path.is_file() || !key_path.is_file() {
            let (certificate, key) = tls::self_signed(listening)?;
            let write = |path: &Path, text: &str| {
                let mut file = File::options()
                    .create(true)
                    .write(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(path)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()
            };
            // The certificate last: both are made again as long as it is missing.
            write(&key_path, &key).map_err(|e| cannot("write", &key_path, &e))?;
            write(&path, &certificate).map_err(|e| cannot("write", &path, &e))?;
        }
        let certificate = fs::read_to_string(&path).map_err(|e| cannot("read", &path, &e))?;
        let key = fs::read_to_string(&key_path).map_err(|e| cannot("read", &key_path, &e))?;
        TlsIdentity::from_pem(&certificate, &key).map_err(|e| {
            CliError::failed(format!("{}: {e}", path.display()))
                .hint("remove DIR/keys/tls.crt; the next start makes new ones")
        })
    }

    /// The key of the source of appended events.
    pub(crate) fn append_key(&self) -> PathBuf {
        self.key("append.key")
    }

    fn key(&self, name: &str) -> PathBuf {
        self.root.join("keys").join(name)
    }

    /// Whether a ledger was made here.
    pub(crate) fn has_ledger(&self) -> bool {
        self.log().join("objects/ledger/log-info").is_file()
    }

    /// Takes the directory, which is made if it is not there, for this process alone.
    ///
    /// # Errors
    /// When another process has it, or it can't be written.
    pub(crate) fn lock(&self) -> Result<DirLock, CliError> {
        private_dir(&self.root).map_err(|e| cannot("create", &self.root, &e))?;
        let path = self.root.join("lock");
        let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|e| cannot("open", &path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let shown = self.root.display();
                Err(CliError::failed(format!("{shown} is in use by another process"))
                    .hint("a server has it open: ask that server instead of using --data"))
            }
            Err(TryLockError::Error(error)) => Err(cannot("lock", &path, &error)),
        }
    }

    /// Makes directories, log key, public keys and the owner's token, as far as they are missing.
    ///
    /// # Errors
    /// When something can't be written, or a ledger is here whose key is not.
    pub(crate) fn create(&self) -> Result<LogKey, CliError> {
        for dir in [&self.root, &self.root.join("keys"), &self.log()] {
            private_dir(dir).map_err(|e| cannot("create", dir, &e))?;
        }
        let path = self.key("log.key");
        if !path.is_file() {
            if self.has_ledger() {
                return Err(CliError::failed(format!(
                    "{} holds a ledger, but its key {} is missing",
                    self.root.display(),
                    path.display()
                ))
                .hint("restore the key from a backup; no other key can continue this log"));
            }
            let origin = format!("stele/{}", hex::encode(random_bytes::<8>()));
            let key = LogKey::generate(&origin).map_err(CliError::failed)?;
            key.save(&path).map_err(CliError::failed)?;
        }
        let key = self.log_key()?;
        self.write_public_keys(&key)?;
        self.make_admin_token()?;
        Ok(key)
    }

    /// The log's private key.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn log_key(&self) -> Result<LogKey, CliError> {
        LogKey::load(&self.key("log.key")).map_err(|e| {
            CliError::failed(format!("cannot read the log's key: {e}"))
                .hint("run this as the user that runs `stele up`")
        })
    }

    /// The key that is to replace the log's key: made now, or when a replacement was begun before.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub(crate) fn next_log_key(&self, origin: &str) -> Result<LogKey, CliError> {
        let path = self.key("log.key.next");
        if path.is_file() {
            return LogKey::load(&path).map_err(CliError::failed);
        }
        let key = LogKey::generate(origin).map_err(CliError::failed)?;
        key.save(&path).map_err(CliError::failed)?;
        Ok(key)
    }

    /// Puts the next key in the place of the log's key, which is kept under the first free number
    /// unless it is to be forgotten. Gives the file with the old key.
    ///
    /// # Errors
    /// When a file can't be written; then the log's key is the old one, or the new one, whole.
    pub(crate) fn replace_log_key(&self, forget: bool) -> Result<Option<PathBuf>, CliError> {
        let (path, next) = (self.key("log.key"), self.key("log.key.next"));
        let mut kept = None;
        if !forget {
            let names = (1_u32..).map(|number| self.key(&format!("log.key.{number}")));
            for name in names {
                match fs::hard_link(&path, &name) {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(cannot("write", &name, &e)),
                    Ok(()) => {
                        kept = Some(name);
                        break;
                    }
                }
            }
        }
        fs::rename(&next, &path).map_err(|e| cannot("write", &path, &e))?;
        let keys = self.root.join("keys");
        let flushed = File::open(&keys).and_then(|directory| directory.sync_all());
        flushed.map_err(|e| cannot("flush", &keys, &e))?;
        self.write_public_keys(&self.log_key()?)?;
        Ok(kept)
    }

    fn write_public_keys(&self, key: &LogKey) -> Result<(), CliError> {
        let public = key.public_text().map_err(CliError::failed)?;
        let path = self.public_keys();
        if fs::read_to_string(&path).ok().as_deref() != Some(&public) {
            fs::write(&path, public).map_err(|e| cannot("write", &path, &e))?;
        }
        Ok(())
    }

    fn make_admin_token(&self) -> Result<(), CliError> {
        let path = self.admin_token();
        if path.is_file() {
            return Ok(());
        }
        let write = || {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            writeln!(file, "{}", Token::generate().reveal())?;
            file.sync_all()
        };
        write().map_err(|e| cannot("write", &path, &e))
    }

    /// Who may use the API: the owner, and whom the token file names.
    ///
    /// # Errors
    /// When a file can't be read or has a faulty entry.
    pub(crate) fn tokens(&self) -> Result<Tokens, CliError> {
        let path = self.admin_token();
        let text = fs::read_to_string(&path).map_err(|e| cannot("read", &path, &e))?;
        if text.trim().len() < TOKEN_CHARS_MIN {
            return Err(CliError::usage(format!("{} holds no token", path.display()))
                .hint("remove the file; the next start makes a new one"));
        }
        let admin = Tokens::admin(&Token::from_text(&text));
        let path = self.key("tokens");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(admin),
            Err(e) => return Err(cannot("read", &path, &e)),
        };
        let faulty = |e| CliError::usage(format!("{}: {e}", path.display()));
        let more = Tokens::new(&TokenFile::parse(&text).map_err(faulty)?).map_err(faulty)?;
        Ok(admin.and(more))
    }
}

/// A token that is shorter was not made by stele, and can be guessed.
const TOKEN_CHARS_MIN: usize = 32;

/// Makes a directory for its owner alone.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The error of something that can't be done to a file.
pub(crate) fn cannot(what: &str, path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let dir = DataDir::new(dir.path().join("data"));
        let lock = dir.lock().unwrap();
        let refused = dir.lock().unwrap_err().to_string();
        assert!(refused.contains("is in use by another process"), "{refused}");
        drop(lock);
        drop(dir.lock().unwrap());
    }
}
