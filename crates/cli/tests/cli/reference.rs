//! The documents in `docs/reference` say what the program does, because the program prints them.

use crate::support::Home;

#[test]
fn the_reference_documents_are_what_the_program_prints() {
    for (document, file) in [("cli", "cli.md"), ("openapi", "openapi.json")] {
        let path = format!("{}/../../docs/reference/{file}", env!("CARGO_MANIFEST_DIR"));
        let printed = Home::new().run(&["reference", document]).expect(0).stdout;
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == printed,
            "docs/reference/{file} is out of date: `cargo run -p stele-cli -- reference {document} \
             > docs/reference/{file}`"
        );
    }
}
