//! Tests of `proof_file`.
