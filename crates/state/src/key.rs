//! Keys and values of tables as bytes: what the engine sorts and stores.
//!
//! The bytes of two keys compare as the keys do, part by part. A part that is followed by others
//! ends where it says so itself, whatever text it holds, so that no name can pose as another key.

use std::fmt::Debug;

/// Ends a text within a key; a zero byte of the text itself is followed by [`ESCAPED`].
const END: [u8; 2] = [0, 0];
/// After a zero byte that is part of a text.
const ESCAPED: u8 = 0xff;

/// What a key, a value, or a part of one can be.
pub(crate) trait Part: 'static {
    /// As it comes out of a table.
    type Owned: Clone + Debug;
    /// As it is given to a table and looked at.
    type View<'a>: Clone;

    /// Appends the bytes; the last part of a key needs no end.
    fn put(view: &Self::View<'_>, out: &mut Vec<u8>, last: bool);

    /// Takes it from the front of the bytes; `None` if they are of something else.
    fn take(bytes: &mut &[u8], last: bool) -> Option<Self::Owned>;

    /// Looks at it.
    fn view(owned: &Self::Owned) -> Self::View<'_>;
}

/// A key or value that came out of a table.
#[derive(Debug, Clone)]
pub(crate) struct Held<P: Part>(P::Owned);

impl<P: Part> Held<P> {
    /// `None` if the bytes are of something else.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<Self> {
        let owned = P::take(&mut bytes, true)?;
        bytes.is_empty().then_some(Self(owned))
    }

    /// What it is.
    pub(crate) fn value(&self) -> P::View<'_> {
        P::view(&self.0)
    }
}

/// The bytes of a key or value.
pub(crate) fn bytes_of<P: Part>(view: &P::View<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    P::put(view, &mut out, true);
    out
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn put_text(text: &[u8], out: &mut Vec<u8>, last: bool) {
    if last {
        out.extend_from_slice(text);
        return;
    }
    for part in text.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(part);
        if part.last() == Some(&0) {
            out.push(ESCAPED);
        }
    }
    out.extend_from_slice(&END);
}

fn take_text(bytes: &mut &[u8], last: bool) -> Option<Vec<u8>> {
    if last {
        return Some(std::mem::take(bytes).to_vec());
    }
    let mut text = Vec::new();
    loop {
        let at = bytes.iter().position(|byte| *byte == 0)?;
        let (part, rest) = bytes.split_at(at);
        text.extend_from_slice(part);
        let mark = *rest.get(1)?;
        *bytes = &rest[2..];
        match mark {
            ESCAPED => text.push(0),
            0 => return Some(text),
            _ => return None,
        }
    }
}

impl Part for u8 {
    type Owned = Self;
    type View<'a> = Self;

    fn put(view: &Self, out: &mut Vec<u8>, _last: bool) {
        out.push(*view);
    }

    fn take(bytes: &mut &[u8], _last: bool) -> Option<Self> {
        take(bytes).map(|[byte]| byte)
    }

    fn view(owned: &Self) -> Self {
        *owned
    }
}

/// A byte that says how many follow, and these: the number without the zeros before it. The more
/// there are the larger it is, so they sort as the numbers do.
macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Part for $number {
            type Owned = Self;
            type View<'a> = Self;

            fn put(view: &Self, out: &mut Vec<u8>, _last: bool) {
                let zeros = (view.leading_zeros() / 8) as usize;
                out.push((size_of::<Self>() - zeros) as u8);
                out.extend_from_slice(&view.to_be_bytes()[zeros..]);
            }

            fn take(bytes: &mut &[u8], _last: bool) -> Option<Self> {
                let [length] = take(bytes)?;
                let (number, rest) = bytes.split_at_checked(usize::from(length))?;
                let zeros = size_of::<Self>().checked_sub(number.len())?;
                *bytes = rest;
                let mut whole = [0; size_of::<Self>()];
                whole[zeros..].copy_from_slice(number);
                let number = Self::from_be_bytes(whole);
                // There is one form of a number.
                ((number.leading_zeros() / 8) as usize == zeros).then_some(number)
            }

            fn view(owned: &Self) -> Self {
                *owned
            }
        }
    )*};
}

numbers!(u32, u64);

impl Part for i64 {
    type Owned = Self;
    type View<'a> = Self;

    fn put(view: &Self, out: &mut Vec<u8>, _last: bool) {
        // So that what is below zero sorts before the rest. Times are large: none has zeros to spare.
        out.extend_from_slice(&(view.cast_unsigned() ^ (1 << 63)).to_be_bytes());
    }

    fn take(bytes: &mut &[u8], _last: bool) -> Option<Self> {
        take(bytes).map(|number| (u64::from_be_bytes(number) ^ (1 << 63)).cast_signed())
    }

    fn view(owned: &Self) -> Self {
        *owned
    }
}

impl Part for bool {
    type Owned = Self;
    type View<'a> = Self;

    fn put(view: &Self, out: &mut Vec<u8>, _last: bool) {
        out.push(u8::from(*view));
    }

    fn take(bytes: &mut &[u8], _last: bool) -> Option<Self> {
        match take(bytes)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn view(owned: &Self) -> Self {
        *owned
    }
}

impl<const N: usize> Part for &'static [u8; N] {
    type Owned = [u8; N];
    type View<'a> = &'a [u8; N];

    fn put(view: &Self::View<'_>, out: &mut Vec<u8>, _last: bool) {
        out.extend_from_slice(*view);
    }

    fn take(bytes: &mut &[u8], _last: bool) -> Option<[u8; N]> {
        take(bytes)
    }

    fn view(owned: &[u8; N]) -> &[u8; N] {
        owned
    }
}

impl Part for &'static [u8] {
    type Owned = Vec<u8>;
    type View<'a> = &'a [u8];

    fn put(view: &Self::View<'_>, out: &mut Vec<u8>, last: bool) {
        put_text(view, out, last);
    }

    fn take(bytes: &mut &[u8], last: bool) -> Option<Vec<u8>> {
        take_text(bytes, last)
    }

    fn view(owned: &Vec<u8>) -> &[u8] {
        owned
    }
}

impl Part for &'static str {
    type Owned = String;
    type View<'a> = &'a str;

    fn put(view: &Self::View<'_>, out: &mut Vec<u8>, last: bool) {
        put_text(view.as_bytes(), out, last);
    }

    fn take(bytes: &mut &[u8], last: bool) -> Option<String> {
        String::from_utf8(take_text(bytes, last)?).ok()
    }

    fn view(owned: &String) -> &str {
        owned
    }
}

impl Part for () {
    type Owned = Self;
    type View<'a> = Self;

    fn put(_view: &Self, _out: &mut Vec<u8>, _last: bool) {}

    fn take(_bytes: &mut &[u8], _last: bool) -> Option<Self> {
        Some(())
    }

    fn view(_owned: &Self) -> Self {}
}

macro_rules! tuples {
    ($(($($part:ident $at:tt),+; $last:ident $last_at:tt))*) => {$(
        impl<$($part: Part,)+ $last: Part> Part for ($($part,)+ $last) {
            type Owned = ($($part::Owned,)+ $last::Owned);
            type View<'a> = ($($part::View<'a>,)+ $last::View<'a>);

            fn put(view: &Self::View<'_>, out: &mut Vec<u8>, last: bool) {
                $($part::put(&view.$at, out, false);)+
                $last::put(&view.$last_at, out, last);
            }

            fn take(bytes: &mut &[u8], last: bool) -> Option<Self::Owned> {
                Some(($($part::take(bytes, false)?,)+ $last::take(bytes, last)?))
            }

            fn view(owned: &Self::Owned) -> Self::View<'_> {
                ($($part::view(&owned.$at),)+ $last::view(&owned.$last_at))
            }
        }
    )*};
}

tuples! {
    (A 0; B 1)
    (A 0, B 1; C 2)
    (A 0, B 1, C 2; D 3)
    (A 0, B 1, C 2, D 3; E 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Key = (u32, &'static str, &'static [u8], i64, &'static str);

    #[test]
    fn bytes_sort_as_keys_do_and_come_back_as_they_were() {
        let texts = ["", "a", "a\0", "a\0b", "a\u{1}", "ab", "b", "\0", "\0\0", "\u{7f}", "é"];
        let mut keys = Vec::new();
        for number in [0, 1, 255, 256, 65_535, 65_536, u32::MAX] {
            for text in texts {
                for bytes in [&[][..], &[0], &[0, 0], &[0, 0xff], &[0xff], &[1, 2]] {
                    for time in [i64::MIN, -1, 0, 1, i64::MAX] {
                        for last in ["", "\0", "z"] {
                            keys.push((number, text, bytes, time, last));
                        }
                    }
                }
            }
        }
        keys.sort_unstable();
        let bytes: Vec<Vec<u8>> = keys.iter().map(bytes_of::<Key>).collect();
        assert!(bytes.windows(2).all(|pair| pair[0] < pair[1]));
        for (key, bytes) in keys.iter().zip(&bytes) {
            assert_eq!(Held::<Key>::read(bytes).unwrap().value(), *key);
        }
    }

    #[test]
    fn bytes_of_something_else_are_refused() {
        assert!(Held::<i64>::read(&[0; 7]).is_none());
        assert!(Held::<i64>::read(&[0; 9]).is_none());
        assert_eq!(Held::<u64>::read(&[2, 1, 0]).map(|number| number.value()), Some(256));
        for bytes in [&[][..], &[2, 1], &[2, 1, 0, 0], &[2, 0, 1], &[9, 1, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert!(Held::<u64>::read(bytes).is_none(), "{bytes:?}");
        }
        assert!(Held::<bool>::read(&[2]).is_none());
        assert!(Held::<(&str, u32)>::read(b"no end").is_none());
        assert!(Held::<(&str, u32)>::read(b"bad mark\0\x01\0\0\0\0").is_none());
        assert!(Held::<&str>::read(&[0xff]).is_none());
    }
}
