//! `stele log push`: the log's newest checkpoint and its leaves to a mirror (C2SP tlog-mirror), which
//! cosigns them.
//!
//! Not here: what the mirror checks; it believes nothing that is sent.
//! Invariant: a cosignature that is shown as good was verified with a key that was given.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use reqwest::header::CONTENT_ENCODING;
use stele_merkle::mirror::{
    ADD_ENTRIES_PATH, INFO_BYTES_MAX, MirrorInfo, Package, UPLOAD_CONTENT_TYPE,
    UPLOAD_PACKAGES_MAX, UploadHead,
};
use stele_merkle::tile::{
    TILE_HEIGHT, TILE_WIDTH, TilePath, decode_bundle, decode_hashes, root_of, width_at,
};
use stele_merkle::witness::{ADD_CHECKPOINT_PATH, AddCheckpoint, Answer};
use stele_merkle::{
    Checkpoint, Hash, Note, ProveError, Signature, Subtrees, TreeSize, consistency_proof,
};

use super::WhereArgs;
use crate::app::App;
use crate::client::{Body, Client, Query};
use crate::error::{CliError, Exit, Outcome};
use crate::files;
use crate::keys::LogKeys;
use crate::log_view::LogView;
use crate::when::grouped;

/// Arguments of `stele log push`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  stele log push https://mirror.example.org --mirror-key mirror.pub --out cosigned.checkpoint

Sends the newest checkpoint, and the leaves under it that the mirror does not have, with proofs. What
leaves the machine are record headers: no payload and nothing that a commitment hides. An upload that
was interrupted is taken up where it was left.")]
pub(super) struct PushArgs {
    /// Submission prefix of the mirror
    #[arg(value_name = "URL")]
    to: String,
    /// Public keys of the mirror: a file, or a verifier key; its cosignatures must verify
    #[arg(long, value_name = "FILE|KEY")]
    mirror_key: Option<String>,
    /// File for the checkpoint with the mirror's cosignatures
    #[arg(long, value_name = "FILE", requires = "mirror_key")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: WhereArgs,
}

/// How often a mirror may say that it is elsewhere before that is an error.
const CONFLICTS_MAX: usize = 8;

pub(super) async fn run(app: &App, args: &PushArgs) -> Outcome {
    let mirror_keys = args.mirror_key.as_deref().map(LogKeys::from_argument).transpose()?;
    let view = args.place.view(app)?;
    let note = view.published().await?;
    let checkpoint = view.open_checkpoint(&note).await?.signed.checkpoint;
    let note = Note::parse(note.as_bytes()).map_err(CliError::failed)?;
    let mirror = Client::new(&args.to, None, LogKeys::default())?;
    let mut push = Push { app, view, mirror, note, checkpoint, tiles: Tiles::default() };
    push.announce().await?;
    let lines = push.upload().await?;
    let size = grouped(push.checkpoint.size.0);
    let Some(keys) = mirror_keys else {
        app.ui.line(&format!(
            "{size} entries are held, says the mirror; its {} cosignatures are not checked",
            lines.len()
        ))?;
        return Ok(Exit::Done);
    };
    let known = keys.into_keys();
    let text = push.note.text().to_owned();
    let own = Note::new(text.clone(), lines).and_then(|own| {
        own.verify(&known)?;
        own.only_by(&known)
    });
    let own = own
        .map_err(|e| CliError::tampered(format!("the mirror's cosignatures do not verify: {e}")))?;
    if let Some(path) = &args.out {
        let all = push.note.signatures().iter().chain(own.signatures()).cloned().collect();
        let cosigned = Note::new(text, all).map_err(CliError::failed)?;
        files::replace(path, cosigned.to_string().as_bytes())?;
    }
    app.ui.line(&format!(
        "{size} entries are held and cosigned; {} cosignatures verify",
        own.signatures().len()
    ))?;
    Ok(Exit::Done)
}

struct Push<'a> {
    app: &'a App,
    view: LogView,
    mirror: Client,
    note: Note,
    checkpoint: Checkpoint,
    tiles: Tiles,
}

impl Push<'_> {
    /// Makes the checkpoint a pending one of the mirror.
    async fn announce(&mut self) -> Result<(), CliError> {
        let mut old = TreeSize::EMPTY;
        for _ in 0..CONFLICTS_MAX {
            let size = self.checkpoint.size;
            let proof = self.prove(|tiles| consistency_proof(old, size, tiles)).await?;
            let request = AddCheckpoint { old, proof, note: self.note.clone() };
            let body = Bytes::from(request.encode());
            let (status, answer) =
                self.post(ADD_CHECKPOINT_PATH, "text/plain", body, false).await?;
            if status == 200 {
                // There may be no line: a mirror cosigns what it holds, and it holds nothing yet.
                return Ok(());
            }
            match Answer::parse(status, &answer).map_err(CliError::failed)? {
                Answer::OtherSize(other) if other <= self.checkpoint.size => old = other,
                Answer::OtherSize(other) => {
                    return Err(CliError::failed(format!(
                        "the mirror knows {other} entries, the log shows {}",
                        self.checkpoint.size
                    ))
                    .hint("somebody else has pushed a newer checkpoint; try again"));
                }
                Answer::Refused { status, reason } => return Err(refused(status, &reason)),
                _ => return Ok(()),
            }
        }
        Err(CliError::failed("the mirror names another size each time"))
    }

    /// Uploads what the mirror does not have; gives its cosignatures.
    async fn upload(&mut self) -> Result<Vec<Signature>, CliError> {
        let end = self.checkpoint.size;
        // Whoever has everything cosigns; who has not says what is missing.
        let mut head = UploadHead {
            origin: self.checkpoint.origin.clone(),
            start: end.0,
            end,
            ticket: Vec::new(),
        };
        let mut progress = self.app.ui.progress("Pushing entries", Some(end.0));
        let mut conflicts = 0;
        loop {
            let body = self.body(&head).await?;
            let (status, answer) =
                self.post(ADD_ENTRIES_PATH, UPLOAD_CONTENT_TYPE, body, true).await?;
            let info = match status {
                200 => match Answer::parse(status, &answer).map_err(CliError::failed)? {
                    Answer::Cosigned(lines) => return Ok(lines),
                    _ => return Err(CliError::failed("the mirror's answer has no cosignatures")),
                },
                202 | 409 if answer.len() <= INFO_BYTES_MAX => {
                    MirrorInfo::parse(&answer).map_err(CliError::failed)?
                }
                _ => {
                    let reason = String::from_utf8_lossy(&answer).trim().to_owned();
                    return Err(refused(status, &reason));
                }
            };
            if info.size != end || info.next > end.0 {
                return Err(CliError::failed(format!(
                    "the mirror takes entries up to {}, this push has {end}",
                    info.size
                ))
                .hint("somebody else pushes; try again"));
            }
            conflicts = if info.next > head.start { 0 } else { conflicts + 1 };
            if conflicts > CONFLICTS_MAX {
                return Err(CliError::failed("the mirror takes no entries"));
            }
            progress.at(info.next);
            (head.start, head.ticket) = (info.next, info.ticket);
        }
    }

    /// An upload of the first packages that are missing.
    async fn body(&mut self, head: &UploadHead) -> Result<Bytes, CliError> {
        let too_long = || CliError::failed("the mirror's ticket or an entry is too long");
        let mut body = head.encode().ok_or_else(too_long)?;
        let size = head.end;
        for range in head.packages().take(UPLOAD_PACKAGES_MAX) {
            let subtree = range.subtree();
            let index = subtree.start() / u64::from(TILE_WIDTH);
            let width = width_at(0, index, size);
            let path = TilePath::entries(index, width).map_err(CliError::failed)?;
            let bundle = self.view.tile(path).await?;
            let entries = decode_bundle(&bundle, width)
                .map_err(|e| CliError::tampered(format!("{path} of the log: {e}")))?;
            let before = usize::try_from(range.start() - subtree.start()).unwrap_or(usize::MAX);
            let entries = entries.get(before..).unwrap_or_default().to_vec();
            let proof = self.prove(|tiles| subtree.proof(size, tiles)).await?;
            if !(Package { entries, proof }).encode(&mut body) {
                return Err(too_long());
            }
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let packed = packed.write_all(&body).and_then(|()| packed.finish());
        Ok(packed.map_err(CliError::failed)?.into())
    }

    /// A proof, once the tiles that it takes are there.
    async fn prove(
        &mut self,
        prove: impl Fn(&Tiles) -> Result<Vec<Hash>, ProveError<Missing>>,
    ) -> Result<Vec<Hash>, CliError> {
        self.tiles.size = self.checkpoint.size;
        loop {
            match prove(&self.tiles) {
                Ok(proof) => return Ok(proof),
                Err(ProveError::Subtree(Missing(path))) => {
                    let bytes = self.view.tile(path).await?;
                    let hashes = decode_hashes(&bytes, path.width())
                        .map_err(|e| CliError::tampered(format!("{path} of the log: {e}")))?;
                    self.tiles.tiles.insert(path, hashes);
                }
                Err(error) => return Err(CliError::failed(error)),
            }
        }
    }

    async fn post(
        &self,
        path: &str,
        content_type: &'static str,
        bytes: Bytes,
        packed: bool,
    ) -> Result<(u16, Bytes), CliError> {
        let body = Body { content_type, bytes };
        let mut request = self.mirror.request(Method::POST, path, &Query::new(), Some(body))?;
        if packed {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let response = request.send().await.map_err(|e| self.mirror.unreachable(&e))?;
        let status = response.status().as_u16();
        let answer = response.bytes().await.map_err(|e| self.mirror.unreachable(&e))?;
        Ok((status, answer))
    }
}

fn refused(status: u16, reason: &str) -> CliError {
    CliError::failed(format!("the mirror refuses with {status}: {reason}"))
}

/// A tile that a proof takes.
#[derive(Debug)]
struct Missing(TilePath);

/// The tiles of hashes that were fetched, of the tree of `size`.
#[derive(Default)]
struct Tiles {
    size: TreeSize,
    tiles: HashMap<TilePath, Vec<Hash>>,
}

impl Subtrees for Tiles {
    type Error = Missing;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Missing> {
        let width = u64::from(TILE_WIDTH);
        let (tile_level, within) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let (first, count) = (index << within, 1_usize << within);
        let tile = first / width;
        let path = TilePath::hashes(tile_level, tile, width_at(tile_level, tile, self.size))
            .expect("invariant: only subtrees inside the tree are asked for");
        let hashes = self.tiles.get(&path).ok_or(Missing(path))?;
        let begin = (first % width) as usize;
        let nodes = hashes.get(begin..begin + count);
        Ok(root_of(nodes.expect("invariant: only subtrees inside the tree are asked for")))
    }
}
