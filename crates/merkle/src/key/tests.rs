//! vkeys, names, and keys that must not be believed.

use super::*;

const EXAMPLE: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

#[test]
fn the_example_of_the_specification_is_read_and_written() {
    let key: VerifierKey = EXAMPLE.parse().unwrap();
    assert_eq!(key.name(), "example.com/foo");
    assert_eq!(key.id(), KeyId(0x530d_903a));
    assert_eq!(key.algorithm(), Algorithm::Ed25519);
    assert_eq!(key.to_string(), EXAMPLE);
}

#[test]
fn every_algorithm_has_a_vkey() {
    for (algorithm, bytes) in
        [(Algorithm::Ed25519, 32), (Algorithm::Ed25519Cosignature, 32), (Algorithm::MlDsa44, 1_312)]
    {
        let key = SigningKey::from_seed("log.example", algorithm, &[9; 32]).unwrap();
        let public = key.verifier_key();
        assert_eq!(public.key_bytes().len(), bytes);
        assert_eq!(public.to_string().parse().as_ref(), Ok(public));
        let signature = key.sign_bytes(b"message").unwrap();
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"massage", &signature));
        assert!(!public.verifies(b"message", &signature[1..]));
        assert!(!public.verifies(b"message", &[&signature[..], &[0]].concat()));
    }
}

#[test]
fn names_and_algorithms_separate_ids() {
    let id = |name, algorithm| {
        SigningKey::from_seed(name, algorithm, &[9; 32]).unwrap().verifier_key().id()
    };
    assert_ne!(id("a", Algorithm::Ed25519), id("b", Algorithm::Ed25519));
    assert_ne!(id("a", Algorithm::Ed25519), id("a", Algorithm::Ed25519Cosignature));
}

#[test]
fn texts_that_are_no_vkey_are_refused() {
    let key = "AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    for (text, expected) in [
        (String::new(), KeyError::Text),
        ("example.com/foo".to_owned(), KeyError::Text),
        ("example.com/foo+530d903a".to_owned(), KeyError::Text),
        (format!("example.com/foo+530d903+{key}"), KeyError::Text),
        (format!("example.com/foo+530d903g+{key}"), KeyError::Text),
        ("example.com/foo+530d903a+".to_owned(), KeyError::Text),
        (format!("example.com/foo+530d903a+{key}="), KeyError::Text),
        (format!("example.com/foo+530d903a+\n{key}"), KeyError::Text),
        (format!("+530d903a+{key}"), KeyError::Name),
        (format!("example com+530d903a+{key}"), KeyError::Name),
        ("a+530d903a+AuknKA==".to_owned(), KeyError::Unsupported(2)),
        ("a+530d903a+AQ==".to_owned(), KeyError::Rejected(Algorithm::Ed25519)),
        ("a+530d903a+BgAA".to_owned(), KeyError::Rejected(Algorithm::MlDsa44)),
        (format!("{}+530d903a+{key}", "n".repeat(5_000)), KeyError::Text),
    ] {
        assert_eq!(text.parse::<VerifierKey>(), Err(expected), "{text}");
    }
    let other = EXAMPLE.replace("foo", "bar").parse::<VerifierKey>();
    assert!(matches!(other, Err(KeyError::WrongId { .. })), "{other:?}");
}

#[test]
fn names_are_bounded() {
    let named = |name: &str| SigningKey::from_seed(name, Algorithm::Ed25519, &[1; 32]).map(|_| ());
    assert_eq!(named(&"n".repeat(255)), Ok(()));
    for name in ["", " ", "a b", "a\u{a0}b", "a\u{2003}b", "a\tb", "a\nb", "a+b", "a\u{1}b"] {
        assert_eq!(named(name), Err(KeyError::Name), "{name:?}");
    }
    assert_eq!(named(&"n".repeat(256)), Err(KeyError::Name));
}

#[test]
fn keys_that_anybody_can_sign_for_are_refused() {
    // For the neutral element as key, R = neutral element and S = 0 fit every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let forged = [neutral, [0; 32]].concat();
    let accepted = UnparsedPublicKey::new(&ED25519, neutral).verify(b"anything", &forged);
    assert!(accepted.is_ok(), "the library accepts such a signature, so the key must be refused");
    for sign in [0, 0x80] {
        neutral[31] = sign;
        let key = VerifierKey::new("log.example", Algorithm::Ed25519, &neutral);
        assert_eq!(key, Err(KeyError::Rejected(Algorithm::Ed25519)));
    }
}

#[test]
fn private_keys_are_not_printed() {
    let key = SigningKey::from_seed("log.example", Algorithm::MlDsa44, &[0xab; 32]).unwrap();
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey(log.example+{}, ML-DSA-44)", key.verifier_key().id())
    );
}
