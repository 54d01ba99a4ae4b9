//! Writes the inputs that fuzzing starts from: `stele-fuzz-targets DIR` makes `DIR/TARGET/NUMBER`.
//! They are made by the program, so that they are never of an older format than it.

use std::path::PathBuf;
use std::process::ExitCode;

use stele_fuzz_targets::TARGETS;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(root), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        eprintln!("usage: stele-fuzz-targets DIR");
        return ExitCode::from(2);
    };
    for target in TARGETS {
        let folder = root.join(target.name);
        let seeds = (target.seeds)();
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&folder)?;
            for (number, seed) in seeds.iter().enumerate() {
                std::fs::write(folder.join(number.to_string()), seed)?;
            }
            Ok(())
        };
        if let Err(error) = write() {
            eprintln!("cannot write {}: {error}", folder.display());
            return ExitCode::FAILURE;
        }
        println!("{}: {} inputs", target.name, seeds.len());
    }
    ExitCode::SUCCESS
}
