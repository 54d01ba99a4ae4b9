//! Every limit of the HTTP face, by name.
//!
//! Invariant: nothing in this crate grows with what a caller sends beyond one of these.

use std::time::Duration;

use stele_record::{PAYLOAD_BYTES_MAX, SUBMISSION_RECORDS_MAX};

/// Longest body of a request that appends events.
pub const EVENT_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest body of a submission: one payload of the largest size, and room for headers.
pub const SUBMISSION_BODY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX as usize + 1024 * 1024;

/// Body bytes of all running requests together. Requests beyond that wait for their turn.
pub const BODIES_IN_FLIGHT_BYTES_MAX: usize = 4 * SUBMISSION_BODY_BYTES_MAX;

/// A body over its limit is read to its end, and thrown away, up to this length: a client that
/// sends before it listens would otherwise see a broken connection instead of the reason.
pub const REFUSED_BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long a request waits for its turn, and then for its body to arrive.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(60);

/// Most events in one request: with a declaration and a seal they still fit into one submission,
/// so that a request is recorded whole or not at all.
pub const EVENTS_PER_REQUEST_MAX: usize = SUBMISSION_RECORDS_MAX - 96;

/// Requests that wait for the server's own source.
pub const APPEND_QUEUE_REQUESTS_MAX: usize = 1_024;

/// Events of several requests that are recorded together.
pub const APPEND_BATCH_EVENTS_MAX: usize = SUBMISSION_RECORDS_MAX - 2;

/// Payload bytes of several requests that are recorded together, unless one alone has more.
pub const APPEND_BATCH_BYTES_TARGET: usize = 8 * 1024 * 1024;

/// Longest pause between two seals of the server's own source.
pub const APPEND_HEARTBEAT: Duration = Duration::from_secs(10);

/// Records that the views take in at once.
pub const FOLD_BATCH_RECORDS_MAX: u64 = 4_096;

/// Payload bytes that the views take in at once, unless a single record has more.
pub const FOLD_BATCH_BYTES_TARGET: usize = 32 * 1024 * 1024;

/// While the views catch up with a long log, how often it is said how far they are.
pub const FOLD_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Pause before the views try again to follow the log after a failure.
pub const FOLD_RETRY_PAUSE: Duration = Duration::from_secs(5);

/// How long a question waits for the views to reach its index before it is sent away.
pub const FOLD_WAIT_MAX: Duration = Duration::from_secs(5);

/// Questions to the views that run at once; each takes a thread.
pub const QUERIES_AT_ONCE_MAX: usize = 32;

/// Events that a subscriber may be behind in memory before the server waits for it.
pub const WATCH_BUFFER_EVENTS_MAX: usize = 64;

/// The same for subscriptions with objects, each of which may have a megabyte and more.
pub const WATCH_BUFFER_OBJECTS_MAX: usize = 8;

/// Changes that a subscription with objects reads at once.
pub const WATCH_BATCH_OBJECTS: usize = 8;

/// Changes that a subscription reads at once.
pub const WATCH_BATCH_CHANGES: usize = 64;

/// How long a subscriber may leave its connection unread before it is cut off.
pub const WATCH_SLOW_READER_MAX: Duration = Duration::from_secs(30);

/// Subscribers at once.
pub const WATCHERS_MAX: usize = 2_048;

/// Newest changes that are kept in memory for all subscriptions, and their bytes.
pub const RECENT_CHANGES_MAX: usize = 16_384;
/// See [`RECENT_CHANGES_MAX`].
pub const RECENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Changes that are read at once for all subscriptions.
pub const RECENT_BATCH_CHANGES: usize = 1_024;

/// Subscriptions are told of new changes at most once in this time.
pub const RECENT_PAUSE: Duration = Duration::from_millis(10);

/// A comment is sent to a quiet subscription this often, so that dead connections are noticed.
pub const WATCH_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Lists of the Kubernetes API that are sent at once; each reads on a thread of its own.
pub const KUBE_LISTS_AT_ONCE_MAX: usize = 16;

/// Objects of a list that are read together.
pub const KUBE_LIST_PIECE_OBJECTS: usize = 512;

/// Threads that read the objects of one list.
pub const KUBE_LIST_THREADS_MAX: usize = 4;

/// Longest watch of the Kubernetes API; clients begin the next where it ended.
pub const KUBE_WATCH_MAX: Duration = Duration::from_secs(45 * 60);

/// How often a quiet watch tells how far it has come.
pub const KUBE_BOOKMARK_PAUSE: Duration = Duration::from_secs(60);

/// Exports at once; each reads the log on a thread of its own.
pub const EXPORTS_AT_ONCE_MAX: usize = 4;

/// How far a source's clock may run ahead of the ledger's before an export by time misses its
/// records.
pub const EXPORT_CLOCK_AHEAD_MAX: Duration = Duration::from_secs(3_600);

/// Records of one export.
pub const EXPORT_RECORDS_MAX: u64 = 10_000_000;

/// Bytes of an export that wait for the reader.
pub const EXPORT_CHUNK_BYTES: usize = 64 * 1024;

/// Chunks of an export that wait for the reader.
pub const EXPORT_CHUNKS_MAX: usize = 16;

/// How long a reader may leave an export unread before it is cut off.
pub const EXPORT_SLOW_READER_MAX: Duration = Duration::from_secs(60);

/// Batches of look-ups at once; each takes a thread and a snapshot of the views.
pub const BATCHES_AT_ONCE_MAX: usize = 4;

/// Lines of a batch of look-ups.
pub const BATCH_LINES_MAX: u64 = 100_000_000;

/// Longest line of a batch.
pub const BATCH_LINE_BYTES_MAX: usize = 64 * 1024;

/// Parts of the body of a batch that wait to be answered.
pub const BATCH_CHUNKS_MAX: usize = 4;

/// How long the next part of the body of a batch may take to come.
pub const BATCH_SLOW_SENDER_MAX: Duration = Duration::from_secs(60);

/// Names of stored objects in one answer.
pub const OBJECT_NAMES_MAX: usize = 10_000;

/// Bytes of a stored object that are read at once while it is sent.
pub const OBJECT_CHUNK_BYTES: u64 = 1024 * 1024;

/// Records that the views may be behind while the server calls itself ready.
pub const FOLD_LAG_READY_MAX: u64 = 65_536;

/// Connections that begin at once: those whose first bytes have not come, or whose handshake is not
/// over.
pub const HANDSHAKES_AT_ONCE_MAX: usize = 256;

/// How long a connection may take to begin.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted, for example because too many files are open.
pub const ACCEPT_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long running requests may take to end once the server was told to stop.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Body bytes of all running requests to a witness together.
pub const WITNESS_BODIES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Requests that a witness decides at once; each takes a thread.
pub const WITNESS_REQUESTS_AT_ONCE_MAX: usize = 32;

/// Uploads that a mirror of leaves reads at once; each may hold a package of entries.
pub const UPLOADS_AT_ONCE_MAX: usize = 8;

/// How long an upload may take: what has come until then is taken in, and the sender goes on.
pub const UPLOAD_TIME_MAX: Duration = Duration::from_secs(300);

/// Bytes of a compressed upload that are unpacked at once: they may become a thousand times as many.
pub const UPLOAD_SLICE_BYTES: usize = 4 * 1024;
