//! A recording of a real control plane, imported; every list that its server gave must come out
//! again.

use xtask::exact::ExactList;

use crate::exact::{Compared, compare};
use crate::harness::{Home, lines_of, recordings};

async fn reproduces(folder: &str, lists: usize) {
    let Some(recordings) = recordings() else { return };
    let folder = recordings.join(folder);
    let home = Home::new();
    let up = home.up(&["--no-record"]);
    let watch = folder.join("watch.jsonl.zst");
    home.run(&["import", "--name", "lab", watch.to_str().unwrap()]).ok();
    let client = up.client();
    let mut different = Vec::new();
    let exact = lines_of(&folder.join("exact.jsonl.zst"));
    assert_eq!(exact.len(), lists);
    for line in &exact {
        let exact: ExactList = serde_json::from_str(line).unwrap();
        match compare(&client, &exact).await {
            Compared::Equal => {}
            Compared::Gap => different.push(format!("{} at {}: a gap", exact.res, exact.rv)),
            Compared::Different(how) => different.push(how),
        }
    }
    assert!(
        different.is_empty(),
        "{} of {lists}: {:#?}",
        different.len(),
        &different[..3.min(different.len())]
    );
    up.stop();
    home.run(&["fsck", "--data", home.data().to_str().unwrap()]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn control_plane_lists_are_reproduced() {
    reproduces("control-plane", 858).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_node_lists_are_reproduced() {
    reproduces("real-node", 627).await;
}
