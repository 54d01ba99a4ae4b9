//! The file of a private key: a line that says what it is, a name, and two seeds.
//!
//! ```text
//! <kind>/v1
//! <name's field> <name>
//! ed25519 <64 hexadecimal digits>
//! ml-dsa-44 <64 hexadecimal digits>
//! ```
//!
//! Not here: what the key is for.
//! Invariant: only files of exactly this form are read, and an existing file is never replaced.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::LogKeyError;

/// Longest key file that is read.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// A kind of key file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyFile {
    /// The first line.
    pub(crate) version: &'static str,
    /// What the name is called.
    pub(crate) name: &'static str,
}

/// What is in one.
pub(crate) struct Seeds {
    pub(crate) name: String,
    pub(crate) ed25519: [u8; 32],
    pub(crate) ml_dsa_44: [u8; 32],
}

impl KeyFile {
    pub(crate) fn encode(&self, seeds: &Seeds) -> String {
        format!(
            "{}\n{} {}\ned25519 {}\nml-dsa-44 {}\n",
            self.version,
            self.name,
            seeds.name,
            hex::encode(seeds.ed25519),
            hex::encode(seeds.ml_dsa_44)
        )
    }

    /// Reads the text of a file; the name is not checked.
    pub(crate) fn parse(&self, text: &str) -> Result<Seeds, LogKeyError> {
        let mut lines = text.lines();
        if lines.next() != Some(self.version) {
            return Err(LogKeyError::Malformed("the first line is not that of such a key"));
        }
        let mut field = |name: &str, fault: &'static str| {
            let value = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.ok_or(LogKeyError::Malformed(fault))
        };
        let name = field(self.name, "the second line is not its name")?.to_owned();
        let ed25519 = seed(field("ed25519", "the third line is not `ed25519 SEED`")?)?;
        let ml_dsa_44 = seed(field("ml-dsa-44", "the fourth line is not `ml-dsa-44 SEED`")?)?;
        if lines.next().is_some() {
            return Err(LogKeyError::Malformed("lines follow after the fourth"));
        }
        Ok(Seeds { name, ed25519, ml_dsa_44 })
    }

    pub(crate) fn load(&self, path: &Path) -> Result<Seeds, LogKeyError> {
        let io = |error| LogKeyError::Io { path: path.to_owned(), error };
        let mut text = String::new();
        let file = File::open(path).map_err(io)?;
        file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        self.parse(&text)
    }

    /// Writes a file that only its owner can read, whole and durable or not at all.
    pub(crate) fn save(&self, seeds: &Seeds, path: &Path) -> Result<(), LogKeyError> {
        let io = |error: io::Error| LogKeyError::Io { path: path.to_owned(), error };
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&unfinished).map_err(io)?;
        file.write_all(self.encode(seeds).as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        let linked = fs::hard_link(&unfinished, path).map_err(io);
        fs::remove_file(&unfinished).map_err(io)?;
        linked?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = File::open(parent.unwrap_or(Path::new("."))).map_err(io)?;
        parent.sync_all().map_err(io)
    }
}

fn seed(digits: &str) -> Result<[u8; 32], LogKeyError> {
    let mut seed = [0; 32];
    hex::decode_to_slice(digits, &mut seed)
        .map_err(|_| LogKeyError::Malformed("a seed is not 64 hexadecimal digits"))?;
    Ok(seed)
}
