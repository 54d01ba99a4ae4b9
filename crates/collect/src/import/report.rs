//! What an import has done, for people.

use std::fmt;

use stele_record::EventTime;

use super::Format;

/// How the input was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
}

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input read, as packed.
    pub bytes: u64,
    /// Records handed to the source.
    pub records: u64,
}

/// A part of the input that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line on which it begins, from 1.
    pub line: u64,
    /// Byte of the unpacked input at which it begins, from 0.
    pub byte: u64,
    /// The field at fault, if it is one.
    pub field: Option<String>,
    /// What is wrong. Never a part of the input.
    pub problem: String,
    /// What can be done.
    pub remedy: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} (byte {}): ", self.line, self.byte)?;
        if let Some(field) = &self.field {
            write!(f, "field {field}: ")?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

/// The outcome of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// The form that was given or recognised.
    pub format: Format,
    /// How the input was packed.
    pub compression: Compression,
    /// Bytes of the input, unpacked.
    pub bytes: u64,
    /// Lines or documents that were taken.
    pub documents: u64,
    /// Records made of them, gap records and the list of types included.
    pub records: u64,
    /// Parts of the input that were skipped.
    pub skipped: u64,
    /// The first of them.
    pub faults: Vec<Fault>,
    /// Names of types that had to be guessed, in words.
    pub guesses: Vec<String>,
    /// Records whose claimed time lies more than a day in the future. They were taken.
    pub future_times: u64,
    /// Earliest claimed time.
    pub first_time: Option<EventTime>,
    /// Latest claimed time.
    pub last_time: Option<EventTime>,
}
