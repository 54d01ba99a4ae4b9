//! `stele agent` beside a cluster, with a ledger elsewhere that is down, comes up, and is killed
//! in the middle of deliveries: everything arrives, once.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use xtask::testbed::{Testbed, TestbedOptions};

use crate::harness::{Client, Home};

const PHASE_OBJECTS: usize = 20;
const ARRIVE_MAX: Duration = Duration::from_secs(60);

/// An agent; ended by force when dropped.
struct Agent(Child);

impl Agent {
    fn start(home: &Home, bed: &Testbed, server: &str) -> Self {
        let keys = home.data().join("keys");
        let child = home
            .command()
            .args(["agent", "--server", server, "--token-file"])
            .arg(keys.join("admin.token"))
            .arg("--key")
            .arg(keys.join("log.pub"))
            .arg("--spool")
            .arg(home.path("spool"))
            .arg("--kubeconfig")
            .arg(bed.kubeconfig())
            .stdout(Stdio::null())
            .stderr(Stdio::from(std::fs::File::create(home.path("agent.log")).unwrap()))
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Ended already, or ended now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_delivers_everything_once_whatever_the_server_does() {
    let Some(bed) = Testbed::for_test(&TestbedOptions::default()).unwrap() else { return };
    let home = Home::new();
    home.up(&["--no-record"]).stop();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = format!("http://{listen}");

    let agent = Agent::start(&home, &bed, &server);
    tokio::time::sleep(Duration::from_secs(3)).await;
    create(&bed, "server-down");
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(agent);
    create(&bed, "both-down");
    let agent = Agent::start(&home, &bed, &server);
    tokio::time::sleep(Duration::from_secs(2)).await;

    let up = home.up_at(&listen, &["--no-record"]);
    arrives(&up.client(), "server-down").await;
    arrives(&up.client(), "both-down").await;
    for round in 0..3 {
        create(&bed, &format!("killed-{round}"));
    }
    up.kill();
    create(&bed, "after-the-kill");
    let up = home.up_at(&listen, &["--no-record"]);
    for name in ["killed-0", "killed-1", "killed-2", "after-the-kill"] {
        arrives(&up.client(), name).await;
    }
    check_history(&up.client()).await;
    drop(agent);
    up.stop();
    // fsck follows every source's sequence and seals: a hole or a double would be found.
    eprintln!("{}", home.run(&["fsck", "--data", home.data().to_str().unwrap()]).ok());
}

fn create(bed: &Testbed, prefix: &str) {
    let names = (0..PHASE_OBJECTS)
        .map(|n| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {prefix}-{n}}}\n"));
    let manifest = names.collect::<Vec<_>>().join("---\n");
    let file = bed.dir().join("objects.yaml");
    std::fs::write(&file, manifest).unwrap();
    bed.kubectl(&["create", "-n", "default", "-f", file.to_str().unwrap()]).unwrap();
}

/// Waits until all objects of a phase are in the record.
async fn arrives(client: &Client, prefix: &str) {
    let mut found = 0;
    for _ in 0..ARRIVE_MAX.as_secs() * 4 {
        let answer = client.get("/v1/objects?type=configmaps&namespace=default").await.unwrap();
        if answer.status().is_success() {
            let answer: Value = answer.json().await.unwrap();
            let names = answer["items"].as_array().into_iter().flatten();
            let names = names.filter_map(|item| item["of"]["name"].as_str());
            found = names.filter(|name| name.starts_with(prefix)).count();
            if found == PHASE_OBJECTS {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("{found} of {PHASE_OBJECTS} {prefix} arrived");
}

/// Each object was created once and never changed: it has one version.
async fn check_history(client: &Client) {
    let name = "after-the-kill-0";
    let history =
        client.json(&format!("/v1/history?type=configmaps&namespace=default&name={name}")).await;
    assert_eq!(history["items"].as_array().unwrap().len(), 1, "{history}");
}
