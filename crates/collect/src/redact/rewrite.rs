//! A cursor over a JSON document that copies it byte for byte and replaces single values.
//!
//! Not a parser: the document is checked as a whole before the first step, so that the steps only
//! have to find their way.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::{DEPTH_MAX, RedactError, digest, value_bytes};

/// How the strings of a place hold their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Base64,
    Text,
}

pub(super) struct Rewriter<'a> {
    key: &'a [u8; 32],
    input: &'a [u8],
    at: usize,
    /// Everything before this is in `out`, rewritten.
    copied: usize,
    depth: usize,
    out: Vec<u8>,
}

type Step<'s, 'a> = &'s mut dyn FnMut(&mut Rewriter<'a>) -> Result<(), RedactError>;
type MemberStep<'s, 'a> = &'s mut dyn FnMut(&mut Rewriter<'a>, &str) -> Result<(), RedactError>;

impl<'a> Rewriter<'a> {
    /// Checks that `input` is one JSON document and stands before it.
    pub(super) fn new(key: &'a [u8; 32], input: &'a [u8]) -> Result<Self, RedactError> {
        if let Err(e) = str::from_utf8(input) {
            return Err(RedactError::new(e.valid_up_to(), "invalid UTF-8"));
        }
        serde_json::from_slice::<IgnoredAny>(input).map_err(|e| {
            RedactError::new(e.column(), format!("{:?} error in JSON", e.classify()))
        })?;
        let out = Vec::with_capacity(input.len() + 64);
        Ok(Self { key, input, at: 0, copied: 0, depth: 0, out })
    }

    /// The rewritten document.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(&self.input[self.copied..]);
        self.out
    }

    /// First byte of the next value; 0 at the end.
    pub(super) fn peek(&mut self) -> u8 {
        self.space();
        self.byte()
    }

    /// The bytes of the next value; the cursor stays before it.
    pub(super) fn value(&mut self) -> Result<&'a [u8], RedactError> {
        self.space();
        let start = self.at;
        self.skip()?;
        let end = std::mem::replace(&mut self.at, start);
        Ok(&self.input[start..end])
    }

    /// Passes over the next value and leaves it as it is.
    pub(super) fn skip(&mut self) -> Result<(), RedactError> {
        self.space();
        let mut open = 0usize;
        loop {
            match self.byte() {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    open += 1;
                    self.at += 1;
                }
                b'}' | b']' if open > 0 => {
                    open -= 1;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if open > 0 => self.at += 1,
                0 | b'}' | b']' | b',' | b':' => return Err(self.lost()),
                _ => self.scalar(),
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// Steps through the members of the object at the cursor; `step` must pass over the value.
    pub(super) fn object(&mut self, step: MemberStep<'_, 'a>) -> Result<(), RedactError> {
        self.enter(b'{')?;
        while self.more(b'}')? {
            let start = self.at;
            self.string()?;
            let name = unquote(&self.input[start..self.at]);
            self.expect(b':')?;
            step(self, &name)?;
        }
        Ok(())
    }

    /// Steps through the elements of the array at the cursor; `step` must pass over each.
    pub(super) fn array(&mut self, step: Step<'_, 'a>) -> Result<(), RedactError> {
        self.enter(b'[')?;
        while self.more(b']')? {
            step(self)?;
        }
        Ok(())
    }

    /// Replaces every string, number and boolean of the next value by its digest. Names of members
    /// and nulls stay.
    pub(super) fn digest_leaves(&mut self, values: Values) -> Result<(), RedactError> {
        match self.peek() {
            b'{' => self.object(&mut |rewriter, _| rewriter.digest_leaves(values)),
            b'[' => self.array(&mut |rewriter| rewriter.digest_leaves(values)),
            b'n' => self.skip(),
            _ => self.digest_value(values),
        }
    }

    /// Replaces the next value, whatever it is, by one digest.
    pub(super) fn digest_value(&mut self, values: Values) -> Result<(), RedactError> {
        let raw = self.value()?;
        let text = match raw.first() {
            Some(b'"') => unquote(raw),
            _ => String::from_utf8_lossy(raw),
        };
        let digest = digest(self.key, &value_bytes(&text, values));
        self.out.extend_from_slice(&self.input[self.copied..self.at]);
        self.out.push(b'"');
        self.out.extend_from_slice(digest.as_bytes());
        self.out.push(b'"');
        self.at += raw.len();
        self.copied = self.at;
        Ok(())
    }

    fn enter(&mut self, open: u8) -> Result<(), RedactError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(RedactError::new(self.at, format!("more than {DEPTH_MAX} levels")));
        }
        self.expect(open)
    }

    /// Whether another member or element follows; passes over the comma or the end.
    fn more(&mut self, close: u8) -> Result<bool, RedactError> {
        self.space();
        match self.byte() {
            byte if byte == close => {
                self.at += 1;
                self.depth -= 1;
                return Ok(false);
            }
            b',' => self.at += 1,
            0 => return Err(self.lost()),
            _ => {}
        }
        self.space();
        Ok(true)
    }

    fn expect(&mut self, byte: u8) -> Result<(), RedactError> {
        self.space();
        if self.byte() != byte {
            return Err(self.lost());
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), RedactError> {
        self.expect(b'"')?;
        loop {
            match self.byte() {
                b'"' => break,
                b'\\' => self.at += 2,
                0 => return Err(self.lost()),
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    fn scalar(&mut self) {
        while !matches!(
            self.byte(),
            0 | b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"' | b' ' | b'\t' | b'\r' | b'\n'
        ) {
            self.at += 1;
        }
    }

    fn space(&mut self) {
        while matches!(self.byte(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    /// The byte at the cursor; 0 at the end. A checked document holds no 0.
    fn byte(&self) -> u8 {
        self.input.get(self.at).copied().unwrap_or(0)
    }

    fn lost(&self) -> RedactError {
        RedactError::new(self.at, "unexpected form")
    }
}

/// The text of a JSON string; its raw bytes where it is no text (a lone surrogate).
pub(super) fn unquote(raw: &[u8]) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains(&b'\\') {
        return String::from_utf8_lossy(inner);
    }
    match serde_json::from_slice::<String>(raw) {
        Ok(text) => Cow::Owned(text),
        Err(_) => String::from_utf8_lossy(inner),
    }
}
