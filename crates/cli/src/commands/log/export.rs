//! `stele log export`: the log as static files in the layout of C2SP tlog-tiles.
//!
//! Tiles of hashes are not copied but recomputed from the entries, so that whoever answers can only
//! give the tree that the checkpoint is of, or be found out.
//!
//! Invariant: a directory with a checkpoint has everything that it promises. Tiles are written
//! under their names only when whole, and durable before the checkpoint that needs them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use stele_merkle::tile::{
    TILE_WIDTH, TileBuilder, TileError, TilePath, decode_bundle, decode_hashes, encode_hashes,
    width_at,
};
use stele_merkle::{Checkpoint, Hash, TreeSize, leaf_hash, verify_consistency};

use super::WhereArgs;
use crate::app::App;
use crate::error::{CliError, Exit, Outcome};
use crate::files;
use crate::keys::LogKeys;
use crate::log_view::LogView;
use crate::when::grouped;

/// Arguments of `stele log export`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  stele log export --out ./static

The directory can be served by any web server. It holds the checkpoint, the tiles of hashes and the
entry bundles, that is, record headers: no payload and nothing that a commitment hides. For evidence
with payloads see `stele export`.

Run it again to bring the directory up to date: only what is new is read, and the log must continue
the checkpoint that is there. An export that was interrupted is taken up where it was left.")]
pub(super) struct ExportArgs {
    /// Directory to write to: a new one, or one with an earlier export of this log
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    place: WhereArgs,
}

const CHECKPOINT: &str = "checkpoint";
const TILES: &str = "tile";

pub(super) async fn run(app: &App, args: &ExportArgs) -> Outcome {
    let view = args.place.view(app)?;
    let note = view.published().await?;
    let opened = view.open_checkpoint(&note).await?;
    let now = opened.signed.checkpoint;
    let mut target = Target::open(&args.out)?;
    let old = target.checkpoint(&view, &opened.keys).await?;
    if let Some(old) = &old {
        continues(&view, old, &now).await?;
    }
    let mut tiles = target.tiles(old.as_ref())?;
    let bundles = now.size.0.div_ceil(u64::from(TILE_WIDTH));
    let first = tiles.size().0 / u64::from(TILE_WIDTH);
    let mut progress = app.ui.progress("Exporting bundles", Some(bundles - first));
    for index in first..bundles {
        let width = width_at(0, index, now.size);
        let path = TilePath::entries(index, width).map_err(CliError::failed)?;
        let bundle = match target.bundle(&path)? {
            Some(bundle) => bundle,
            None => view.tile(path).await?,
        };
        let entries = decode_bundle(&bundle, width)
            .map_err(|e| CliError::tampered(format!("{path} of the log: {e}")))?;
        target.write(&path, &bundle)?;
        for entry in entries {
            tiles.push(leaf_hash(entry), |path, hashes| {
                target.write(&path, &encode_hashes(hashes))
            })?;
        }
        progress.at(index + 1 - first);
    }
    drop(progress);
    for (path, hashes) in tiles.partial() {
        target.write(&path, &encode_hashes(hashes))?;
    }
    target.check_root(&tiles, &now)?;
    target.publish(&note)?;
    let pinned = if opened.pinned { "" } else { " (key not pinned)" };
    app.ui.note(&format!(
        "Wrote checkpoint {} and {} tiles to {}{pinned}.",
        now.size,
        grouped(target.written),
        args.out.display()
    ));
    Ok(Exit::Done)
}

/// Checks that the log continues the checkpoint that was exported before.
async fn continues(view: &LogView, old: &Checkpoint, now: &Checkpoint) -> Result<(), CliError> {
    if old.size > now.size {
        return Err(CliError::tampered(format!(
            "the directory has checkpoint {}, the log only {}: it was rolled back or replaced",
            old.size, now.size
        )));
    }
    let proof = match old.size {
        TreeSize::EMPTY => Vec::new(),
        size => view.consistency(size, now.size).await?,
    };
    verify_consistency(old.size, old.root, now.size, now.root, &proof).map_err(|e| {
        let (old, now) = (old.size, now.size);
        CliError::tampered(format!(
            "checkpoint {now} does not continue {old}, which was exported: a fork ({e})"
        ))
    })
}

/// The directory that is written.
struct Target {
    root: PathBuf,
    /// Directories with names that are not durable yet.
    unsynced: BTreeSet<PathBuf>,
    written: u64,
    /// A bundle was taken from an export that was interrupted.
    taken_up: bool,
}

impl Target {
    /// Opens or makes the directory.
    fn open(root: &Path) -> Result<Self, CliError> {
        let cannot = |e: io::Error| cannot("use", root, &e);
        fs::create_dir_all(root).map_err(cannot)?;
        let ours = root.join(TILES).is_dir() || root.join(CHECKPOINT).is_file();
        if !ours && fs::read_dir(root).map_err(cannot)?.next().is_some() {
            return Err(CliError::usage(format!(
                "{} is not empty, and holds no exported log",
                root.display()
            )));
        }
        let root = root.to_path_buf();
        Ok(Self { root, unsynced: BTreeSet::new(), written: 0, taken_up: false })
    }

    /// The checkpoint of the earlier export.
    async fn checkpoint(
        &self,
        view: &LogView,
        keys: &LogKeys,
    ) -> Result<Option<Checkpoint>, CliError> {
        let path = self.root.join(CHECKPOINT);
        if !path.is_file() {
            return Ok(None);
        }
        let note = files::note(&path)?;
        files::opened(&path, &note, &view.verifier_for(keys, &note).await?).map(Some)
    }

    /// The tiles up to the last full one under the earlier checkpoint, checked against its root.
    fn tiles(&self, old: Option<&Checkpoint>) -> Result<TileBuilder, CliError> {
        let Some(old) = old else { return Ok(TileBuilder::new()) };
        let mut tiles = TileBuilder::resume(old.size, |path| self.hashes(&path))?;
        if tiles.root().map_err(CliError::failed)? != old.root {
            return Err(self.damaged("do not lead to the root of its checkpoint"));
        }
        tiles.drop_partial_leaves();
        Ok(tiles)
    }

    fn hashes(&self, path: &TilePath) -> Result<Vec<Hash>, TargetError> {
        let file = self.root.join(path.to_string());
        let bytes = fs::read(&file).map_err(|e| cannot("read", &file, &e))?;
        Ok(decode_hashes(&bytes, path.width())?)
    }

    /// A full bundle that an interrupted export has left.
    fn bundle(&mut self, path: &TilePath) -> Result<Option<Bytes>, CliError> {
        let file = self.root.join(path.to_string());
        if !path.is_full() || !file.is_file() {
            return Ok(None);
        }
        let bytes = fs::read(&file).map_err(|e| cannot("read", &file, &e))?;
        // One that is no bundle is replaced.
        let whole = decode_bundle(&bytes, path.width()).is_ok();
        self.taken_up |= whole;
        Ok(whole.then(|| Bytes::from(bytes)))
    }

    /// Writes a tile or bundle, unless it is there.
    fn write(&mut self, path: &TilePath, bytes: &[u8]) -> Result<(), TargetError> {
        let file = self.root.join(path.to_string());
        if fs::read(&file).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        let parent = file.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(|e| cannot("create", parent, &e))?;
        // Its own name is as new as that of the tile, up to the directory itself.
        let parents = parent.ancestors().take_while(|dir| dir.starts_with(&self.root));
        self.unsynced.extend(parents.map(Path::to_path_buf));
        files::replace(&file, bytes)?;
        self.written += 1;
        Ok(())
    }

    /// Checks that what was written leads to the signed root.
    fn check_root(&self, tiles: &TileBuilder, now: &Checkpoint) -> Result<(), CliError> {
        let root = tiles.root().map_err(CliError::failed)?;
        if tiles.size() == now.size && root == now.root {
            return Ok(());
        }
        if self.taken_up {
            return Err(self.damaged("of an interrupted export do not lead to the signed root"));
        }
        Err(CliError::tampered(format!(
            "the log's entries have the root {root}, {} was signed",
            now.root
        ))
        .hint(format!("what was written of it is in {}, with no checkpoint", self.root.display())))
    }

    fn damaged(&self, how: &str) -> CliError {
        let root = self.root.display();
        CliError::tampered(format!("the files in {root} {how}"))
            .hint("move the directory away, and export the log anew")
    }

    /// Makes all tiles durable, then writes the checkpoint.
    fn publish(&mut self, note: &str) -> Result<(), CliError> {
        let sync = |dir: &Path| {
            fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| cannot("sync", dir, &e))
        };
        self.unsynced.iter().try_for_each(|dir| sync(dir))?;
        files::replace(&self.root.join(CHECKPOINT), note.as_bytes())?;
        sync(&self.root)
    }
}

/// A failure on the way through [`TileBuilder`].
struct TargetError(CliError);

impl From<CliError> for TargetError {
    fn from(error: CliError) -> Self {
        Self(error)
    }
}

impl From<TileError> for TargetError {
    fn from(error: TileError) -> Self {
        Self(CliError::tampered(format!("an exported tile is damaged: {error}")))
    }
}

impl From<TargetError> for CliError {
    fn from(TargetError(error): TargetError) -> Self {
        error
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format!("cannot {what} {}: {error}", path.display()))
}
