//! `stele webhook` against a receiver that drops connections, refuses, and is slow; and a sender that
//! is killed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Home, Running};

/// How long a delivery may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the receiver does with a delivery that it has read.
#[derive(Clone, Copy)]
enum Reply {
    Status(u16),
    /// Ends the connection without a word.
    Nothing,
}

struct Delivery {
    id: String,
    timestamp: String,
    signature: String,
    body: String,
}

/// A receiver that answers one delivery after the other as `replies` says, and 200 after that.
fn receiver(replies: Vec<Reply>) -> (String, Receiver<Delivery>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, deliveries) = channel();
    std::thread::spawn(move || {
        let mut replies = replies.into_iter();
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            while let Some(delivery) = read(&mut stream) {
                let reply = replies.next().unwrap_or(Reply::Status(200));
                if sender.send(delivery).is_err() {
                    return;
                }
                let Reply::Status(status) = reply else { break };
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (url, deliveries)
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Delivery> {
    let mut headers = std::collections::HashMap::new();
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    let mut take = |name: &str| headers.remove(name).unwrap();
    Some(Delivery {
        id: take("webhook-id"),
        timestamp: take("webhook-timestamp"),
        signature: take("webhook-signature"),
        body: String::from_utf8(body).unwrap(),
    })
}

/// Checks the signature as a receiver does, by the specification.
fn check(delivery: &Delivery, secret: &str) {
    let key = STANDARD.decode(secret.trim().strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key).unwrap();
    let Delivery { id, timestamp, signature, body } = delivery;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    assert_eq!(*signature, format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
}

/// Imports this many changes of one type.
fn import(home: &Home, name: &str, changes: std::ops::Range<u32>) {
    let res = "example.org/v1/widgets";
    let line = |t: u64, what: &str, frame: Value| json!({ "t": t, "res": res, "what": what, "frame": frame });
    let start = 1_795_460_600_000_000_000_u64;
    let mut lines = Vec::new();
    if changes.start == 0 {
        let list = json!({ "kind": "List", "metadata": { "resourceVersion": "1" }, "items": [] });
        lines.push(line(start, "list", list).to_string());
    }
    for n in changes {
        let meta = json!({
            "name": format!("w{n}"), "namespace": "x", "uid": format!("u{n}"),
            "resourceVersion": (n + 2).to_string(),
        });
        let frame = json!({ "type": "ADDED", "object": { "metadata": meta } });
        lines.push(line(start + 1 + u64::from(n), "watch", frame).to_string());
    }
    let file = home.file(name, lines.join("\n"));
    home.run(&["import", &file, "--cluster", "c"]).expect(0);
}

/// Names in the batches, each batch once, and that no batch came with other bytes.
fn names(deliveries: &[Delivery]) -> Vec<String> {
    let mut seen: std::collections::HashMap<&str, &str> = std::collections::HashMap::new();
    let mut names = Vec::new();
    for delivery in deliveries {
        if let Some(before) = seen.insert(&delivery.id, &delivery.body) {
            assert_eq!(before, delivery.body, "{} came again as another", delivery.id);
            continue;
        }
        let body: Value = serde_json::from_str(&delivery.body).unwrap();
        assert_eq!(body["kind"], "ChangeBatch");
        for item in body["items"].as_array().unwrap().iter().filter(|i| i["event"] == "change") {
            names.push(item["data"]["of"]["name"].as_str().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn each_change_arrives_once_and_in_order_whatever_goes_wrong() {
    let home = Home::new();
    let up = home.up(&[]);
    import(&home, "first.jsonl", 0..40);
    let replies = [Reply::Nothing, Reply::Status(500), Reply::Status(200), Reply::Nothing];
    let (url, deliveries) = receiver(replies.to_vec());
    let args = [
        "webhook",
        &url,
        "widgets",
        "-A",
        "--from-index",
        "0",
        "--state",
        "hook",
        "--secret-file",
        "secret",
        "--batch",
        "15",
    ];
    let start = || {
        let mut command = home.command(&args);
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let sender = start();
    let mut got = Vec::new();
    // The third try of the first batch is taken; the sender dies in the middle of the second batch.
    while got.len() < 4 {
        got.push(deliveries.recv_timeout(PATIENCE).unwrap());
    }
    drop(sender);
    assert_eq!(got.iter().map(|d| &d.id).collect::<BTreeSet<_>>().len(), 2);

    let _sender = start();
    import(&home, "second.jsonl", 40..55);
    let wanted: Vec<String> = (0..55).map(|n| format!("w{n}")).collect();
    while names(&got).len() < wanted.len() {
        got.push(deliveries.recv_timeout(PATIENCE).unwrap());
    }
    assert_eq!(names(&got), wanted);
    let secret = std::fs::read_to_string(home.path().join("secret")).unwrap();
    got.iter().for_each(|delivery| check(delivery, &secret));

    // What a batch says can be proven: its checkpoint is signed by the log, and covers its records.
    let body: Value = serde_json::from_str(&got[0].body).unwrap();
    home.file("checkpoint", body["checkpoint"].as_str().unwrap());
    let index = body["items"][0]["data"]["index"].to_string();
    home.run(&["log", "prove", &index, "--out", "r.tlog-proof"]).expect(0);
    let key = home.data().join("keys/log.pub");
    home.run(&["verify", "r.tlog-proof", "--key", key.to_str().unwrap()]).expect(0);
    assert_eq!(up.stop().0, 0);
}

#[test]
fn a_batch_that_is_never_taken_is_put_aside_and_the_next_one_follows() {
    let home = Home::new();
    let up = home.up(&[]);
    import(&home, "first.jsonl", 0..4);
    let (url, deliveries) = receiver(vec![Reply::Status(500)]);
    let args = [
        "webhook",
        &url,
        "widgets",
        "-A",
        "--from-index",
        "0",
        "--state",
        "hook",
        "--secret-file",
        "secret",
        "--batch",
        "2",
        "--give-up-after",
        "0",
    ];
    let mut command = home.command(&args);
    let sender = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let first = deliveries.recv_timeout(PATIENCE).unwrap();
    let second = deliveries.recv_timeout(PATIENCE).unwrap();
    assert_eq!(names(&[second]), ["w2", "w3"]);
    let dead = home.path().join(format!("hook/dead/{}.json", first.id));
    assert_eq!(std::fs::read_to_string(dead).unwrap(), first.body);
    // A second sender would deliver twice.
    let other = home.run(&args).expect(1);
    assert!(other.stderr.contains("another sender"), "{other:#?}");
    drop(sender);
    assert_eq!(up.stop().0, 0);
}

#[test]
fn changes_are_not_sent_in_clear_to_other_machines() {
    let home = Home::new();
    let args = ["--state", "hook", "--secret-file", "secret"];
    for (url, what) in [
        ("http://192.0.2.1/", "no TLS"),
        ("ftp://127.0.0.1/", "not an http"),
        ("nonsense", "not a URL"),
    ] {
        let run = home.run(&[&["webhook", url][..], &args].concat()).expect(2);
        assert!(run.stderr.contains(what), "{run:#?}");
    }
}
