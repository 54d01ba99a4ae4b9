//! `stele ip`: which pods, nodes or services had an address.
//!
//! The answer is a set of intervals, because an address is not one pod's: it is reused, shared
//! with the host, and sometimes given twice.

use std::net::IpAddr;

use clap::Args;
use stele_server::api::{Holder, Instant, IpAnswer, LeaseEnd, LeaseItem, Verdict};

use crate::app::{App, ConnectArgs};
use crate::args::{ClusterArgs, StretchArgs};
use crate::client::Query;
use crate::error::{CliError, Exit, Outcome};
use crate::output::{self, Plain};
use crate::point;
use crate::resolved::Resolved;
use crate::table::Table;
use crate::when::{grouped, rfc3339};

/// Arguments of `stele ip`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele ip 10.42.0.17 --at 2026-11-23T03:12:09Z
  stele ip 10.42.0.17 --since 2h

The verdict is `certain` (one holder), `ambiguous` (several are possible, the truth is among them),
`unknown` (the recorder was blind), `none` (nobody held it), `node` or `service`. FROM and TO are the
widest bounds that the records allow.")]
pub(crate) struct IpArgs {
    /// The address, IPv4 or IPv6
    #[arg(value_name = "ADDRESS")]
    address: IpAddr,
    /// Point in time (see `stele help time`); default is now
    #[arg(long, value_name = "TIME", conflicts_with_all = ["since", "until"])]
    at: Option<String>,
    #[command(flatten)]
    stretch: StretchArgs,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Plain,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(app: &App, args: &IpArgs) -> Outcome {
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
    let answer: IpAnswer = client.json(&format!("v1/ip/{}", args.address), &query).await?;
    let resolved =
        Resolved { ledger: &answer.ledger, time: Some(&answer.time), gaps: &answer.gaps };
    resolved.note(app);
    match args.output {
        Plain::Table => table(app, &answer)?,
        Plain::Json => output::json(&app.ui, &answer)?,
        Plain::Jsonl => {
            answer.items.iter().try_for_each(|item| output::json_line(&app.ui, item))?;
        }
        Plain::Yaml => output::yaml(&app.ui, &answer)?,
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
    if answer.unaddressed_count > 0 {
        app.ui.warn(&format!(
            "pods that ran then and of which no address is known: {}; each may have had this one",
            grouped(answer.unaddressed_count)
        ));
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
