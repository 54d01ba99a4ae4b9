//! A scanner that finds the end of a JSON object as its bytes come in, and the first byte that
//! can't belong to one.
//!
//! Not a parser: numbers and literals are only delimited. It exists to cut a stream of documents,
//! pretty-printed or not, without holding more than one.

/// Deepest nesting.
const DEPTH_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Start,
    Value,
    ValueOrEnd,
    KeyOrEnd,
    Key,
    Colon,
    CommaOrEnd,
    Scalar,
    Text { key: bool },
    Escape { key: bool },
}

/// What a byte did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to the document.
    More,
    /// It was the last byte of the document.
    Done,
    /// It can't stand here.
    Wrong(&'static str),
}

#[derive(Debug)]
pub(super) struct Scanner {
    expect: Expect,
    /// One entry for each open bracket: whether it is an object.
    open: Vec<bool>,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { expect: Expect::Start, open: Vec::new() }
    }

    /// Whether nothing but white space has come so far.
    pub(super) fn is_fresh(&self) -> bool {
        self.expect == Expect::Start
    }

    pub(super) fn step(&mut self, byte: u8) -> Step {
        match self.expect {
            Expect::Text { key } => self.text(byte, key),
            Expect::Escape { key } => {
                self.expect = Expect::Text { key };
                if byte < 0x20 {
                    Step::Wrong("a control character in a string")
                } else {
                    Step::More
                }
            }
            Expect::Scalar if matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') => {
                Step::More
            }
            Expect::Scalar => {
                self.expect = Expect::CommaOrEnd;
                self.between(byte)
            }
            _ => self.between(byte),
        }
    }

    fn text(&mut self, byte: u8, key: bool) -> Step {
        match byte {
            b'"' => self.expect = if key { Expect::Colon } else { Expect::CommaOrEnd },
            b'\\' => self.expect = Expect::Escape { key },
            0..=0x1f => return Step::Wrong("a line break or control character in a string"),
            _ => {}
        }
        Step::More
    }

    fn between(&mut self, byte: u8) -> Step {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return Step::More;
        }
        match (self.expect, byte) {
            (Expect::Start | Expect::Value | Expect::ValueOrEnd, b'{') => self.enter(true),
            (Expect::Start, _) => Step::Wrong("expected an object"),
            (Expect::Value | Expect::ValueOrEnd, b'[') => self.enter(false),
            (Expect::KeyOrEnd | Expect::CommaOrEnd, b'}') => self.leave(true),
            (Expect::ValueOrEnd | Expect::CommaOrEnd, b']') => self.leave(false),
            (Expect::KeyOrEnd | Expect::Key, b'"') => self.go(Expect::Text { key: true }),
            (Expect::KeyOrEnd | Expect::Key, _) => Step::Wrong("expected the name of a member"),
            (Expect::Colon, b':') => self.go(Expect::Value),
            (Expect::Colon, _) => Step::Wrong("expected a colon"),
            (Expect::CommaOrEnd, b',') => match self.open.last() {
                Some(true) => self.go(Expect::Key),
                _ => self.go(Expect::Value),
            },
            (Expect::CommaOrEnd, _) => Step::Wrong("expected a comma or a closing bracket"),
            (_, b'"') => self.go(Expect::Text { key: false }),
            (_, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => self.go(Expect::Scalar),
            _ => Step::Wrong("expected a value"),
        }
    }

    fn go(&mut self, expect: Expect) -> Step {
        self.expect = expect;
        Step::More
    }

    fn enter(&mut self, object: bool) -> Step {
        if self.open.len() == DEPTH_MAX {
            return Step::Wrong("nested too deep");
        }
        self.open.push(object);
        self.go(if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd })
    }

    fn leave(&mut self, object: bool) -> Step {
        if self.open.pop() != Some(object) {
            return Step::Wrong("a closing bracket of the wrong kind");
        }
        if self.open.is_empty() {
            self.expect = Expect::Start;
            return Step::Done;
        }
        self.go(Expect::CommaOrEnd)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn run(text: &[u8]) -> (usize, Step) {
        let mut scanner = Scanner::new();
        for (at, byte) in text.iter().enumerate() {
            match scanner.step(*byte) {
                Step::More => {}
                other => return (at, other),
            }
        }
        (text.len(), Step::More)
    }

    #[test]
    fn finds_the_byte_at_fault() {
        for (text, at) in [
            ("{\"a\":1 \"b\"", 7),
            ("{\"a\":[1,2}", 9),
            ("{\"a\":\"x\ny\"}", 7),
            ("[]", 0),
            ("{,}", 1),
            ("{\"a\"}", 4),
            ("{\"a\":1,}", 7),
            ("{\"a\":?}", 5),
        ] {
            assert!(
                matches!(run(text.as_bytes()), (found, Step::Wrong(_)) if found == at),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn ends_where_the_object_ends(members in prop::collection::btree_map(".*", "\\PC*", 0..6), n: i64, pretty: bool) {
            let mut object: serde_json::Map<String, Value> =
                members.into_iter().map(|(k, v)| (k, serde_json::json!([v, {"n": n}, null, 1.5e300, []]))).collect();
            object.insert("last".to_owned(), Value::Bool(true));
            let text = match pretty {
                true => serde_json::to_string_pretty(&object).unwrap(),
                false => serde_json::to_string(&object).unwrap(),
            };
            prop_assert_eq!(run(format!("{text}{{").as_bytes()), (text.len() - 1, Step::Done));
        }
    }
}
