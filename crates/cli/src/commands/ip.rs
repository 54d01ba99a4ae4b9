//! `stele ip`: which pods, nodes or services had an address.
//!
//! The answer is a set of intervals, because an address is not one pod's: it is reused, shared
//! with the host, and sometimes given twice.
//!
//! With `--from` a whole log of flows is asked about (`batch`).

mod batch;
mod flows;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use stele_server::api::{
    Holder, Instant, IpAnswer, LeaseEnd, LeaseItem, Place, PlaceKind, Verdict,
};
use stele_state::query::Port;

use crate::app::{App, ConnectArgs};
use crate::args::{ClusterArgs, StretchArgs};
use crate::client::Query;
use crate::error::{CliError, Exit, Outcome};
use crate::output;
use crate::point;
use crate::resolved::Resolved;
use crate::table::Table;
use crate::when::{grouped, rfc3339};

/// Arguments of `stele ip`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele ip 10.42.0.17 --at 2026-11-23T03:12:09Z
  stele ip 10.42.0.17 --since 2h
  stele ip 10.96.0.10 --port 443/tcp --at 2026-11-23T03:12:09Z
  stele ip --from flows.csv > flows-with-pods.csv

The verdict is `certain` (one holder), `ambiguous` (several are possible, the truth is among them),
`unknown` (the recorder was blind), `none` (nobody held it), `node` or `service`. FROM and TO are the
widest bounds that the records allow.

--from reads a log of flows, and writes each of its lines with the holders of its addresses:
JSON lines with `ip`, or `src` and `dst`, and `at`, or `since` and `until` (also `port`, `srcPort`,
`dstPort`, `protocol`, and any `id`); or a table with a line of column names, separated by commas,
semicolons, tabs or spaces. Names that others use are understood (srcaddr, dport, start, end, time).
Times are as in `stele help time`, or Unix times.")]
pub(crate) struct IpArgs {
    /// The address, IPv4 or IPv6
    #[arg(value_name = "ADDRESS", required_unless_present = "from")]
    address: Option<IpAddr>,
    /// Ask about all lines of a log of flows: a file, or `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["address", "at", "since", "until", "port"])]
    from: Option<PathBuf>,
    /// Point in time (see `stele help time`); default is now
    #[arg(long, value_name = "TIME", conflicts_with_all = ["since", "until"])]
    at: Option<String>,
    /// Port that the traffic was for: tells apart what shares a node's address, and leads through a
    /// service to its endpoints
    #[arg(long, value_name = "PORT[/PROTOCOL]", value_parser = port)]
    port: Option<String>,
    /// How far the clock of whoever saw the traffic may be off, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    tolerance: u64,
    #[command(flatten)]
    stretch: StretchArgs,
    /// With --from, as JSON lines: which services pods stood in and where services led, too; slower
    #[arg(long, requires = "from")]
    services: bool,
    /// Output format; default is a table, and with --from that of the input
    #[arg(long, short, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What an answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// One YAML document.
    Yaml,
    /// With --from: the input's columns and those of the holders, separated by commas.
    Csv,
}

/// A port in the form in which it is sent.
fn port(text: &str) -> Result<String, String> {
    Port::parse(text).map(|_| text.to_owned())
}

pub(crate) async fn run(app: &App, args: &IpArgs) -> Outcome {
    if let Some(file) = &args.from {
        return batch::run(app, args, file).await;
    }
    let Some(address) = args.address else { return Err(CliError::usage("an address is needed")) };
    if args.output == Some(Format::Csv) {
        return Err(CliError::usage("csv is an output of --from"));
    }
    if args.stretch.until.is_some() && args.stretch.since.is_none() {
        return Err(CliError::usage("--until needs --since"));
    }
    let mut query = Query::new();
    for (name, text) in
        [("at", &args.at), ("since", &args.stretch.since), ("until", &args.stretch.until)]
    {
        query.extend(point::optional(app, text.as_ref())?.map(|time| (name, time)));
    }
    let (client, context) = app.client(&args.connect)?;
    let cluster = args.cluster.cluster.clone().or(context.cluster);
    query.extend(cluster.map(|cluster| ("cluster", cluster)));
    query.extend(args.port.clone().map(|port| ("port", port)));
    if args.tolerance > 0 {
        query.push(("tolerance_ms", args.tolerance.to_string()));
    }
    let answer: IpAnswer = client.json(&format!("v1/ip/{address}"), &query).await?;
    let resolved =
        Resolved { ledger: &answer.ledger, time: Some(&answer.time), gaps: &answer.gaps };
    resolved.note(app);
    match args.output {
        None | Some(Format::Table | Format::Csv) => table(app, &answer)?,
        Some(Format::Json) => output::json(&app.ui, &answer)?,
        Some(Format::Jsonl) => {
            answer.items.iter().try_for_each(|item| output::json_line(&app.ui, item))?;
        }
        Some(Format::Yaml) => output::yaml(&app.ui, &answer)?,
    }
    let exit = resolved.warn(app);
    Ok(match (exit, answer.verdict) {
        (Exit::Gap, _) | (_, Verdict::Unknown) => Exit::Gap,
        (exit, _) if answer.items.is_empty() => {
            if exit == Exit::Done {
                Exit::NotFound
            } else {
                exit
            }
        }
        (exit, _) => exit,
    })
}

fn table(app: &App, answer: &IpAnswer) -> Result<(), CliError> {
    let verdict = match answer.verdict {
        Verdict::Certain => app.ui.paint("32", "certain"),
        Verdict::Ambiguous => app.ui.paint("33", "ambiguous"),
        Verdict::Unknown => app.ui.paint("33", "unknown"),
        Verdict::None => String::from("none"),
        Verdict::Node => String::from("node"),
        Verdict::Service => String::from("service"),
        _ => String::from("other"),
    };
    let reason =
        if answer.reason.is_empty() { String::new() } else { format!(": {}", answer.reason) };
    app.ui.line(&format!("{} {verdict}{reason}", answer.address))?;
    if let Some(place) = &answer.place {
        app.ui.line(&place_of(place))?;
    }
    if answer.items.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        "HOLDER",
        "NAMESPACE",
        "NAME",
        "OWNER",
        "NODE",
        "PHASE",
        "FROM",
        "TO",
        "END",
        "SHARE",
        "UID",
    ]);
    // For an instant the likeliest comes first; over a stretch people read along the time.
    let mut items: Vec<_> = answer.items.iter().collect();
    if answer.time.since.is_some() {
        items.sort_by_key(|item| item.from);
    }
    for item in items {
        table.row(row(item));
    }
    table.lines().try_for_each(|line| app.ui.line(&line))?;
    leads(app, answer)?;
    if answer.unaddressed_count > 0 {
        app.ui.warn(&format!(
            "pods that ran then and of which no address is known: {}; each may have had this one",
            grouped(answer.unaddressed_count)
        ));
    }
    Ok(())
}

/// Where an address belongs that nobody had.
fn place_of(place: &Place) -> String {
    let range = place.range.as_deref().unwrap_or_default();
    let of = place.of.as_ref().map(|of| format!(" of {} {}", of.kind.to_lowercase(), of.name));
    let of = of.unwrap_or_default();
    match place.kind {
        PlaceKind::PodRange => format!(
            "in the pod range {range}{of}; besides pods, the network plug-in has addresses there"
        ),
        PlaceKind::ServiceRange => format!("in the service range {range}{of}"),
        PlaceKind::External => String::from("external: in no range that the cluster declares"),
        PlaceKind::Local => String::from("local: it means something on one host or link alone"),
        _ => format!("in the range {range}{of}"),
    }
}

/// The services that pods stood in, and where services led.
fn leads(app: &App, answer: &IpAnswer) -> Result<(), CliError> {
    let state = |ready: bool, serving: bool, terminating: bool| match (ready, serving, terminating)
    {
        (_, _, true) => "terminating",
        (true, ..) => "ready",
        (_, true, _) => "serving",
        _ => "not ready",
    };
    for item in &answer.items {
        for service in item.services.iter().flatten() {
            let how = state(service.ready, service.serving, service.terminating);
            app.ui.line(&format!(
                "{}/{} was an endpoint of service {}/{} ({how})",
                item.of.namespace, item.of.name, service.namespace, service.service
            ))?;
        }
        let Some(backends) = &item.backends else { continue };
        for backend in &backends.items {
            let how = state(backend.ready, backend.serving, backend.terminating);
            let addresses = backend.addresses.join(",");
            let ports: Vec<String> = backend
                .ports
                .iter()
                .map(|port| {
                    let number =
                        port.port.map_or_else(|| String::from("*"), |port| port.to_string());
                    format!("{number}/{}", port.protocol.to_lowercase())
                })
                .collect();
            app.ui.line(&format!(
                "service {}/{} led to {addresses} {} {}/{} ({how})",
                item.of.namespace,
                item.of.name,
                ports.join(","),
                backend.namespace,
                backend.name
            ))?;
        }
        let shown = backends.items.len() as u64;
        if backends.count > shown {
            app.ui.line(&format!("and to {} more endpoints", grouped(backends.count - shown)))?;
        }
    }
    Ok(())
}

fn row(item: &LeaseItem) -> [String; 11] {
    let owner = item.owners.last();
    let owner = owner.map(|owner| format!("{}/{}", owner.kind.to_lowercase(), owner.name));
    let to = item.to.map(|Instant(ns)| rfc3339(ns));
    [
        holder(item.holder).to_owned(),
        item.of.namespace.clone(),
        item.of.name.clone(),
        owner.unwrap_or_default(),
        item.node.clone().unwrap_or_default(),
        item.phase.clone().unwrap_or_default(),
        rfc3339(item.from.0),
        to.unwrap_or_else(|| String::from("now")),
        end(item.end).to_owned(),
        format!("{:.1}%", item.share * 100.0),
        item.of.uid.clone(),
    ]
}

const fn holder(holder: Holder) -> &'static str {
    match holder {
        Holder::Pod => "pod",
        Holder::HostNetworkPod => "host-network-pod",
        Holder::HostPortPod => "host-port-pod",
        Holder::Node => "node",
        Holder::Service => "service",
        _ => "other",
    }
}

const fn end(end: LeaseEnd) -> &'static str {
    match end {
        LeaseEnd::Open => "open",
        LeaseEnd::Terminal => "terminal",
        LeaseEnd::Deleted => "deleted",
        LeaseEnd::Superseded => "superseded",
        LeaseEnd::Vanished => "vanished",
        LeaseEnd::Changed => "changed",
        _ => "unknown",
    }
}
