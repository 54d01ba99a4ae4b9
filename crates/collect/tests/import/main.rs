//! Import: the forms people hold, bad input among good, and the recordings of real clusters.
//!
//! The recordings are looked for in the folder that `STELE_RECORDINGS` names, else beside the
//! repository; where they are missing the tests say so loudly and are not counted as run.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{Log, Record};
use serde_json::{Value, json};
use stele_collect::import::{
    Compression, Format, ImportError, ImportOptions, ImportReport, import,
};
use stele_record::frame::FrameContext;
use stele_record::kube::ResourceList;
use stele_record::{EventTime, Gap, GapReason, Header, Kind};
use stele_source::{Source, SourceOptions};
use stele_store::SystemClock;
use tokio::sync::watch;

struct Imported {
    report: ImportReport,
    records: Vec<Record>,
}

impl Imported {
    fn of(&self, kinds: &[Kind]) -> Vec<&Record> {
        self.records.iter().filter(|(header, _)| kinds.contains(&header.kind)).collect()
    }

    fn frames(&self) -> Vec<(&Header, FrameContext, &[u8])> {
        let split = |record: &'_ &Record| -> (FrameContext, usize) {
            let (context, raw) = FrameContext::split(&record.1).unwrap();
            (context, record.1.len() - raw.len())
        };
        let frames = self.records.iter();
        frames
            .filter(|(header, _)| matches!(header.kind, Kind::KUBE_LIST | Kind::KUBE_WATCH))
            .map(|record| {
                let (context, at) = split(&record);
                (&record.0, context, &record.1[at..])
            })
            .collect()
    }

    fn gaps(&self, reason: GapReason) -> Vec<Gap> {
        let gaps = self.of(&[Kind::GAP]);
        let gaps = gaps.into_iter().map(|(_, payload)| Gap::decode(payload).unwrap());
        gaps.filter(|gap| gap.reason == reason).collect()
    }
}

fn options() -> ImportOptions {
    ImportOptions {
        format: None,
        name: "input".to_owned(),
        cluster: "c".to_owned(),
        observed_at: None,
        complete: false,
        store_secret_values: false,
    }
}

async fn try_import(
    input: impl Read + Send + 'static,
    options: ImportOptions,
) -> Result<Imported, ImportError> {
    let dir = tempfile::tempdir().unwrap();
    let source = SourceOptions {
        name: "import/test".to_owned(),
        attests: "test".to_owned(),
        imported: true,
        heartbeat: Duration::from_secs(10),
        software: "test".to_owned(),
        spool_bytes_max: u64::MAX,
    };
    let source = Source::open(dir.path(), source, Arc::new(SystemClock::new())).unwrap();
    let report = import(input, options, &source, |_| {}).await?;
    let log = Log::default();
    let (stop, stopped) = watch::channel(false);
    let drained = async {
        source.drained().await.unwrap();
        stop.send_replace(true);
    };
    let (ran, ()) = tokio::join!(source.run(&log, stopped, Duration::from_secs(60)), drained);
    ran.unwrap();
    let mut records: Vec<Record> = log.0.lock().unwrap().values().cloned().collect();
    let ours = [Kind::SOURCE_OPEN, Kind::SEAL, Kind::SOURCE_CLOSE];
    records.retain(|(header, _)| !ours.contains(&header.kind));
    assert_eq!(records.len() as u64, report.records);
    Ok(Imported { report, records })
}

async fn import_text(text: impl Into<Vec<u8>>) -> Imported {
    try_import(std::io::Cursor::new(text.into()), options()).await.unwrap()
}

fn pod(name: &str, rv: u64) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1",
           "metadata": {"name": name, "namespace": "n", "resourceVersion": rv.to_string()}})
}

#[tokio::test]
async fn printed_watch_events_stay_as_they_are() {
    let events: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| json!({"type": "ADDED", "object": pod(name, 7)}))
        .map(|event| serde_json::to_string_pretty(&event).unwrap())
        .collect();
    for text in [events.join("\n"), events.concat(), format!("\n\n {}\n", events.join(" "))] {
        let imported = import_text(text).await;
        assert_eq!(imported.report.format, Format::Watch);
        assert_eq!((imported.report.documents, imported.report.skipped), (3, 0));
        let frames = imported.frames();
        let raw: Vec<&str> =
            frames.iter().map(|(_, _, raw)| str::from_utf8(raw).unwrap()).collect();
        assert_eq!(raw, events);
        assert_eq!((frames[0].1.resource.as_str(), frames[0].1.namespaced), ("pods", true));
        assert_eq!(frames[0].0.origin_counter.as_deref(), Some("7"));
        assert_eq!(frames[0].0.event_time, None);
        assert_eq!(imported.gaps(GapReason::RecordingEnded).len(), 1);
    }
}

#[tokio::test]
async fn packed_input_is_unpacked_and_damage_is_reported_after_the_good_part() {
    let lines: String = (0..2000)
        .map(|n| {
            let frame = json!({"type": "ADDED", "object": pod(&format!("p{n}"), n)});
            json!({"t": n, "res": "v1/pods", "what": "watch", "frame": frame}).to_string() + "\n"
        })
        .collect();
    let zstd = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let plain = lines.clone().into_bytes();
    for (bytes, compression) in
        [(plain, Compression::None), (zstd, Compression::Zstd), (gzip, Compression::Gzip)]
    {
        let imported = import_text(bytes.clone()).await;
        assert_eq!(imported.report.compression, compression);
        assert_eq!((imported.frames().len(), imported.report.skipped), (2000, 0));
        assert_eq!(imported.report.bytes, lines.len() as u64);
        if compression != Compression::None {
            let cut = import_text(bytes[..bytes.len() - 9].to_vec()).await;
            assert_eq!(cut.report.skipped, 1, "{compression:?}");
            assert!(cut.report.faults[0].problem.contains("can't be read on"));
        }
    }
}

#[tokio::test]
async fn bad_lines_are_named_and_the_rest_is_taken() {
    let good = |t: i64| {
        let frame = json!({"type": "ADDED", "object": pod("p", 7)});
        json!({"t": t, "res": "v1/pods", "what": "watch", "frame": frame}).to_string()
    };
    let mut text = Vec::new();
    let bad: [(&[u8], &str); 9] = [
        (b"garbage", ""),
        (b"{\"t\":1", ""),
        (b"{\"t\":1.5,\"res\":\"v1/pods\",\"what\":\"watch\",\"frame\":{}}", "t"),
        (b"{\"t\":99999999999999999999,\"res\":\"v1/pods\",\"what\":\"watch\",\"frame\":{}}", "t"),
        (b"{\"t\":1,\"res\":\"pods\",\"what\":\"watch\",\"frame\":{}}", "res"),
        (b"{\"t\":1,\"res\":\"v1/pods\",\"what\":\"other\",\"frame\":{}}", "what"),
        (b"{\"t\":1,\"res\":\"v1/pods\",\"what\":\"watch\"}", "frame"),
        (b"\xff\xfe{\"t\":1}", ""),
        (b"{\"t\":1,\"res\":\"v1/pods\",\"what\":\"watch\",\"frame\":{\"type\":\"X\",\"object\":{}}}", "type"),
    ];
    text.extend_from_slice(format!("{}\n", good(100)).as_bytes());
    for (line, _) in bad {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("\n{}\r\n{}", good(200), good(300)).as_bytes());
    let imported = import_text(text.clone()).await;
    assert_eq!(imported.frames().len(), 3);
    assert_eq!(imported.report.skipped, 9);
    for (number, ((line, field), fault)) in bad.iter().zip(&imported.report.faults).enumerate() {
        assert_eq!(fault.line, number as u64 + 2);
        assert_eq!(&text[fault.byte as usize..][..line.len()], *line, "{fault}");
        assert_eq!(fault.field.as_deref().unwrap_or(""), *field, "{fault}");
    }
    let gap = &imported.gaps(GapReason::Unreadable)[0];
    assert_eq!((gap.from_ns.unix_ns(), gap.to_ns.unwrap().unix_ns()), (100, 200));
    assert!(gap.detail.contains("9 unreadable documents between line 2 and line 10"));
    let ended = &imported.gaps(GapReason::RecordingEnded)[0];
    assert_eq!((ended.from_ns.unix_ns(), ended.to_ns), (300, None));
    assert_eq!(ended.resource.as_deref(), Some("pods"));
}

#[tokio::test]
async fn truncated_and_garbled_documents_do_not_swallow_what_follows() {
    let event = |name: &str| {
        serde_json::to_string_pretty(&json!({"type": "ADDED", "object": pod(name, 7)})).unwrap()
    };
    let whole = event("a");
    for cut in [10, 30, 60, whole.len() - 2] {
        let text =
            format!("{}\n{}\n{}\nxxx\n{}", event("1"), &whole[..cut], event("2"), event("3"));
        let imported = import_text(text).await;
        let names: Vec<String> = imported
            .frames()
            .iter()
            .map(|(_, _, raw)| serde_json::from_slice::<Value>(raw).unwrap())
            .map(|frame| frame["object"]["metadata"]["name"].as_str().unwrap_or("").to_owned())
            .collect();
        assert!(names.contains(&"1".to_owned()) && names.contains(&"3".to_owned()), "{names:?}");
        assert!(imported.report.skipped >= 2);
        assert_eq!(imported.gaps(GapReason::Unreadable).len(), 1 + usize::from(names.len() == 3));
    }
}

#[tokio::test]
async fn lists_are_open_unless_they_are_said_to_be_complete() {
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""},
        "items": [pod("a", 1), pod("b", 2), {"apiVersion": "example.org/v1", "kind": "Widget",
            "metadata": {"name": "w", "namespace": "n"}}, {"kind": "Pod"},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "c2VjcmV0"}}]});
    let text = format!("{list:#}\n{}", pod("c", 3));
    for complete in [false, true] {
        let observed_at = Some(EventTime::from_unix_ns(5));
        let options = ImportOptions { complete, observed_at, ..options() };
        let input = std::io::Cursor::new(text.clone().into_bytes());
        let imported = try_import(input, options).await.unwrap();
        assert_eq!(imported.report.format, Format::List);
        assert_eq!((imported.report.documents, imported.report.skipped), (2, 1));
        assert_eq!(imported.report.faults[0].field.as_deref(), Some("items[3].apiVersion"));
        assert_eq!(imported.report.guesses.len(), 1);
        let frames = imported.frames();
        let seen: BTreeSet<(&str, bool, u32)> = frames
            .iter()
            .map(|(_, context, _)| {
                let list = context.list.unwrap();
                (context.resource.as_str(), list.last, list.page)
            })
            .collect();
        let page = |n: u32| if complete { 0 } else { n };
        let last = complete;
        assert_eq!(
            seen,
            BTreeSet::from([
                ("pods", last, 0),
                ("pods", last, page(1)),
                ("secrets", last, 0),
                ("widgets", last, 0),
            ])
        );
        assert!(frames.iter().all(|(header, ..)| header.event_time == observed_at));
        let all: Vec<u8> =
            imported.records.iter().flat_map(|(_, payload)| payload.clone()).collect();
        assert!(!String::from_utf8(all).unwrap().contains("c2VjcmV0"));
    }
}

#[tokio::test]
async fn audit_events_keep_their_claimed_time_and_lose_secret_values() {
    let event = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "1",
        "stageTimestamp": "2026-11-23T05:52:17.752866Z", "objectRef": {"resource": "secrets"},
        "requestObject": {"kind": "Secret", "data": {"k": "c2VjcmV0"}}});
    let mut nameless = event.clone();
    nameless["stageTimestamp"] = json!("yesterday");
    let list =
        json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [event, event]});
    let future = event.to_string().replace("2026", "2199");
    let imported = import_text(format!("{event}\n{nameless}\n{list}\n{future}\n")).await;
    let events = imported.of(&[Kind::KUBE_AUDIT]);
    assert_eq!(events.len(), 4);
    assert_eq!(events[0].0.event_time.unwrap().unix_ns(), 1_795_413_137_752_866_000);
    assert!(events.iter().all(|(_, p)| !String::from_utf8_lossy(p).contains("c2VjcmV0")));
    assert_eq!((imported.report.skipped, imported.report.future_times), (1, 1));
    assert_eq!(imported.report.faults[0].field.as_deref(), Some("stageTimestamp"));
}

#[tokio::test]
async fn what_is_not_known_is_refused_with_the_remedy() {
    let unknown = try_import(std::io::Cursor::new(b"a,b\n1,2\n".to_vec()), options()).await;
    let text = unknown.err().unwrap().to_string();
    assert!(text.contains("--format"), "{text}");
    let empty = try_import(std::io::empty(), options()).await;
    assert!(matches!(empty.err().unwrap(), ImportError::Empty));
    let bad = try_import(std::io::Cursor::new(vec![0x28, 0xb5, 0x2f, 0xfd, 9, 9]), options()).await;
    assert!(matches!(bad.err().unwrap(), ImportError::Read(_)));
    let format = Some(Format::Audit);
    let wrong = std::io::Cursor::new(b"nonsense\n".to_vec());
    let forced = try_import(wrong, ImportOptions { format, ..options() }).await.unwrap();
    assert_eq!((forced.report.documents, forced.report.skipped), (0, 1));
    assert_eq!("etcd".parse::<Format>(), Ok(Format::Etcd));
    assert!("x".parse::<Format>().unwrap_err().contains("watch, recording"));
}

fn recordings() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    let dir = std::env::var_os("STELE_RECORDINGS").map_or(beside, PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    let why = format!("no recordings in {}; set STELE_RECORDINGS", dir.display());
    xtask::not_run::report(&format!("SKIPPED: {why}"));
    None
}

fn unpacked(path: &Path) -> Vec<u8> {
    zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()
}

async fn import_file(path: &Path) -> Imported {
    let imported = try_import(std::fs::File::open(path).unwrap(), options()).await.unwrap();
    assert_eq!(imported.report.skipped, 0, "{}: {:?}", path.display(), imported.report.faults);
    imported
}

/// Every frame of a recording comes back byte for byte; Secrets differ in their values alone.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_watches_come_back_byte_for_byte() {
    let Some(dir) = recordings() else { return };
    for name in ["control-plane", "real-node"] {
        let path = dir.join(name).join("watch.jsonl.zst");
        let imported = import_file(&path).await;
        assert_eq!(imported.report.format, Format::Recording);
        let text = unpacked(&path);
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let lines: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
        let wanted: Vec<&Value> = lines.iter().filter(|line| line["what"] != "watch-end").collect();
        let frames = imported.frames();
        assert_eq!(frames.len(), wanted.len());
        let mut secrets = 0;
        for ((header, context, raw), line) in frames.iter().zip(wanted) {
            assert_eq!(header.event_time.unwrap().unix_ns(), line["t"].as_i64().unwrap());
            let res = format!("{}/{}", context.api_version(), context.resource);
            assert_eq!(res, line["res"].as_str().unwrap());
            assert!(!context.kind.is_empty() && !context.kind.ends_with("List"), "{context:?}");
            assert_eq!(context.list.is_some(), line["what"] == "list");
            assert!(context.list.is_none_or(|list| list.last && list.page == 0));
            let frame: Value = serde_json::from_slice(raw).unwrap();
            if context.resource == "secrets" {
                secrets += usize::from(frame["object"]["data"].is_object());
                assert_ne!(frame["object"]["data"].is_object(), frame == line["frame"]);
                let meta = &frame["object"]["metadata"];
                assert_eq!(meta["uid"], line["frame"]["object"]["metadata"]["uid"]);
            } else {
                assert_eq!(frame, line["frame"]);
            }
        }
        let types: BTreeSet<_> = frames.iter().map(|(_, c, _)| (&c.group, &c.resource)).collect();
        assert_eq!(imported.gaps(GapReason::RecordingEnded).len(), types.len());
        assert_eq!(imported.gaps(GapReason::Unreadable), []);
        let resources = imported.of(&[Kind::KUBE_RESOURCES]);
        let listed = ResourceList::decode(&resources[0].1).unwrap().resources;
        assert_eq!(listed.len(), types.len());
        eprintln!(
            "{name}: {} frames, {secrets} with redacted values, guesses {:?}",
            frames.len(),
            imported.report.guesses
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_logs_are_taken_whole() {
    let Some(dir) = recordings() else { return };
    for (folder, file, kind) in [
        ("pod-churn", "watch", Kind::KUBE_WATCH),
        ("etcd-audit", "audit", Kind::KUBE_AUDIT),
        ("etcd-audit", "etcd-watch", Kind::ETCD_WATCH),
        ("real-node", "audit", Kind::KUBE_AUDIT),
        ("real-node", "etcd-watch", Kind::ETCD_WATCH),
        ("control-plane", "etcd-watch", Kind::ETCD_WATCH),
    ] {
        let path = dir.join(folder).join(format!("{file}.jsonl.zst"));
        let imported = import_file(&path).await;
        let lines = unpacked(&path).split(|&byte| byte == b'\n').filter(|l| !l.is_empty()).count();
        assert_eq!(imported.of(&[kind]).len(), lines, "{}", path.display());
        let timed = imported.of(&[kind]).iter().all(|(header, _)| header.event_time.is_some());
        assert_eq!(timed, kind != Kind::ETCD_WATCH);
    }
}
