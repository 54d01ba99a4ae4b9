//! Many subscriptions at once: how long it takes from the append of a change until it has arrived.
//!
//! One process serves, appends and subscribes over loopback, so that the processors are shared by all
//! three. Each subscriber follows a namespace of its own and checks that nothing is left out, doubled
//! or out of order.
//!
//! `cargo xtask bench subscribers [-- --subscribers N --rate N --seconds N --dir DIR]`

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use stele_ledger::{Ledger, LedgerOptions, LogKey};
use stele_record::frame::FrameContext;
use stele_record::{
    Boot, Commitment, Epoch, EpochSecret, Header, Kind, ObservedTime, PayloadType, Seq, SourceKey,
    Submission, SubmittedRecord,
};
use stele_server::{Server, ServerOptions, ServerParts, Token, Tokens};
use stele_state::{State, Time};
use stele_store::{Clock, DiskStore, SystemClock};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

type Fault = Box<dyn Error + Send + Sync>;

/// Changes are appended so often.
const TICK: Duration = Duration::from_millis(10);
/// How long the last change may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

struct Options {
    subscribers: u64,
    rate: u64,
    seconds: u64,
    dir: PathBuf,
}

impl Options {
    fn parse() -> Result<Self, Fault> {
        let mut options =
            Self { subscribers: 1_000, rate: 5_000, seconds: 20, dir: std::env::temp_dir() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--subscribers" => options.subscribers = value()?.parse()?,
                "--rate" => options.rate = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--dir" => options.dir = value()?.into(),
                // Cargo adds it to every benchmark.
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(options)
    }
}

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Fault> {
    let options = Options::parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Fault> {
    let dir = tempfile::tempdir_in(&options.dir)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = Arc::new(DiskStore::open(dir.path().join("log"))?);
    let key = LogKey::generate("bench.example/subscribers")?;
    let ledger = Ledger::create(store, &key, clock.clone(), LedgerOptions::default())?;
    let token = Token::generate();
    let parts = ServerParts {
        ledger: ledger.clone(),
        state: State::open(&dir.path().join("state"))?,
        clock: clock.clone(),
        cosigning: None,
        tokens: Tokens::admin(&token),
        append_key: None,
        registry: Registry::default(),
        tls: None,
        options: ServerOptions::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(Server::new(parts).serve(listener, stopped));

    let mut source = Source::new()?;
    // The type and its namespaces are known before anybody asks for them.
    ledger.append(source.submission(options.subscribers, options.subscribers, &*clock)).await?;
    let first = source.next_rv;
    let each = options.rate * options.seconds / options.subscribers;
    let (arrivals, mut arrived) = mpsc::unbounded_channel();
    let mut readers = Vec::new();
    for number in 0..options.subscribers {
        let stream = subscribe(address, number, token.reveal()).await?;
        let (arrivals, clock) = (arrivals.clone(), Arc::clone(&clock));
        let step = options.subscribers;
        readers.push(tokio::spawn(async move {
            follow(stream, first + number, step, each, &*clock, &arrivals).await
        }));
    }
    drop(arrivals);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let at_once = options.rate * TICK.as_millis() as u64 / 1_000;
    let total = each * options.subscribers;
    let started = clock.monotonic();
    while source.next_rv < first + total {
        tick.tick().await;
        let count = at_once.min(first + total - source.next_rv);
        let submission = source.submission(count, options.subscribers, &*clock);
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.append(submission).await.map(drop) });
    }
    let appending = clock.monotonic() - started;
    let mut waits = Vec::new();
    while let Some(wait) = arrived.recv().await {
        waits.push(wait);
    }
    let mut lost = 0;
    for reader in readers {
        lost += reader.await??;
    }
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize] as f64 / 1e6;
    println!(
        "{} subscribers, {:.0} changes/s for {:.0} s: {} arrived in order, {lost} lost; append to \
         arrival p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        options.subscribers,
        total as f64 / appending.as_secs_f64(),
        appending.as_secs_f64(),
        waits.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    stop.send_replace(true);
    server.await??;
    Ok(())
}

/// A source of changes to one object in each namespace, one after the other.
struct Source {
    id: stele_record::SourceId,
    secret: EpochSecret,
    context: FrameContext,
    seq: u64,
    next_rv: u64,
}

impl Source {
    fn new() -> Result<Self, Fault> {
        Ok(Self {
            id: SourceKey::from_seed([7; 32])?.source_id(),
            secret: EpochSecret::from_bytes([7; 32]),
            context: FrameContext {
                cluster: "bench".to_owned(),
                server: String::new(),
                group: String::new(),
                version: "v1".to_owned(),
                resource: "configmaps".to_owned(),
                kind: "ConfigMap".to_owned(),
                namespaced: true,
                redacted: false,
                list: None,
            },
            seq: 0,
            next_rv: 1,
        })
    }

    fn submission(&mut self, count: u64, namespaces: u64, clock: &dyn Clock) -> Submission {
        let salts = self.secret.salts();
        let records = (0..count).map(|_| {
            let (rv, number) = (self.next_rv, (self.next_rv - 1) % namespaces);
            let verb = if rv <= namespaces { "ADDED" } else { "MODIFIED" };
            let raw = format!(
                r#"{{"type":"{verb}","object":{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"a","namespace":"ns-{number}","uid":"uid-{number}","resourceVersion":"{rv}"}},"data":{{"n":"{rv:0>400}"}}}}}}"#
            );
            let payload = self.context.join(raw.as_bytes());
            let header = Header {
                source: self.id,
                boot: Boot(1),
                seq: Seq(self.seq),
                epoch: Epoch(0),
                kind: Kind::KUBE_WATCH,
                event_time: None,
                observed_time: ObservedTime::from_unix_ns(clock.now().0),
                origin_counter: None,
                payload_len: payload.len() as u64,
                payload_type: PayloadType::FRAME,
                commitment: Commitment::new(&salts.salt(Boot(1), Seq(self.seq)), &payload),
            };
            self.seq += 1;
            self.next_rv += 1;
            SubmittedRecord { header: header.encode().into(), payload: payload.into() }
        });
        let records = records.collect();
        Submission { epoch: Epoch(0), secret: self.secret.clone(), records }
    }
}

async fn subscribe(
    address: std::net::SocketAddr,
    number: u64,
    token: &str,
) -> Result<BufReader<TcpStream>, Fault> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /v1/watch?type=configmaps&namespace=ns-{number} HTTP/1.1\r\nhost: bench\r\n\
         authorization: Bearer {token}\r\naccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(format!("subscriber {number} was refused: {line}").into());
    }
    Ok(stream)
}

/// Reads until all changes came; gives how many did not.
async fn follow(
    mut stream: BufReader<TcpStream>,
    first: u64,
    step: u64,
    count: u64,
    clock: &dyn Clock,
    arrivals: &mpsc::UnboundedSender<i64>,
) -> Result<u64, Fault> {
    let (mut line, mut next, mut left) = (String::new(), first, count);
    while left > 0 {
        line.clear();
        match timeout(PATIENCE, stream.read_line(&mut line)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => return Ok(left),
        }
        let Some(data) = line.strip_prefix("data: ").filter(|data| data.contains("\"seen\""))
        else {
            continue;
        };
        let now = clock.now().0;
        let field = |name: &str| {
            let rest = data.split_once(name)?.1;
            Some(rest.split_once('"')?.0)
        };
        let rv: u64 = field("\"resourceVersion\":\"").ok_or("no resource version")?.parse()?;
        if rv != next {
            return Err(format!("expected version {next}, got {rv}").into());
        }
        let seen = Time::parse(field("\"seen\":\"").ok_or("no time")?)?;
        // The first change of all was appended before anybody subscribed.
        let _ = arrivals.send(now - seen.0);
        next += step;
        left -= 1;
    }
    Ok(0)
}
