//! Creating a segment in the store, apart from what decides about it: so that it can be done on a
//! thread of its own, while the next segment is gathered.

use std::time::Duration;

use bytes::Bytes;
use stele_store::{Clock, ObjectName, Store, StoreError};

use crate::format::Built;
use crate::objects::segment_name;

/// A segment that is to be created.
#[derive(Debug)]
pub(crate) struct SegmentPut {
    name: ObjectName,
    parts: Vec<Bytes>,
}

/// What became of a [`SegmentPut`].
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) result: Result<(), StoreError>,
    pub(crate) took: Duration,
}

impl SegmentPut {
    pub(crate) fn new(built: &Built) -> Self {
        Self { name: segment_name(built.head.number), parts: built.parts.clone() }
    }

    /// Creates the segment.
    pub(crate) fn run(self, store: &dyn Store, clock: &dyn Clock) -> Written {
        let begin = clock.monotonic();
        let parts: Vec<&[u8]> = self.parts.iter().map(|part| &part[..]).collect();
        let result = store.put_new(&self.name, &parts).map(drop);
        Written { result, took: clock.monotonic().saturating_sub(begin) }
    }
}
