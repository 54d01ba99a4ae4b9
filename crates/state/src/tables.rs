//! The tables of the view and the form of their rows.
//!
//! Clusters, types, sources and objects are numbered in the order in which the log names them.
//! Rows are in the form of `postcard`: numbers as short as they are, nothing that says which field is
//! which. A change of any of this is a new [`FORMAT`]; there is no migration,
//! because the view is folded again.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::StateError;
use crate::bases::Bases;
use crate::bodies::{Piece, Place};
use crate::table::{Space, Table};

/// Number of the form of the tables.
pub(crate) const FORMAT: u64 = 11;

/// Binary logarithm of the number of records in a run of the table `reached`.
pub(crate) const REACHED_RUN_BITS: u32 = 10;

/// In keys: no cluster, no type.
pub(crate) const ALL: u32 = u32::MAX;

/// An IPv6 address, or an IPv4 address mapped into it.
pub(crate) type IpKey = [u8; 16];

/// In [`Reader::spans`]: no address is known. It is the unspecified address, which nothing has.
pub(crate) const NO_ADDRESS: IpKey = [0; 16];

/// Where the tables are. The bodies of objects are large. What is true only for a while is apart as
/// well: the engine passes over rows that were removed until it has written the rest anew, which it
/// does the more often the less there is.
pub(crate) struct Spaces {
    pub(crate) rows: Space,
    pub(crate) bodies: Space,
    pub(crate) live: Space,
}

macro_rules! tables {
    (@space $spaces:ident) => { $spaces.rows };
    (@space $spaces:ident $space:ident) => { $spaces.$space };
    ($($(#[$doc:meta])* $field:ident $(in $space:ident)?: $key:ty => $value:ty;)*) => {
        /// First bytes of the tables' keys.
        #[allow(non_camel_case_types)]
        enum Id { $($field),* }

        /// All tables at a time; what is written to them is seen here alone until it is committed.
        pub(crate) struct Tables {
            $($(#[$doc])* pub(crate) $field: Table<$key, $value>,)*
        }

        impl Tables {
            pub(crate) fn new(spaces: &Spaces) -> Self {
                Self {
                    $($field: Table::new(
                        Id::$field as u8,
                        &tables!(@space spaces $($space)?),
                    ),)*
                }
            }

            pub(crate) fn commit(self, batch: &mut fjall::OwnedWriteBatch) {
                $(self.$field.commit(batch);)*
            }

            /// Hashes all rows; bodies by what they are, as batches decide how they are stored
            /// until their chunk is whole.
            pub(crate) fn digest(&self) -> Result<String, StateError> {
                let mut hash = Sha256::new();
                $(if !matches!(Id::$field, Id::bodies) {
                    hash.update(concat!(stringify!($field), "\0"));
                    let mut rows = self.$field.iter();
                    while let Some((key, value)) = rows.next_bytes()? {
                        for part in [&key[..], &value[..]] {
                            hash.update((part.len() as u64).to_be_bytes());
                            hash.update(part);
                        }
                    }
                })*
                let bases = Bases::default();
                for row in self.bodies.iter() {
                    let (key, value) = row?;
                    let ((chunk, first), piece) = (key.value(), Piece::read(value.value(), |number| bases.get(self, number))?);
                    for (at, body) in (first..).zip(piece.bodies()) {
                        hash.update(chunk.to_be_bytes());
                        hash.update(at.to_be_bytes());
                        hash.update((body.len() as u64).to_be_bytes());
                        hash.update(body);
                    }
                }
                Ok(hex::encode(hash.finalize()))
            }

            /// Name, rows, bytes of keys and values of each table.
            pub(crate) fn sizes(&self) -> Result<Vec<(&'static str, u64, u64)>, StateError> {
                let mut sizes = Vec::new();
                $(
                    let (mut count, mut bytes, mut rows) = (0, 0, self.$field.iter());
                    while let Some((key, value)) = rows.next_bytes()? {
                        count += 1;
                        bytes += (key.len() + value.len()) as u64;
                    }
                    sizes.push((stringify!($field), count, bytes));
                )*
                Ok(sizes)
            }
        }
    };
}

tables! {
    /// Counters and the format.
    meta: &'static str => u64;
    /// Cluster id → number.
    clusters: &'static str => u32;
    /// Cluster number → [`ClusterRow`].
    cluster_rows: u32 => &'static [u8];
    /// (cluster, run of records) → [`crate::chunks::TimesChunk`]: newest effective times so far, of
    /// records that speak of the cluster or prove that somebody was looking.
    times: (u32, u64) => &'static [u8];
    /// (cluster, group, plural) → number.
    types: (u32, &'static str, &'static str) => u32;
    /// Type number → [`TypeRow`].
    type_rows: u32 => &'static [u8];
    /// Source id → number.
    sources: &'static [u8; 32] => u32;
    /// Source number → [`SourceRow`].
    source_rows: u32 => &'static [u8];
    /// (type, source) → [`StreamRow`].
    streams: (u32, u32) => &'static [u8];
    /// (type, source, object): seen in the list that is being read.
    listed in live: (u32, u32, u64) => ();
    /// (type, order key of a version) → time: at that version a whole list was seen, first then.
    lists: (u32, &'static [u8]) => i64;
    /// (type, record / 1,024) → order key of the newest resource version of the type that was seen
    /// up to the end of that run of records; only where it is newer than in the runs before.
    reached: (u32, u64) => &'static [u8];
    /// (type, namespace, name, how many objects of that name came before) → object. There is one for
    /// each uid.
    objects: (u32, &'static str, &'static str, u32) => u64;
    /// (type, namespace, name) → how many objects of that name, from the first on, have ended, and the
    /// order key of the newest end: for a newer version they do not matter. Only where there are many.
    settled: (u32, &'static str, &'static str) => (u32, &'static [u8]);
    /// (cluster, uid, type) → object. Uids are keys of [`uid_key`].
    uids: (u32, &'static [u8], u32) => u64;
    /// Object → [`crate::life::LifeRow`].
    lives: u64 => &'static [u8];
    /// (type, namespace, object) → smallest effective time: exists after the newest record.
    alive in live: (u32, &'static str, u64) => i64;
    /// (type, namespace, class of length, begin, object) → end: existed once, at no other time; see
    /// [`crate::existence`].
    existed: (u32, &'static str, u8, i64, u64) => i64;
    /// (type, namespace) → bits of the classes of length in `existed`.
    classes: (u32, &'static str) => u64;
    /// (type, class of length, begin, object) → end: as `existed`, for questions about all
    /// namespaces.
    existed_anywhere: (u32, u8, i64, u64) => i64;
    /// Type → bits of the classes of length in `existed_anywhere`.
    classes_anywhere: u32 => u64;
    /// (object, order key of the first one) → versions before those that its life has, see
    /// [`crate::versions`].
    versions: (u64, &'static [u8]) => &'static [u8];
    /// (chunk, place in it of the first body) → [`Piece`].
    bodies in bodies: (u64, u32) => &'static [u8];
    /// Number → text that others are compressed against, as a [`Piece`], see [`crate::bases`]. It has
    /// the number of the chunk that it is of.
    bases in bodies: u64 => &'static [u8];
    /// (type, namespace) → chunk that takes their bodies, how many it has, and bytes of their text.
    chunks in live: (u32, &'static str) => (u64, u32, u64);
    /// (uid, object): some version of the object names the uid, which is not its own. Uids are keys
    /// of [`uid_key`].
    referrers: (&'static [u8], u64) => ();
    /// (uid, resource version, record of an audit event) → when the request came: it made the version.
    made: (&'static [u8], &'static str, u64) => i64;
    /// (group, plural, namespace, name, record of an audit event) → when the request came, whether it
    /// deletes, and the uid, `""` if it is not told. Of requests of which the answer does not show what
    /// they made.
    requests: (&'static str, &'static str, &'static str, &'static str, u64) =>
        (i64, bool, &'static str);
    /// Run of records → [`crate::chunks::LogChunk`].
    log: u64 => &'static [u8];
    /// (cluster or ALL, type or ALL, number) → [`GapRow`].
    gaps: (u32, u32, u64) => &'static [u8];
    /// (record, number) → why it could not be used.
    problems: (u64, u32) => &'static str;
    /// (address, cluster, object): the object had the address in some version.
    ips: (&'static [u8; 16], u32, u64) => ();
    /// (cluster, record that first shows an address or `u64::MAX`, pod) → record that first shows
    /// the pod.
    unaddressed in live: (u32, u64, u64) => u64;
    /// (object, order key of a version) → [`FactRow`]: versions that say something else about
    /// addresses than the one before them.
    facts: (u64, &'static [u8]) => &'static [u8];
    /// (address, cluster, class of length, begin, object) → end: at no other time the object may
    /// have had the address. [`NO_ADDRESS`] stands for pods of which none is known.
    spans: (&'static [u8; 16], u32, u8, i64, u64) => i64;
    /// (address, cluster, begin, object): as `spans`, of those without an end.
    open_spans in live: (&'static [u8; 16], u32, i64, u64) => ();
    /// (address, cluster, time, pod, network): from then on the pod was seen with the address.
    reports: (&'static [u8; 16], u32, i64, u64, &'static str) => ();
    /// Object → [`SpanList`]: its rows in `spans` and `reports`.
    span_lists: u64 => &'static [u8];
    /// (cluster, uid, endpoint slice): some version of the slice names the uid as a target.
    targets: (u32, &'static [u8], u64) => ();
    /// (cluster, namespace, service, endpoint slice): some version of the slice is of the service.
    slices: (u32, &'static str, &'static str, u64) => ();
    /// (cluster, port of nodes, service): some version of the service has the port.
    node_ports: (u32, u32, u64) => ();
    /// (cluster, prefix length, base, object): some version of the object declares the range.
    ranges: (u32, u8, &'static [u8; 16], u64) => ();
    /// (cluster, path, record) → effective time, and whether the server did not give it any more:
    /// documents that a server gave about itself.
    documents: (u32, &'static str, u64) => (i64, bool);
    /// Record of a document → its text, as a [`Piece`].
    document_texts in bodies: u64 => &'static [u8];
}

/// A cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClusterRow {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// A resource type of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TypeRow {
    pub(crate) cluster: u32,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) kind: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) namespaced: bool,
    /// Frames of it were seen.
    pub(crate) recorded: bool,
    /// Newest resource version that any source has shown, of an object or a whole list.
    pub(crate) newest_rv: String,
    /// Against which its bodies are compressed.
    pub(crate) base: Option<u64>,
}

/// A source in its newest boot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceRow {
    pub(crate) boot: u64,
    pub(crate) imported: bool,
    pub(crate) closed: bool,
    /// Effective time of the last record that proves it was looking.
    pub(crate) last_time: Option<i64>,
    pub(crate) clusters: Vec<u32>,
    /// Effective time of the first record of each boot after which nothing proves more.
    pub(crate) name: String,
}

/// What one source says of one type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StreamRow {
    pub(crate) last_rv: String,
    pub(crate) last_time: i64,
    pub(crate) last_index: u64,
    /// End of the first whole list: index, time, resource version.
    pub(crate) first_list: Option<(u64, i64, String)>,
    pub(crate) open_list: Option<OpenList>,
    /// Up to when the newest GAP that speaks of this stream reaches.
    pub(crate) told_until: Option<i64>,
    /// Gaps that the fold concluded, until a GAP record says it better.
    pub(crate) derived: Vec<u64>,
    /// The one of them that is still open.
    pub(crate) blind: Option<u64>,
    /// Effective time of the first frame.
    pub(crate) first_time: i64,
    /// Record of the first frame.
    pub(crate) first_index: u64,
    /// The gap since the server's data were set back.
    pub(crate) set_back: Option<u64>,
    /// The gap since an object could not be read.
    pub(crate) unread: Option<u64>,
}

/// A list of which the last page has not come yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenList {
    pub(crate) id: u64,
    pub(crate) next_page: u32,
    pub(crate) rv: String,
    pub(crate) time: i64,
    pub(crate) boot: u64,
}

/// One version.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct VersionRow {
    pub(crate) verb: u8,
    pub(crate) rv: String,
    pub(crate) after_rv: Option<String>,
    pub(crate) index: u64,
    pub(crate) ordinal: u32,
    pub(crate) time: i64,
    pub(crate) basis: u8,
    pub(crate) redacted: bool,
    /// How many versions of the object came before it.
    pub(crate) number: u32,
    /// The body it shows.
    pub(crate) body: Place,
    pub(crate) source: u32,
    /// API version of the frame.
    pub(crate) version: String,
}

/// What a version says that matters for addresses. Ends without a body have no address row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FactRow {
    pub(crate) verb: u8,
    pub(crate) index: u64,
    pub(crate) time: i64,
    pub(crate) address: Option<AddressRow>,
}

/// What a version says about addresses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AddressRow {
    /// 0 pod, 1 node, 2 service, 3 range of service addresses.
    pub(crate) role: u8,
    /// Address and network; `""` is the cluster's own.
    pub(crate) ips: Vec<NetworkIp>,
    pub(crate) host_network: bool,
    pub(crate) phase: String,
    /// Its deletion timestamp: when the deletion is due.
    pub(crate) due: Option<i64>,
    pub(crate) grace_s: Option<i64>,
    /// A container is shown running; kept of versions with which the object is deleted.
    pub(crate) running: bool,
    pub(crate) node: String,
    pub(crate) created: Option<i64>,
    /// Ports of a service; of a pod those it has on its node's addresses.
    pub(crate) ports: Vec<PortRow>,
    /// Ranges that a node or a range object declares.
    pub(crate) ranges: Vec<RangeRow>,
    /// How a service has each of `ips`: 0 cluster, 1 external, 2 load balancer.
    pub(crate) kinds: Vec<u8>,
}

/// A port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortRow {
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) port: u16,
    /// The port on nodes that leads to it; 0 if there is none.
    pub(crate) node_port: u16,
}

/// A range of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RangeRow {
    pub(crate) base: IpKey,
    /// Of 128 bits.
    pub(crate) prefix: u8,
}

/// Rows of one object in [`Reader::spans`] and [`Reader::reports`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SpanList {
    pub(crate) spans: Vec<SpanRow>,
    pub(crate) reports: Vec<ReportRow>,
}

/// A row of [`Reader::spans`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpanRow {
    pub(crate) ip: IpKey,
    pub(crate) from: i64,
    /// `i64::MAX`: open.
    pub(crate) to: i64,
    /// It is open only until another pod is seen with the address.
    pub(crate) unsure: bool,
}

/// A row of [`Reader::reports`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportRow {
    pub(crate) ip: IpKey,
    pub(crate) time: i64,
    pub(crate) network: String,
}

/// An address in a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NetworkIp {
    pub(crate) ip: IpKey,
    pub(crate) network: String,
}

/// What stands at a place of the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LogRow {
    /// A version: type, object, order key.
    Version(u32, u64, Vec<u8>),
    /// A gap: its key.
    Gap(u32, u32, u64),
}

/// A blind stretch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct GapRow {
    pub(crate) index: u64,
    pub(crate) source: u32,
    pub(crate) group: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) from: i64,
    pub(crate) to: Option<i64>,
    pub(crate) from_rv: Option<String>,
    pub(crate) to_rv: Option<String>,
    pub(crate) reason: String,
    pub(crate) recovered: bool,
    pub(crate) derived: bool,
    pub(crate) detail: String,
    /// Record that made `to` known, if it came later than the gap.
    pub(crate) closed_index: Option<u64>,
    /// Record whose GAP says it better; the row no longer counts from there on.
    pub(crate) superseded: Option<u64>,
}

/// A uid as a key: 16 bytes if it is a UUID as Kubernetes writes it, its text otherwise.
pub(crate) fn uid_key(uid: &str) -> Vec<u8> {
    let dashes = [8, 13, 18, 23].iter().all(|at| uid.as_bytes().get(*at) == Some(&b'-'));
    let bytes = (uid.len() == 36 && dashes).then(|| hex::decode(uid.replace('-', "")).ok());
    match bytes.flatten() {
        Some(bytes) if bytes.len() == 16 && !uid.bytes().any(|b| b.is_ascii_uppercase()) => bytes,
        // A text of 15 bytes must not be taken for one.
        _ => [&[0xff; 17], uid.as_bytes()].concat(),
    }
}

/// The uid of which this is the key; `None` if it is none.
pub(crate) fn uid_of_key(key: &[u8]) -> Option<String> {
    if let Ok([a, b, c, d, e, f, g, h, rest @ ..]) = <[u8; 16]>::try_from(key) {
        let (first, second) = (hex::encode([a, b, c, d]), hex::encode([e, f]));
        let (third, fourth) = (hex::encode([g, h]), hex::encode(&rest[..2]));
        return Some(format!("{first}-{second}-{third}-{fourth}-{}", hex::encode(&rest[2..])));
    }
    String::from_utf8(key.strip_prefix(&[0xff; 17])?.to_vec()).ok()
}

/// The bytes of a row.
pub(crate) fn row<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("invariant: writing to a vector does not fail")
}

/// Reads a row.
pub(crate) fn unrow<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, StateError> {
    let (value, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(StateError::Damaged(format!("{} bytes behind a row", rest.len())))
    }
}
