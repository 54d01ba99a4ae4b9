//! `stele history` and `stele referrers` of objects with their audit events.

use serde_json::{Value, json};

use crate::support::Home;

fn object(kind: &str, name: &str, rv: u32, more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": if kind == "Deployment" || kind == "ReplicaSet" { "apps/v1" } else { "v1" },
        "kind": kind,
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-of-{name}"),
            "resourceVersion": rv.to_string(),
        },
    });
    for (key, value) in more.as_object().unwrap() {
        match object.get_mut(key).and_then(Value::as_object_mut) {
            Some(known) => known.extend(value.as_object().unwrap().clone()),
            None => object[key] = value.clone(),
        }
    }
    object
}

fn line(second: u32, res: &str, what: &str, frame: &Value) -> String {
    let t = 1_795_460_600_000_000_000_u64 + u64::from(second) * 1_000_000_000;
    json!({ "t": t, "res": res, "what": what, "frame": frame }).to_string()
}

fn empty_list(res: &str) -> String {
    let list = json!({ "kind": "List", "metadata": { "resourceVersion": "9" }, "items": [] });
    line(0, res, "list", &list)
}

fn frame(second: u32, res: &str, verb: &str, object: &Value) -> String {
    line(second, res, "watch", &json!({ "type": verb, "object": object }))
}

fn audit(second: u32, verb: &str, user: &str, resource: &str, object: &Value) -> String {
    let time = format!("2026-11-23T19:03:{:02}.000000Z", 20 + second);
    json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
        "auditID": format!("audit-{second}"), "stage": "ResponseComplete", "verb": verb,
        "user": { "username": user }, "sourceIPs": ["192.0.2.7"], "userAgent": "kubectl",
        "objectRef": {
            "apiGroup": "apps", "resource": resource, "namespace": "shop",
            "name": object["metadata"]["name"],
        },
        "responseStatus": { "code": 200 }, "responseObject": object,
        "requestReceivedTimestamp": time, "stageTimestamp": time,
    })
    .to_string()
}

#[test]
fn a_history_tells_who_changed_what_and_what_was_owned() {
    let home = Home::new();
    let (deployments, sets) = ("apps/v1/deployments", "apps/v1/replicasets");
    let first = object("Deployment", "web", 10, &json!({ "spec": { "replicas": 1 } }));
    let second = object("Deployment", "web", 12, &json!({ "spec": { "replicas": 3 } }));
    let owner =
        json!([{ "kind": "Deployment", "name": "web", "uid": "uid-of-web", "controller": true }]);
    let set =
        object("ReplicaSet", "web-1", 11, &json!({ "metadata": { "ownerReferences": owner } }));
    let frames = [
        empty_list(deployments),
        empty_list(sets),
        frame(1, deployments, "ADDED", &first),
        frame(2, sets, "ADDED", &set),
        frame(3, deployments, "MODIFIED", &second),
    ];
    let audits = [
        audit(1, "create", "ann", "deployments", &first),
        audit(3, "patch", "bob", "deployments", &second),
    ];
    let (frames, audits) =
        (home.file("frames.jsonl", frames.join("\n")), home.file("audit.jsonl", audits.join("\n")));
    let up = home.up(&[]);
    home.run(&["import", &frames, "--cluster", "c"]).expect(0);
    home.run(&["import", &audits, "--cluster", "c"]).expect(0);

    let told = home.run(&["history", "deploy/web", "-n", "shop", "--owned", "--changes"]).expect(0);
    let lines: Vec<&str> = told.stdout.lines().collect();
    let wanted = [
        "OBJECT",
        "deployments.apps/shop/web      10                ann create",
        "replicasets.apps/shop/web-1    11                -",
        "deployments.apps/shop/web      12                bob patch",
        "    /spec/replicas: 1 → 3",
    ];
    assert_eq!(lines.len(), wanted.len(), "{told:#?}");
    for (line, wanted) in lines.iter().zip(wanted) {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed(line).contains(&squeezed(wanted)), "{wanted}: {told:#?}");
    }

    let items = home.run(&["history", "deploy/web", "-n", "shop", "-o", "json"]).expect(0).json();
    let by = &items["items"][1]["by"];
    assert_eq!(by["basis"], "resource-version");
    assert_eq!(by["user"], "bob");
    assert_eq!(by["auditID"], "audit-3");
    assert_eq!(by["sourceIPs"][0], "192.0.2.7");
    // What is said of the request stands in the log.
    let event = home.run(&["log", "get", &by["index"].to_string(), "-o", "payload"]).expect(0);
    assert_eq!(event.json()["auditID"], "audit-3");

    let referrers = home.run(&["referrers", "deploy/web", "-n", "shop"]).expect(0);
    assert!(referrers.stdout.contains("replicasets.apps/shop/web-1"), "{referrers:#?}");
    home.run(&["referrers", "rs/web-1", "-n", "shop"]).expect(3);
    assert_eq!(up.stop().0, 0);
}
