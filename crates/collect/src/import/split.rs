//! Cuts the input into documents, and goes on after what is none.
//!
//! Line formats: a document is a line. Others: a document is a JSON object, wherever it ends;
//! after a fault the next one is looked for at a line that begins with `{`, as every printer of
//! Kubernetes objects writes it.

use std::io;

use super::input::Input;
use super::report::Fault;
use super::scan::{Scanner, Step};
use super::{DOCUMENT_BYTES_MAX, LINE_BYTES_MAX};

/// A part of the input with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) line: u64,
    pub(super) byte: u64,
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) enum Unit {
    Document(Document),
    Bad { fault: Fault },
    End,
}

pub(super) struct Splitter {
    input: Input,
    lines: bool,
    /// Place of the next byte.
    line: u64,
    byte: u64,
    /// Look for a line that begins with `{`; the last byte seen meanwhile.
    lost: Option<u8>,
    ended: bool,
}

impl Splitter {
    pub(super) fn new(input: Input, lines: bool) -> Self {
        Self { input, lines, line: 1, byte: 0, lost: None, ended: false }
    }

    /// Bytes cut so far.
    pub(super) fn bytes(&self) -> u64 {
        self.byte
    }

    /// The next part.
    pub(super) fn next_unit(&mut self) -> Unit {
        if self.ended {
            return Unit::End;
        }
        let cut = if self.lines { self.next_line() } else { self.next_object() };
        match cut {
            Ok(unit) => unit,
            Err(error) => {
                self.ended = true;
                let problem = format!("the input can't be read on: {error}");
                self.bad((self.line, self.byte), problem, "it is damaged or cut off; get it anew")
            }
        }
    }

    fn next_line(&mut self) -> io::Result<Unit> {
        loop {
            let place = (self.line, self.byte);
            let mut text = Vec::new();
            let mut too_long = false;
            let ended = loop {
                let buffer = self.input.fill()?;
                if buffer.is_empty() {
                    break true;
                }
                let end = buffer.iter().position(|&byte| byte == b'\n');
                let taken = end.map_or(buffer.len(), |at| at + 1);
                let content = end.unwrap_or(taken);
                too_long |= text.len() + content > LINE_BYTES_MAX;
                if !too_long {
                    text.extend_from_slice(&buffer[..content]);
                }
                self.input.consume(taken);
                self.byte += taken as u64;
                if end.is_some() {
                    self.line += 1;
                    break false;
                }
            };
            self.ended = ended;
            if too_long {
                let problem = format!("the line is longer than {LINE_BYTES_MAX} bytes");
                return Ok(self.bad(place, problem, "split it, or leave it out"));
            }
            if !text.iter().all(u8::is_ascii_whitespace) {
                return Ok(self.document(place, text));
            }
            if ended {
                return Ok(Unit::End);
            }
        }
    }

    fn next_object(&mut self) -> io::Result<Unit> {
        let mut scanner = Scanner::new();
        let mut text = Vec::new();
        let mut place = (self.line, self.byte);
        loop {
            let buffer = self.input.fill()?;
            if buffer.is_empty() {
                self.ended = true;
                if scanner.is_fresh() {
                    return Ok(Unit::End);
                }
                let problem = "the input ends within a document".to_owned();
                return Ok(self.bad(place, problem, "it was cut off; get it anew"));
            }
            let mut used = 0;
            let mut outcome = Step::More;
            for &byte in buffer {
                if let Some(before) = self.lost {
                    if byte != b'{' || before != b'\n' {
                        self.lost = Some(byte);
                        used += 1;
                        self.line += u64::from(byte == b'\n');
                        continue;
                    }
                    self.lost = None;
                }
                if scanner.is_fresh() {
                    place = (self.line, self.byte + used as u64);
                }
                outcome = scanner.step(byte);
                if matches!(outcome, Step::Wrong(_)) {
                    // The byte is not used: it may begin the next document.
                    break;
                }
                used += 1;
                self.line += u64::from(byte == b'\n');
                if !scanner.is_fresh() || outcome == Step::Done {
                    text.push(byte);
                }
                if outcome == Step::Done || text.len() > DOCUMENT_BYTES_MAX {
                    break;
                }
            }
            // What stands before the byte at fault decides whether that byte begins a line.
            let before = match used {
                0 => text.last().copied().unwrap_or(b'\n'),
                used => buffer[used - 1],
            };
            self.input.consume(used);
            self.byte += used as u64;
            match outcome {
                Step::More if text.len() > DOCUMENT_BYTES_MAX => {
                    self.lost = Some(0);
                    let problem = format!("the document is longer than {DOCUMENT_BYTES_MAX} bytes");
                    return Ok(self.bad(place, problem, "split it into several"));
                }
                Step::More => {}
                Step::Done => return Ok(self.document(place, text)),
                Step::Wrong(what) => {
                    // An object that begins right where it can't is found at once; everything else
                    // is passed over up to the next line that begins with one.
                    self.lost = Some(if scanner.is_fresh() { 0 } else { before });
                    let problem = format!("not JSON at byte {}: {what}", self.byte);
                    return Ok(self.bad(place, problem, "it was skipped up to the next object"));
                }
            }
        }
    }

    fn document(&self, place: (u64, u64), text: Vec<u8>) -> Unit {
        let (line, byte) = place;
        match String::from_utf8(text) {
            Ok(text) => Unit::Document(Document { line, byte, text }),
            Err(error) => {
                let at = byte + error.utf8_error().valid_up_to() as u64;
                let problem = format!("invalid UTF-8 at byte {at}");
                self.bad(place, problem, "JSON is UTF-8; convert or repair it")
            }
        }
    }

    fn bad(&self, place: (u64, u64), problem: String, remedy: &'static str) -> Unit {
        let (line, byte) = place;
        Unit::Bad { fault: Fault { line, byte, field: None, problem, remedy } }
    }
}
