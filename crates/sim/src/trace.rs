//! What happened, as a digest and, when asked for, as text.
//!
//! Nothing random that a run does not decide enters it: not the bytes of objects, which hold nonces
//! and randomised signatures.

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    digest: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(with_lines: bool) -> Self {
        // FNV-1a.
        Self { digest: 0xcbf2_9ce4_8422_2325, lines: with_lines.then(Vec::new) }
    }

    /// Something has happened to `who`.
    pub(crate) fn event(&mut self, who: usize, what: &str, object: &str, outcome: &str) {
        for part in [who.to_string().as_str(), what, object, outcome] {
            for byte in part.bytes().chain([0]) {
                self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{who}  {what:10} {object} {outcome}"));
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
