//! The columns of tables, kind by kind.

use serde_json::json;

use super::*;

const NOW: i64 = 1_795_403_529_000_000_000; // 2026-11-23T03:12:09Z

fn row(group: &str, kind: &str, value: &Value) -> String {
    let object = Object::new(value, NOW);
    let cells = Columns::of(group, kind).all.into_iter().map(|c| scalar(&c.cell(&object)));
    cells.collect::<Vec<_>>().join("|")
}

fn pod(status: &Value) -> Value {
    json!({
        "metadata": {"name": "web", "creationTimestamp": "2026-11-23T03:07:09Z"},
        "spec": {"nodeName": "n1", "containers": [{"name": "a"}, {"name": "b"}]},
        "status": status,
    })
}

#[test]
fn a_pod_shows_what_its_containers_say() {
    let running = json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [
        {"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}},
        {"name": "b", "ready": false, "restartCount": 3,
         "state": {"waiting": {"reason": "CrashLoopBackOff"}},
         "lastState": {"terminated": {"finishedAt": "2026-11-23T03:11:09Z"}}},
    ]});
    assert_eq!(
        row("", "Pod", &pod(&running)),
        "web|1/2|CrashLoopBackOff|3 (60s ago)|5m|10.0.0.1|n1|<none>|<none>"
    );
    let pending = json!({"phase": "Pending"});
    assert_eq!(row("", "Pod", &pod(&pending)), "web|0/2|Pending|0|5m|<none>|n1|<none>|<none>");
    let mut dying = pod(&running);
    dying["metadata"]["deletionTimestamp"] = json!("2026-11-23T03:12:00Z");
    assert!(row("", "Pod", &dying).contains("|Terminating|"));
}

#[test]
fn a_pod_with_init_containers_counts_them() {
    let mut value = pod(&json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "state": {"terminated": {"exitCode": 0}}},
        {"name": "j", "state": {"running": {}}},
    ]}));
    value["spec"]["initContainers"] = json!([{"name": "i"}, {"name": "j"}]);
    assert!(row("", "Pod", &value).contains("|Init:1/2|"));
}

#[test]
fn workloads_and_services_show_kubectls_columns() {
    let deployment = json!({
        "metadata": {"name": "web", "creationTimestamp": "2026-11-23T03:07:09Z"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
                 "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}},
        "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2},
    });
    assert_eq!(row("apps", "Deployment", &deployment), "web|2/3|3|2|5m|c|i:1|app=web");
    let service = json!({
        "metadata": {"name": "s", "creationTimestamp": "2026-11-23T03:12:09Z"},
        "spec": {"type": "NodePort", "clusterIPs": ["10.96.0.1"], "selector": {"a": "b"},
                 "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]},
    });
    assert_eq!(
        row("", "Service", &service),
        "s|NodePort|10.96.0.1|<none>|80:30080/TCP,53/UDP|0s|a=b"
    );
}

#[test]
fn anything_else_has_a_name_and_an_age_and_never_panics() {
    let odd =
        json!({"metadata": {"name": 7, "creationTimestamp": "yesterday"}, "spec": [], "status": 1});
    assert_eq!(row("x.io", "Widget", &odd), "7|<invalid>");
    for (group, kind, ..) in tables() {
        row(group, kind, &odd);
        row(group, kind, &Value::Null);
    }
}

#[test]
fn a_definition_says_which_columns_its_objects_have() {
    let columns = Columns::custom(&[
        json!({"name": "Color", "type": "string", "jsonPath": ".spec.color"}),
        json!({"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1}),
        json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}),
        json!({"name": "Odd", "type": "string", "jsonPath": "..x"}),
    ]);
    let text = r#"{"metadata":{"name":"w","creationTimestamp":"2026-11-23T03:07:09Z"},
                   "spec":{"color":"red","size":3,"more":{}}}"#;
    let value = columns.mask().read(text);
    let object = Object::new(&value, NOW);
    let cells: Vec<Value> = columns.iter().map(|column| column.cell(&object)).collect();
    assert_eq!(json!(cells), json!(["w", "red", 3, "5m", null]));
    assert_eq!(columns.iter().filter(|column| column.is_wide()).count(), 1);
    let usual = Columns::custom(&[]);
    assert_eq!(usual.iter().map(Column::title).collect::<Vec<_>>(), ["Name", "Age"]);
}
