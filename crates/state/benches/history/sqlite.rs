//! SQLite, as its documentation has it for a view that can be made again: write-ahead log with
//! `synchronous=NORMAL`, one transaction a batch, prepared statements, tables without rowid where
//! rows are small and have a key of their own, indexes that cover.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use stele_state::FoldRecord;
use zstd::bulk::{Compressor, Decompressor};

use crate::Fault;
use crate::fold::{Delta, Folder, Rows};
use crate::peers::{Answer, Asked, CACHE_BYTES, Found, Holder, Of, Subject, TableSize, sorted};
use crate::rows::{Current, Lease, Name, OPEN, Version};

/// Larger than what SQLite begins with: of pages with bodies of some kilobytes less is wasted. With
/// 4,096 the same changes take a tenth more of the disk and a third more time.
const PAGE_BYTES: usize = 16_384;
/// Pages in the write-ahead log at which they are brought into the file: 64 MiB.
const CHECKPOINT_PAGES: usize = 4_096;
/// What is lost between levels in size is less than what they cost in time.
const ZSTD_LEVEL: i32 = 3;

const SCHEMA: &str = "
CREATE TABLE kind (id INTEGER PRIMARY KEY, cluster TEXT NOT NULL, api_group TEXT NOT NULL,
    version TEXT NOT NULL, resource TEXT NOT NULL, kind TEXT NOT NULL);
CREATE TABLE object (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, namespace TEXT NOT NULL,
    name TEXT NOT NULL, uid TEXT NOT NULL);
CREATE TABLE change (id INTEGER PRIMARY KEY, object INTEGER NOT NULL, verb INTEGER NOT NULL,
    rv INTEGER NOT NULL, record INTEGER NOT NULL, since INTEGER NOT NULL, body BLOB);
CREATE TABLE current (kind INTEGER NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    uid TEXT NOT NULL, change INTEGER NOT NULL, object INTEGER NOT NULL, verb INTEGER NOT NULL,
    rv INTEGER NOT NULL, record INTEGER NOT NULL, since INTEGER NOT NULL, pod TEXT,
    PRIMARY KEY (kind, namespace, name)) WITHOUT ROWID;
CREATE INDEX current_namespace ON current (namespace, since);
CREATE TABLE past (kind INTEGER NOT NULL, class INTEGER NOT NULL, since INTEGER NOT NULL,
    change INTEGER NOT NULL, until INTEGER NOT NULL, namespace TEXT NOT NULL,
    object INTEGER NOT NULL, verb INTEGER NOT NULL, rv INTEGER NOT NULL, record INTEGER NOT NULL,
    PRIMARY KEY (kind, class, since, change)) WITHOUT ROWID;
CREATE INDEX past_namespace ON past (namespace, class, since, until);
CREATE TABLE lease (address TEXT NOT NULL, since INTEGER NOT NULL, object INTEGER NOT NULL,
    until INTEGER NOT NULL, removed INTEGER, PRIMARY KEY (address, since, object)) WITHOUT ROWID;
CREATE TABLE class (id INTEGER PRIMARY KEY);
";

const READ_CURRENT: &str = "SELECT change, object, verb, rv, record, since, uid, pod FROM current
    WHERE kind = ? AND namespace = ? AND name = ?";
const READ_LEASES: &str =
    "SELECT address, object, since, removed FROM lease WHERE address = ? AND until = ?";
const WRITE_KIND: &str = "INSERT INTO kind VALUES (?, ?, ?, ?, ?, ?)";
const WRITE_OBJECT: &str = "INSERT INTO object VALUES (?, ?, ?, ?, ?)";
const WRITE_CHANGE: &str = "INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?)";
const WRITE_PAST: &str = "INSERT INTO past VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const WRITE_CURRENT: &str =
    "INSERT OR REPLACE INTO current VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const DROP_CURRENT: &str = "DELETE FROM current WHERE kind = ? AND namespace = ? AND name = ?";
const WRITE_LEASE: &str = "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?)";
const HOLDERS: &str = "SELECT object.namespace, object.name, object.uid, lease.since, lease.until
    FROM lease JOIN object ON object.id = lease.object
    WHERE lease.address = ?1 AND lease.since <= ?2 AND lease.until > ?2";

/// See the module.
pub(crate) struct Sqlite {
    dir: tempfile::TempDir,
    engine: Engine,
    folder: Folder,
}

struct Engine {
    db: Connection,
    /// Bodies are compressed one by one, which SQLite leaves to its users.
    zstd: Option<Zstd>,
}

struct Zstd {
    pack: Compressor<'static>,
    unpack: Decompressor<'static>,
}

impl Zstd {
    fn new() -> Result<Self, Fault> {
        Ok(Self { pack: Compressor::new(ZSTD_LEVEL)?, unpack: Decompressor::new()? })
    }

    fn unpack(&mut self, packed: &[u8]) -> Result<Vec<u8>, Fault> {
        let bytes = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten().unwrap_or(0);
        Ok(self.unpack.decompress(packed, usize::try_from(bytes)?)?)
    }
}

impl Sqlite {
    pub(crate) fn open(dir: tempfile::TempDir, zstd: bool) -> Result<Self, Fault> {
        let db = Connection::open(dir.path().join("view.sqlite"))?;
        db.execute_batch(&format!(
            "PRAGMA page_size={PAGE_BYTES}; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;
             PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}; PRAGMA cache_size=-{};
             PRAGMA temp_store=MEMORY; PRAGMA locking_mode=NORMAL; PRAGMA foreign_keys=OFF;",
            CACHE_BYTES / 1024
        ))?;
        db.execute_batch(SCHEMA)?;
        for class in 0..63 {
            db.execute("INSERT INTO class VALUES (?)", [class])?;
        }
        db.set_prepared_statement_cache_capacity(32);
        let zstd = zstd.then(Zstd::new).transpose()?;
        Ok(Self { dir, engine: Engine { db, zstd }, folder: Folder::default() })
    }
}

impl Rows for Engine {
    fn current(&mut self, names: &[&Name]) -> Result<HashMap<Name, Option<Current>>, Fault> {
        let mut statement = self.db.prepare_cached(READ_CURRENT)?;
        let mut found = HashMap::with_capacity(names.len());
        for name in names {
            let key = params![name.kind, name.namespace, name.name];
            let row = statement.query_row(key, |row| {
                Ok(Current { version: version(row)?, uid: row.get(6)?, pod: row.get(7)? })
            });
            if let Some(current) = row.optional()? {
                found.insert((*name).clone(), Some(current));
            }
        }
        Ok(found)
    }

    fn open_leases(&mut self, addresses: &[String]) -> Result<Vec<Lease>, Fault> {
        let mut statement = self.db.prepare_cached(READ_LEASES)?;
        let mut leases = Vec::new();
        for address in addresses {
            let rows = statement.query_map(params![address, OPEN], |row| {
                Ok(Lease {
                    address: row.get(0)?,
                    object: row.get(1)?,
                    since: row.get(2)?,
                    until: OPEN,
                    removed: row.get(3)?,
                })
            })?;
            for lease in rows {
                leases.push(lease?);
            }
        }
        Ok(leases)
    }

    fn write(&mut self, delta: &Delta<'_>) -> Result<(), Fault> {
        let txn = self.db.transaction()?;
        write_log(&txn, delta, self.zstd.as_mut())?;
        write_state(&txn, delta)?;
        Ok(txn.commit()?)
    }
}

fn version(row: &Row<'_>) -> Result<Version, rusqlite::Error> {
    Ok(Version {
        change: row.get(0)?,
        object: row.get(1)?,
        verb: row.get(2)?,
        rv: row.get(3)?,
        record: row.get(4)?,
        since: row.get(5)?,
    })
}

/// What is added and never changed.
fn write_log(db: &Connection, delta: &Delta<'_>, mut zstd: Option<&mut Zstd>) -> Result<(), Fault> {
    let mut statement = db.prepare_cached(WRITE_KIND)?;
    for (id, kind) in &delta.kinds {
        let of = params![id, kind.cluster, kind.group, kind.version, kind.resource, kind.kind];
        statement.execute(of)?;
    }
    let mut statement = db.prepare_cached(WRITE_OBJECT)?;
    for object in &delta.objects {
        let name = &object.name;
        statement.execute(params![object.id, name.kind, name.namespace, name.name, object.uid])?;
    }
    let mut statement = db.prepare_cached(WRITE_CHANGE)?;
    for change in &delta.changes {
        let v = &change.version;
        let packed = match (change.body, zstd.as_mut()) {
            (Some(body), Some(zstd)) => Some(zstd.pack.compress(body.as_bytes())?),
            _ => None,
        };
        let body = packed.as_deref().or(change.body.map(str::as_bytes));
        statement.execute(params![v.change, v.object, v.verb, v.rv, v.record, v.since, body])?;
    }
    let mut statement = db.prepare_cached(WRITE_PAST)?;
    for past in &delta.past {
        let v = &past.version;
        statement.execute(params![
            past.kind,
            past.class,
            v.since,
            v.change,
            past.until,
            past.namespace,
            v.object,
            v.verb,
            v.rv,
            v.record
        ])?;
    }
    Ok(())
}

/// What stands now, and what has come to an end.
fn write_state(db: &Connection, delta: &Delta<'_>) -> Result<(), Fault> {
    let mut write = db.prepare_cached(WRITE_CURRENT)?;
    let mut drop = db.prepare_cached(DROP_CURRENT)?;
    for (name, current) in &delta.current {
        let Some(current) = current else {
            drop.execute(params![name.kind, name.namespace, name.name])?;
            continue;
        };
        let v = &current.version;
        write.execute(params![
            name.kind,
            name.namespace,
            name.name,
            current.uid,
            v.change,
            v.object,
            v.verb,
            v.rv,
            v.record,
            v.since,
            current.pod
        ])?;
    }
    let mut statement = db.prepare_cached(WRITE_LEASE)?;
    for lease in &delta.leases {
        let (since, until) = (lease.since, lease.until);
        statement.execute(params![lease.address, since, lease.object, until, lease.removed])?;
    }
    Ok(())
}

/// The question for objects at a time: what stands still, and what stood then.
fn list_sql(by: &str, bare: bool) -> String {
    let body = |change: &str| match bare {
        true => "NULL".to_owned(),
        false => format!("(SELECT body FROM change WHERE id = {change})"),
    };
    format!(
        "SELECT kind, namespace, name, uid, verb, rv, record, since, {} FROM current
             WHERE {by} = ?1 AND since <= ?2
         UNION ALL
         SELECT object.kind, object.namespace, object.name, object.uid, past.verb, past.rv,
                past.record, past.since, {}
             FROM class CROSS JOIN past CROSS JOIN object
             WHERE past.{by} = ?1 AND past.class = class.id AND past.since <= ?2
                 AND past.since > ?2 - (1 << class.id) AND past.until > ?2
                 AND object.id = past.object",
        body("current.change"),
        body("past.change"),
    )
}

impl Subject for Sqlite {
    fn name(&self) -> String {
        let bodies = if self.engine.zstd.is_some() { ", bodies in zstd" } else { "" };
        format!("SQLite {}{bodies}", rusqlite::version())
    }

    fn fold(&mut self, batch: &[FoldRecord<'_>]) -> Result<u64, Fault> {
        self.folder.fold(&mut self.engine, batch)
    }

    fn sync(&mut self) -> Result<(), Fault> {
        let busy: i64 =
            self.engine.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy == 0 { Ok(()) } else { Err("the write-ahead log could not be emptied".into()) }
    }

    fn settle(&mut self) -> Result<(), Fault> {
        self.engine.db.execute_batch("PRAGMA analysis_limit=1000; ANALYZE;")?;
        self.sync()
    }

    fn stored_bytes(&mut self) -> Result<u64, Fault> {
        let entries = std::fs::read_dir(self.dir.path())?;
        let sizes = entries.map(|entry| Ok(entry?.metadata()?.len()));
        sizes.sum::<Result<u64, std::io::Error>>().map_err(Fault::from)
    }

    fn tables(&mut self) -> Result<Vec<TableSize>, Fault> {
        let sql = "SELECT name, sum(pgsize) AS bytes, sum(unused) FROM dbstat GROUP BY name
                   HAVING bytes > 1000000 ORDER BY bytes DESC";
        let mut statement = self.engine.db.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            let (bytes, unused): (i64, i64) = (row.get(1)?, row.get(2)?);
            let note = format!("{unused} B unused");
            Ok(TableSize { name: row.get(0)?, bytes: bytes.cast_unsigned(), note })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn list(&mut self, asked: &Asked) -> Result<Answer, Fault> {
        let Engine { db, zstd } = &mut self.engine;
        let (by, of): (_, Box<dyn rusqlite::ToSql>) = match &asked.of {
            Of::Namespace(namespace) => ("namespace", Box::new(namespace.clone())),
            Of::Pods => {
                let sql = "SELECT id FROM kind WHERE api_group = '' AND resource = 'pods'";
                let kind: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
                ("kind", Box::new(kind))
            }
        };
        let mut statement = db.prepare_cached(&list_sql(by, asked.bare))?;
        let mut rows = statement.query(params![of, asked.at])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let body = match (row.get_ref(8)?.as_bytes_or_null()?, zstd.as_mut()) {
                (Some(packed), Some(zstd)) => Some(zstd.unpack(packed)?),
                (body, _) => body.map(<[u8]>::to_vec),
            };
            found.push(Found {
                kind: row.get(0)?,
                namespace: row.get(1)?,
                name: row.get(2)?,
                uid: row.get(3)?,
                verb: row.get(4)?,
                rv: row.get(5)?,
                record: row.get(6)?,
                since: row.get(7)?,
                body: body.map(String::from_utf8).transpose()?,
            });
        }
        Ok(Answer::Found(sorted(found)))
    }

    fn holders(&mut self, address: &str, at: i64) -> Result<Answer, Fault> {
        let mut statement = self.engine.db.prepare_cached(HOLDERS)?;
        let rows = statement.query_map(params![address, at], |row| {
            Ok(Holder {
                namespace: row.get(0)?,
                name: row.get(1)?,
                uid: row.get(2)?,
                since: row.get(3)?,
                until: row.get(4)?,
            })
        })?;
        Ok(Answer::Holders(rows.collect::<Result<_, _>>()?))
    }
}
