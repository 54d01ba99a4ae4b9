//! `stele log export`: the log as static files in the layout of C2SP tlog-tiles.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use stele_merkle::TreeSize;
use stele_merkle::tile::{TILE_WIDTH, TilePath, level_width, width_at};

use super::WhereArgs;
use crate::app::App;
use crate::error::{CliError, Exit, Outcome};
use crate::files;
use crate::when::grouped;

/// Arguments of `stele log export`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  stele log export --out ./static

The directory can be served by any web server. It holds the checkpoint, the tiles of hashes and the
entry bundles, that is, record headers: no payload and nothing that a commitment hides. For evidence
with payloads see `stele export`.")]
pub(super) struct ExportArgs {
    /// Directory to write to; it must not exist yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    place: WhereArgs,
}

pub(super) async fn run(app: &App, args: &ExportArgs) -> Outcome {
    let view = args.place.view(app)?;
    let note = view.published().await?;
    let size = view.open_checkpoint(&note).await?.signed.checkpoint.size;
    fs::create_dir(&args.out)
        .map_err(|e| CliError::failed(format!("cannot create {}: {e}", args.out.display())))?;
    let paths = tiles(size)?;
    let mut progress = app.ui.progress("Exporting tiles", Some(paths.len() as u64));
    for (done, path) in paths.iter().enumerate() {
        write(&args.out, &path.to_string(), &view.tile(*path).await?)?;
        progress.at(done as u64 + 1);
    }
    drop(progress);
    // Last, so that a directory with a checkpoint has everything that it promises.
    write(&args.out, "checkpoint", note.as_bytes())?;
    app.ui.note(&format!(
        "Wrote checkpoint {} and {} tiles to {}.",
        size,
        grouped(paths.len() as u64),
        args.out.display()
    ));
    Ok(Exit::Done)
}

/// Every tile and bundle of a tree of this size, partial ones at the right edge only.
fn tiles(size: TreeSize) -> Result<Vec<TilePath>, CliError> {
    let mut paths = Vec::new();
    let mut level = 0;
    while level_width(level, size) > 0 {
        for index in 0..level_width(level, size).div_ceil(u64::from(TILE_WIDTH)) {
            let width = width_at(level, index, size);
            paths.push(TilePath::hashes(level, index, width).map_err(CliError::failed)?);
            if level == 0 {
                paths.push(TilePath::entries(index, width).map_err(CliError::failed)?);
            }
        }
        level += 1;
    }
    Ok(paths)
}

fn write(root: &Path, name: &str, bytes: &[u8]) -> Result<(), CliError> {
    let path = root.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .map_err(|e| CliError::failed(format!("cannot create {}: {e}", parent.display())))?;
    }
    files::write_new(&path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_of_a_tree_is_named_once() {
        let names = |size| {
            let paths = tiles(TreeSize(size)).unwrap();
            paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(0), "");
        assert_eq!(names(3), "tile/0/000.p/3 tile/entries/000.p/3");
        assert_eq!(
            names(257),
            "tile/0/000 tile/entries/000 tile/0/001.p/1 tile/entries/001.p/1 tile/1/000.p/1"
        );
    }
}
