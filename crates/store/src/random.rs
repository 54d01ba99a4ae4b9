//! Randomness for keys, nonces and tokens.

/// `N` bytes from the operating system's generator.
///
/// # Panics
/// If the operating system gives no randomness: nothing that needs a key could go on.
#[allow(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("invariant: the operating system gives randomness");
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::random_bytes::<16>(), super::random_bytes::<16>());
    }
}
