//! The signature of a delivery, as the Standard Webhooks specification (1.0.0) has it:
//! `v1,BASE64(HMAC-SHA-256(secret, ID.TIMESTAMP.BODY))`.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use stele_store::random_bytes;

use crate::error::CliError;

const PREFIX: &str = "whsec_";
/// Shortest and longest secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that sender and receiver share. Never printed.
pub(super) struct Secret(Vec<u8>);

impl Secret {
    /// Reads the file, or makes it if it is not there, for its owner alone; says which.
    ///
    /// # Errors
    /// When it can't be read or written, or holds no secret.
    pub(super) fn load_or_make(path: &Path) -> Result<(Self, bool), CliError> {
        let made = !path.exists();
        if made {
            let text = format!("{PREFIX}{}\n", STANDARD.encode(random_bytes::<32>()));
            crate::files::write_secret(path, text.as_bytes())?;
        }
        let text = std::fs::read_to_string(path)
            .map_err(|e| CliError::failed(format!("cannot read {}: {e}", path.display())))?;
        let secret = Self::parse(text.trim()).ok_or_else(|| {
            CliError::usage(format!("{} holds no secret", path.display()))
                .hint("it is whsec_ and 24 to 64 bytes in base64; without the file one is made")
        })?;
        Ok((secret, made))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        SECRET_BYTES.contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The header `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0)
            .expect("invariant: HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_signed_as_there() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in ["", "whsec_", "whsec_!", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(Secret::parse(text).is_none(), "{text}");
        }
    }
}
