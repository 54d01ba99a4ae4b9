//! PostgreSQL, as its documentation has it for what can be made again: rows that are only added
//! are copied in, those that change are joined with arrays, a batch is a transaction, and commits
//! do not wait for the disk.

use std::collections::HashMap;

use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::{ToSql, Type};
use postgres::{Client, Row, Statement, Transaction};
use stele_state::FoldRecord;

use crate::Fault;
use crate::cluster::Cluster;
use crate::fold::{Delta, Folder, Rows};
use crate::peers::{Answer, Asked, Found, Holder, Of, Subject, TableSize, sorted};
use crate::rows::{Current, Lease, Name, OPEN, Version};

/// The columns of `current` that change are in no index, so that a page with room takes the new
/// version of a row without the indexes' knowing.
const SCHEMA: &str = "
CREATE TABLE kind (id int PRIMARY KEY, cluster text NOT NULL, api_group text NOT NULL,
    version text NOT NULL, resource text NOT NULL, kind text NOT NULL);
CREATE TABLE object (id bigint PRIMARY KEY, kind int NOT NULL, namespace text NOT NULL,
    name text NOT NULL, uid text NOT NULL);
CREATE TABLE change (id bigint PRIMARY KEY, object bigint NOT NULL, rv bigint NOT NULL,
    record bigint NOT NULL, since bigint NOT NULL, verb smallint NOT NULL, body text);
CREATE TABLE current (change bigint NOT NULL, object bigint NOT NULL, rv bigint NOT NULL,
    record bigint NOT NULL, since bigint NOT NULL, kind int NOT NULL, verb smallint NOT NULL,
    namespace text NOT NULL, name text NOT NULL, uid text NOT NULL, pod text,
    PRIMARY KEY (kind, namespace, name)) WITH (fillfactor = 50);
CREATE INDEX ON current (namespace);
CREATE TABLE past (since bigint NOT NULL, until bigint NOT NULL, change bigint NOT NULL,
    object bigint NOT NULL, rv bigint NOT NULL, record bigint NOT NULL, kind int NOT NULL,
    class smallint NOT NULL, verb smallint NOT NULL, namespace text NOT NULL);
CREATE INDEX ON past (kind, class, since, until);
CREATE INDEX ON past (namespace, class, since, until);
CREATE TABLE lease (since bigint NOT NULL, until bigint NOT NULL, object bigint NOT NULL,
    removed bigint, address text NOT NULL, PRIMARY KEY (address, since, object));
";

const READ_CURRENT: &str = "SELECT change, object, verb, rv, record, since, uid, pod,
        kind, namespace, name
    FROM current JOIN unnest($1::int[], $2::text[], $3::text[]) AS wanted (kind, namespace, name)
        USING (kind, namespace, name)";
const READ_LEASES: &str =
    "SELECT address, object, since, removed FROM lease WHERE address = ANY ($1) AND until = $2";
const DROP_CURRENT: &str = "DELETE FROM current
    USING unnest($1::int[], $2::text[], $3::text[]) AS gone (kind, namespace, name)
    WHERE (current.kind, current.namespace, current.name) = (gone.kind, gone.namespace, gone.name)";
const WRITE_CURRENT: &str = "
    INSERT INTO current (kind, namespace, name, uid, pod, change, object, verb, rv, record, since)
    SELECT * FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
        $7::bigint[], $8::smallint[], $9::bigint[], $10::bigint[], $11::bigint[])
    ON CONFLICT (kind, namespace, name) DO UPDATE SET uid = excluded.uid, pod = excluded.pod,
        change = excluded.change, object = excluded.object, verb = excluded.verb,
        rv = excluded.rv, record = excluded.record, since = excluded.since";
const WRITE_LEASES: &str = "INSERT INTO lease (address, since, object, until, removed)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
    ON CONFLICT (address, since, object)
        DO UPDATE SET until = excluded.until, removed = excluded.removed";
const HOLDERS: &str = "SELECT object.namespace, object.name, object.uid, lease.since, lease.until
    FROM lease JOIN object ON object.id = lease.object
    WHERE lease.address = $1 AND lease.since <= $2 AND lease.until > $2";

const COPY_OBJECT: &str = "COPY object FROM STDIN BINARY";
const COPY_CHANGE: &str = "COPY change FROM STDIN BINARY";
const COPY_PAST: &str = "COPY past FROM STDIN BINARY";

/// See the module.
pub(crate) struct Postgres {
    engine: Engine,
    folder: Folder,
    lists: HashMap<(&'static str, bool), Statement>,
    holders: Statement,
    version: String,
    // Last: the connection ends before the server.
    cluster: Cluster,
}

struct Engine {
    client: Client,
    read_current: Statement,
    read_leases: Statement,
    drop_current: Statement,
    write_current: Statement,
    write_leases: Statement,
}

impl Postgres {
    pub(crate) fn start(dir: tempfile::TempDir) -> Result<Self, Fault> {
        let mut cluster = Cluster::start(dir)?;
        let mut client = cluster.connect()?;
        client.batch_execute(SCHEMA)?;
        let version: String = client.query_one("SHOW server_version", &[])?.get(0);
        let version = version.split(' ').next().unwrap_or_default().to_owned();
        let holders = client.prepare(HOLDERS)?;
        let engine = Engine {
            read_current: client.prepare(READ_CURRENT)?,
            read_leases: client.prepare(READ_LEASES)?,
            drop_current: client.prepare(DROP_CURRENT)?,
            write_current: client.prepare(WRITE_CURRENT)?,
            write_leases: client.prepare(WRITE_LEASES)?,
            client,
        };
        let (folder, lists) = (Folder::default(), HashMap::new());
        Ok(Self { engine, folder, lists, holders, version, cluster })
    }
}

impl Rows for Engine {
    fn current(&mut self, names: &[&Name]) -> Result<HashMap<Name, Option<Current>>, Fault> {
        let (kinds, namespaces, in_them) = columns(names);
        let rows = self.client.query(&self.read_current, &[&kinds, &namespaces, &in_them])?;
        let current = rows.iter().map(|row| {
            let name = Name { kind: row.get(8), namespace: row.get(9), name: row.get(10) };
            let current = Current { version: version(row), uid: row.get(6), pod: row.get(7) };
            (name, Some(current))
        });
        Ok(current.collect())
    }

    fn open_leases(&mut self, addresses: &[String]) -> Result<Vec<Lease>, Fault> {
        let rows = self.client.query(&self.read_leases, &[&addresses, &OPEN])?;
        let leases = rows.iter().map(|row| Lease {
            address: row.get(0),
            object: row.get(1),
            since: row.get(2),
            until: OPEN,
            removed: row.get(3),
        });
        Ok(leases.collect())
    }

    fn write(&mut self, delta: &Delta<'_>) -> Result<(), Fault> {
        let mut txn = self.client.transaction()?;
        for (id, kind) in &delta.kinds {
            txn.execute(
                "INSERT INTO kind VALUES ($1, $2, $3, $4, $5, $6)",
                &[id, &kind.cluster, &kind.group, &kind.version, &kind.resource, &kind.kind],
            )?;
        }
        copy_log(&mut txn, delta)?;
        let (dropped, kept): (Vec<_>, Vec<_>) =
            delta.current.iter().partition(|(_, current)| current.is_none());
        let dropped: Vec<&Name> = dropped.into_iter().map(|(name, _)| name).collect();
        if !dropped.is_empty() {
            let (kinds, namespaces, names) = columns(&dropped);
            txn.execute(&self.drop_current, &[&kinds, &namespaces, &names])?;
        }
        let kept: Vec<(&Name, &Current)> = kept
            .into_iter()
            .filter_map(|(name, current)| Some((name, current.as_ref()?)))
            .collect();
        if !kept.is_empty() {
            write_current(&mut txn, &self.write_current, &kept)?;
        }
        if !delta.leases.is_empty() {
            let leases = &delta.leases;
            let of: Vec<&str> = leases.iter().map(|lease| lease.address.as_str()).collect();
            let since: Vec<i64> = leases.iter().map(|lease| lease.since).collect();
            let object: Vec<i64> = leases.iter().map(|lease| lease.object).collect();
            let until: Vec<i64> = leases.iter().map(|lease| lease.until).collect();
            let removed: Vec<Option<i64>> = leases.iter().map(|lease| lease.removed).collect();
            txn.execute(&self.write_leases, &[&of, &since, &object, &until, &removed])?;
        }
        Ok(txn.commit()?)
    }
}

fn columns<'n>(names: &[&'n Name]) -> (Vec<i32>, Vec<&'n str>, Vec<&'n str>) {
    let kinds = names.iter().map(|name| name.kind).collect();
    let namespaces = names.iter().map(|name| name.namespace.as_str()).collect();
    (kinds, namespaces, names.iter().map(|name| name.name.as_str()).collect())
}

fn version(row: &Row) -> Version {
    Version {
        change: row.get(0),
        object: row.get(1),
        verb: row.get(2),
        rv: row.get(3),
        record: row.get(4),
        since: row.get(5),
    }
}

/// What is added and never changed.
fn copy_log(txn: &mut Transaction<'_>, delta: &Delta<'_>) -> Result<(), Fault> {
    let (big, int, small, text) = (Type::INT8, Type::INT4, Type::INT2, Type::TEXT);
    let types = [big.clone(), int.clone(), text.clone(), text.clone(), text.clone()];
    let mut rows = BinaryCopyInWriter::new(txn.copy_in(COPY_OBJECT)?, &types);
    for object in &delta.objects {
        let name = &object.name;
        rows.write(&[&object.id, &name.kind, &name.namespace, &name.name, &object.uid])?;
    }
    rows.finish()?;
    let types = [&big, &big, &big, &big, &big, &small, &text].map(Clone::clone);
    let mut rows = BinaryCopyInWriter::new(txn.copy_in(COPY_CHANGE)?, &types);
    for change in &delta.changes {
        let v = &change.version;
        rows.write(&[&v.change, &v.object, &v.rv, &v.record, &v.since, &v.verb, &change.body])?;
    }
    rows.finish()?;
    let types = [&big, &big, &big, &big, &big, &big, &int, &small, &small, &text].map(Clone::clone);
    let mut rows = BinaryCopyInWriter::new(txn.copy_in(COPY_PAST)?, &types);
    for past in &delta.past {
        let v = &past.version;
        let values: [&(dyn ToSql + Sync); 10] = [
            &v.since,
            &past.until,
            &v.change,
            &v.object,
            &v.rv,
            &v.record,
            &past.kind,
            &past.class,
            &v.verb,
            &past.namespace,
        ];
        rows.write(&values)?;
    }
    rows.finish()?;
    Ok(())
}

fn write_current(
    txn: &mut Transaction<'_>,
    statement: &Statement,
    kept: &[(&Name, &Current)],
) -> Result<(), Fault> {
    let names: Vec<&Name> = kept.iter().map(|(name, _)| *name).collect();
    let (kinds, namespaces, names) = columns(&names);
    let uids: Vec<&str> = kept.iter().map(|(_, current)| current.uid.as_str()).collect();
    let pods: Vec<Option<&str>> = kept.iter().map(|(_, current)| current.pod.as_deref()).collect();
    let versions = || kept.iter().map(|(_, current)| &current.version);
    let verbs: Vec<i16> = versions().map(|v| v.verb).collect();
    let numbers = |number: fn(&Version) -> i64| versions().map(number).collect::<Vec<i64>>();
    let change = numbers(|v| v.change);
    let object = numbers(|v| v.object);
    let rv = numbers(|v| v.rv);
    let record = numbers(|v| v.record);
    let since = numbers(|v| v.since);
    let values: [&(dyn ToSql + Sync); 11] =
        [&kinds, &namespaces, &names, &uids, &pods, &change, &object, &verbs, &rv, &record, &since];
    txn.execute(statement, &values)?;
    Ok(())
}

/// The question for objects at a time: what stands still, and what stood then. `OFFSET 0` keeps
/// the planner from reading a whole table for what an index gives class by class.
fn list_sql(by: &str, bare: bool) -> String {
    let of = match by {
        "kind" => "(SELECT id FROM kind WHERE api_group = '' AND resource = $1)",
        _ => "$1",
    };
    let body = match bare {
        true => "NULL::text",
        false => "(SELECT body FROM change WHERE change.id = stood.change)",
    };
    format!(
        "SELECT kind, namespace, name, uid, verb, rv, record, since, {body} FROM (
             SELECT kind, namespace, name, uid, verb, rv, record, since, change FROM current
                 WHERE {by} = {of} AND since <= $2
             UNION ALL
             SELECT object.kind, object.namespace, object.name, object.uid, version.verb,
                    version.rv, version.record, version.since, version.change
                 FROM generate_series(0, 62) AS length (bits)
                 CROSS JOIN LATERAL (SELECT * FROM past
                     WHERE {by} = {of} AND class = length.bits::smallint AND since <= $2
                         AND since > $2 - (1::bigint << length.bits) AND until > $2 OFFSET 0) AS version
                 CROSS JOIN LATERAL
                     (SELECT * FROM object WHERE id = version.object OFFSET 0) AS object
         ) AS stood"
    )
}

impl Subject for Postgres {
    fn name(&self) -> String {
        format!("PostgreSQL {}", self.version)
    }

    fn fold(&mut self, batch: &[FoldRecord<'_>]) -> Result<u64, Fault> {
        self.folder.fold(&mut self.engine, batch)
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(self.engine.client.batch_execute("CHECKPOINT")?)
    }

    fn settle(&mut self) -> Result<(), Fault> {
        // Of several statements together it would be a transaction, in which it can't run.
        self.engine.client.batch_execute("VACUUM ANALYZE")?;
        self.sync()
    }

    fn stored_bytes(&mut self) -> Result<u64, Fault> {
        let sql = "SELECT pg_database_size(current_database())";
        Ok(u64::try_from(self.engine.client.query_one(sql, &[])?.get::<_, i64>(0))?)
    }

    fn tables(&mut self) -> Result<Vec<TableSize>, Fault> {
        let sql = "SELECT relname::text, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC";
        let rows = self.engine.client.query(sql, &[])?;
        let sizes = rows.iter().map(|row| {
            let (name, table, indexes): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
            let bytes = u64::try_from(table + indexes)?;
            Ok(TableSize { name, bytes, note: format!("{indexes} B of it in indexes") })
        });
        let mut sizes = sizes.collect::<Result<Vec<_>, Fault>>()?;
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
        let bytes = u64::try_from(self.engine.client.query_one(sql, &[])?.get::<_, i64>(0))?;
        let note = "written meanwhile, not kept".to_owned();
        sizes.push(TableSize { name: "write-ahead log".to_owned(), bytes, note });
        Ok(sizes)
    }

    fn others_cpu_s(&self) -> f64 {
        self.cluster.cpu_s()
    }

    fn list(&mut self, asked: &Asked) -> Result<Answer, Fault> {
        let (by, of) = match &asked.of {
            Of::Namespace(namespace) => ("namespace", namespace.as_str()),
            Of::Pods => ("kind", "pods"),
        };
        let statement = match self.lists.get(&(by, asked.bare)) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.engine.client.prepare(&list_sql(by, asked.bare))?;
                self.lists.insert((by, asked.bare), statement.clone());
                statement
            }
        };
        let rows = self.engine.client.query(&statement, &[&of, &asked.at])?;
        let found = rows.iter().map(|row| Found {
            kind: row.get(0),
            namespace: row.get(1),
            name: row.get(2),
            uid: row.get(3),
            verb: row.get(4),
            rv: row.get(5),
            record: row.get(6),
            since: row.get(7),
            body: row.get(8),
        });
        Ok(Answer::Found(sorted(found.collect())))
    }

    fn holders(&mut self, address: &str, at: i64) -> Result<Answer, Fault> {
        let rows = self.engine.client.query(&self.holders, &[&address, &at])?;
        let holders = rows.iter().map(|row| Holder {
            namespace: row.get(0),
            name: row.get(1),
            uid: row.get(2),
            since: row.get(3),
            until: row.get(4),
        });
        Ok(Answer::Holders(holders.collect()))
    }
}
