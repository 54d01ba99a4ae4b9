//! Makes the recording that `stele demo` plays: a test bed under churn, recorded by `stele up`,
//! exported, and written as one envelope a line, `{"t","res","what","frame"}`.
//!
//! Not here: what the demo does with it. Secrets are redacted as in every record; the test bed's
//! keys and names are throw-away.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use stele_record::frame::FrameContext;
use stele_record::{Header, Kind};

use crate::churn::{ChurnOptions, run_for};
use crate::places;
use crate::testbed::{Testbed, TestbedError, TestbedOptions};

/// High, because it is compressed once and read often.
const ZSTD_LEVEL: i32 = 19;
/// How long the recorder gets for its first lists, and for the last changes.
const SETTLE: Duration = Duration::from_secs(5);

/// How the recording is made.
#[derive(Debug, Clone)]
pub struct RecordingOptions {
    /// For how long the cluster is changed.
    pub length: Duration,
    /// Changes a second.
    pub rate: f64,
    /// Decides the changes.
    pub seed: u64,
}

/// Makes the recording and writes it to `out`.
pub fn make(options: &RecordingOptions, out: &Path) -> Result<(), TestbedError> {
    let bed = Testbed::start(&TestbedOptions { nodes: 2, progress: true, ..Default::default() })?;
    let data = bed.dir().join("stele");
    let stele = Stele::up(&bed, &data)?;
    std::thread::sleep(SETTLE);
    let mut churn = ChurnOptions::on(&bed, options.seed);
    churn.operations_per_second = options.rate;
    run_for(&churn, options.length)?;
    std::thread::sleep(SETTLE);
    let evidence = bed.dir().join("evidence.jsonl");
    stele.export(&evidence)?;
    drop(stele);
    convert(&evidence, out)
}

/// A recorder beside the test bed; ended when dropped.
struct Stele {
    child: Child,
    home: std::path::PathBuf,
}

impl Stele {
    fn up(bed: &Testbed, data: &Path) -> Result<Self, TestbedError> {
        let home = data.join("home");
        std::fs::create_dir_all(&home).map_err(TestbedError::io("make a home for stele"))?;
        let mut child = stele(&home)
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.join("data"))
            .arg("--kubeconfig")
            .arg(bed.kubeconfig())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(TestbedError::io("start stele; build it first: cargo build -p stele-cli"))?;
        let mut lines = BufReader::new(
            child
                .stdout
                .take()
                .into_iter()
                .next()
                .ok_or_else(|| malformed("start stele", "it has no standard output".into()))?,
        )
        .lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.starts_with("context")));
        if !ready {
            return Err(malformed("start stele", "it did not come up".into()));
        }
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, home })
    }

    fn export(&self, file: &Path) -> Result<(), TestbedError> {
        let status = stele(&self.home)
            .args(["export", "--from", "0", "--out"])
            .arg(file)
            .status()
            .map_err(TestbedError::io("run stele export"))?;
        if status.success() {
            return Ok(());
        }
        Err(malformed("run stele export", status.to_string()))
    }
}

impl Drop for Stele {
    fn drop(&mut self) {
        // Its data goes with the test bed: there is nothing to end in order.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stele(home: &Path) -> Command {
    let mut command = Command::new(places::repository().join("target/debug/stele"));
    command.env("HOME", home).env_remove("KUBECONFIG");
    for (variable, folder) in
        [("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "share"), ("XDG_STATE_HOME", "state")]
    {
        command.env(variable, home.join(folder));
    }
    command
}

#[derive(Deserialize)]
struct EvidenceLine {
    record: Option<String>,
    payload: Option<String>,
}

/// Writes the Kubernetes frames of an evidence file as envelopes.
fn convert(evidence: &Path, out: &Path) -> Result<(), TestbedError> {
    let input = File::open(evidence).map_err(TestbedError::io("read the evidence file"))?;
    let output = File::create(out).map_err(TestbedError::io(format!("write {}", out.display())))?;
    let failed = || TestbedError::io("write the recording");
    let mut output = zstd::Encoder::new(output, ZSTD_LEVEL).map_err(failed())?;
    for line in BufReader::new(input).lines() {
        let line = line.map_err(TestbedError::io("read the evidence file"))?;
        if let Some(envelope) = envelope(&line)? {
            output.write_all(&envelope).map_err(failed())?;
        }
    }
    output.finish().map_err(failed())?;
    Ok(())
}

fn envelope(line: &str) -> Result<Option<Vec<u8>>, TestbedError> {
    let wrong = |what: String| malformed("read the evidence file", what);
    let line: EvidenceLine = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
    let (Some(record), Some(payload)) = (line.record, line.payload) else { return Ok(None) };
    let bytes = |text: &str| STANDARD.decode(text).map_err(|e| wrong(e.to_string()));
    let header = Header::decode(&bytes(&record)?).map_err(|e| wrong(e.to_string()))?;
    let what = match header.kind {
        Kind::KUBE_LIST => "list",
        Kind::KUBE_WATCH => "watch",
        _ => return Ok(None),
    };
    let payload = bytes(&payload)?;
    let (context, frame) = FrameContext::split(&payload).map_err(|e| wrong(e.to_string()))?;
    let t = header.observed_time.unix_ns();
    let res = format!("{}/{}", context.api_version(), context.resource);
    let mut out = format!(r#"{{"t":{t},"res":"{res}","what":"{what}","frame":"#).into_bytes();
    out.extend(frame.iter().filter(|&&byte| byte != b'\n'));
    out.extend_from_slice(b"}\n");
    Ok(Some(out))
}

fn malformed(context: &str, what: String) -> TestbedError {
    TestbedError::Malformed { context: context.into(), what }
}
