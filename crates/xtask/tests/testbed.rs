//! The test bed does what tests of other crates rely on. Needs Go; not run without it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use xtask::churn::{Churn, ChurnOptions};
use xtask::exact::{ExactList, Sampler, SamplerOptions};
use xtask::testbed::{Testbed, TestbedError, TestbedOptions};

#[test]
fn a_control_plane_runs_pods_restarts_and_compacts() -> Result<(), TestbedError> {
    let Some(mut bed) = Testbed::for_test(&TestbedOptions::default())? else { return Ok(()) };
    pods_get_addresses_and_reuse_them(&bed)?;
    jobs_finish(&bed)?;
    churn_changes_what_exact_lists_show(&bed)?;
    what_was_written_survives_a_restart(&mut bed)?;
    old_revisions_go(&mut bed)?;
    audit_events_arrive_twice(&bed);
    let dir = bed.dir().to_owned();
    drop(bed);
    assert!(!dir.exists(), "its folder goes with it");
    Ok(())
}

/// Names and addresses of running pods, once there are `count` of them.
fn running_pods(bed: &Testbed, count: usize) -> Result<BTreeMap<String, String>, TestbedError> {
    let path = "-o=jsonpath={range .items[*]}{.metadata.name}={.status.podIP}{'\\n'}{end}";
    for _ in 0..100 {
        let args = ["get", "pods", "--field-selector=status.phase=Running", path];
        let text = bed.kubectl(&args)?;
        let pods: BTreeMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, address)| (name.to_owned(), address.to_owned()))
            .collect();
        if pods.len() == count && pods.values().all(|address| address.starts_with("10.42.")) {
            return Ok(pods);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{count} pods did not run in time")
}

fn pods_get_addresses_and_reuse_them(bed: &Testbed) -> Result<(), TestbedError> {
    bed.kubectl(&["create", "deployment", "web", "--image=web:1", "--replicas=12"])?;
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut handed_out = 0;
    for _ in 0..3 {
        let pods = running_pods(bed, 12)?;
        let now: BTreeSet<String> = pods.values().cloned().collect();
        assert_eq!(now.len(), 12, "no two running pods share an address: {pods:?}");
        handed_out += now.len();
        seen.extend(now);
        bed.kubectl(&["delete", "pods", "--all"])?;
    }
    assert!(seen.len() < handed_out, "addresses are reused");
    bed.kubectl(&["delete", "deployment", "web"]).map(drop)
}

fn jobs_finish(bed: &Testbed) -> Result<(), TestbedError> {
    bed.kubectl(&["create", "job", "once", "--image=job:1"])?;
    bed.kubectl(&["wait", "--for=condition=Complete", "job/once", "--timeout=30s"]).map(drop)
}

fn churn_changes_what_exact_lists_show(bed: &Testbed) -> Result<(), TestbedError> {
    let file = bed.dir().join("exact.jsonl");
    let churn =
        Churn::start(&ChurnOptions { operations_per_second: 10.0, ..ChurnOptions::on(bed, 7) })?;
    let sampler = Sampler::start(&SamplerOptions::on(bed, &file, 7))?;
    std::thread::sleep(Duration::from_secs(8));
    let (done, taken) = (churn.stop(), sampler.stop()?);
    assert!(done.total() > 30, "{done:?}");
    assert!(done.refused + done.unanswered < done.total() / 2, "{done:?}");
    assert!(taken.lists > 15, "{taken:?}");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let lists: Vec<ExactList> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    assert_eq!(lists.len() as u64, taken.lists);
    let revisions: BTreeSet<&str> = lists.iter().map(|list| list.rv.as_str()).collect();
    assert!(revisions.len() > 5, "{revisions:?}");
    assert!(lists.iter().any(|list| list.res == "v1/pods" && !list.items.is_empty()));
    Ok(())
}

fn old_revisions_go(bed: &mut Testbed) -> Result<(), TestbedError> {
    let old = bed.compact_etcd()?;
    bed.kubectl(&["create", "configmap", "after-compaction"])?;
    let get = |bed: &Testbed, revision: u64| {
        bed.etcdctl(&["get", "/registry", "--prefix", "--keys-only", &format!("--rev={revision}")])
    };
    get(bed, old)?;
    assert!(get(bed, old - 1).is_err_and(|error| error.to_string().contains("compacted")));

    let revision = bed.expire_watches()?;
    assert!(revision > old);
    for query in ["resourceVersionMatch=Exact", "watch=true&timeoutSeconds=1"] {
        let path = format!("--raw=/api/v1/configmaps?{query}&resourceVersion={old}");
        let answer = bed.kubectl(&["get", &path]).unwrap_or_else(|error| error.to_string());
        let expired = answer.contains("too old") || answer.contains("compacted");
        assert!(expired, "{query}: {answer}");
    }
    Ok(())
}

fn what_was_written_survives_a_restart(bed: &mut Testbed) -> Result<(), TestbedError> {
    bed.kubectl(&["create", "configmap", "before-restart"])?;
    bed.stop_apiserver()?;
    assert!(bed.kubectl(&["get", "configmap", "before-restart"]).is_err());
    assert!(bed.status().iter().any(|c| c.name == "kube-apiserver" && !c.alive));
    bed.start_apiserver()?;
    bed.kubectl(&["get", "configmap", "before-restart"])?;
    assert!(bed.status().iter().all(|component| component.alive));
    Ok(())
}

fn audit_events_arrive_twice(bed: &Testbed) {
    // The webhook's batches wait up to a second.
    std::thread::sleep(Duration::from_secs(2));
    for file in [bed.audit_log(), bed.audit_webhook_log()] {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(text.contains("before-restart"), "{}", file.display());
    }
}

#[test]
fn a_folder_is_not_used_twice() -> Result<(), TestbedError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options =
        TestbedOptions { dir: Some(dir.path().join("bed")), nodes: 0, ..TestbedOptions::default() };
    let Some(bed) = Testbed::for_test(&options)? else { return Ok(()) };
    assert!(matches!(Testbed::start(&options), Err(TestbedError::Running { .. })));
    bed.stop()?;
    assert!(matches!(Testbed::attach(&dir.path().join("bed")), Err(TestbedError::Absent { .. })));
    Ok(())
}
