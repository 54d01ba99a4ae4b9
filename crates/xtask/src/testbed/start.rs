//! Starting a test bed, from nothing to ready nodes.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::components::{
    API_SERVER, CONTROLLER_MANAGER, ETCD, KWOK, Plan, Ports, SCHEDULER, Tools, audit_webhook_config,
};
use super::process::{Component, Identity};
use super::sink::Sink;
use super::state::{Process, State, sweep};
use super::{AuditWebhook, OnDrop, Testbed, TestbedError, TestbedOptions, pki, ports};
use crate::progress::Progress;
use crate::{go, places};

/// Name of the process that receives audit batches for a detached test bed.
const SINK: &str = "audit-sink";

/// What ends by itself when the API server has been away, and is started again: on a real node its
/// kubelet does that. The scheduler does so when a pod of a name it knows turns up on another node.
const ENDS_BY_ITSELF: [&str; 2] = [CONTROLLER_MANAGER, SCHEDULER];
/// How often that happens at most; more often, something else is wrong.
const REVIVED_MAX: usize = 10;

/// How long etcd may take until it listens.
const ETCD_SECONDS_MAX: u64 = 20;

/// Starts a test bed; an owned one ends with this process.
pub(super) fn start(options: &TestbedOptions, owned: bool) -> Result<Testbed, TestbedError> {
    let progress = if options.progress { Progress::loud() } else { Progress::quiet() };
    sweep(&places::runs());
    let tools = build(&progress)?;
    let dir = folder(options)?;
    let mut bed = prepare(options, owned, dir, &tools, progress)?;
    bed.bring_up(options)?;
    Ok(bed)
}

/// Builds the programs that are not built yet.
pub(super) fn build(progress: &Progress) -> Result<Tools, TestbedError> {
    Ok(Tools {
        etcd: go::ETCD.build(progress)?,
        kwok: go::KWOK.build(progress)?,
        kube: go::KUBE.build(progress)?,
    })
}

/// The folder of a new test bed, empty; refuses one in which a test bed runs.
fn folder(options: &TestbedOptions) -> Result<PathBuf, TestbedError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let own = || {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        places::runs().join(format!("test-{}-{number}", std::process::id()))
    };
    let dir = options.dir.clone().unwrap_or_else(own);
    if let Some(state) = State::load(&dir)? {
        if state.running().iter_mut().any(super::process::Running::is_alive) {
            return Err(TestbedError::Running { dir });
        }
        State::remove(&dir);
    }
    for old in ["etcd", "logs", "pki"] {
        let _ = fs::remove_dir_all(dir.join(old));
    }
    let logs = dir.join("logs");
    fs::create_dir_all(&logs).map_err(TestbedError::io(format!("create {}", logs.display())))?;
    fs::canonicalize(&dir).map_err(TestbedError::io(format!("find {}", dir.display())))
}

/// Everything but running processes: certificates, kubeconfigs, flags, the state file.
fn prepare(
    options: &TestbedOptions,
    owned: bool,
    dir: PathBuf,
    tools: &Tools,
    progress: Progress,
) -> Result<Testbed, TestbedError> {
    let [etcd, etcd_peer, api_server, controller_manager, scheduler, sink] = ports::free_ports()?;
    let ports = Ports { etcd, etcd_peer, api_server, controller_manager, scheduler };
    let endpoint = format!("https://127.0.0.1:{api_server}");
    let pki = pki::make(&dir, &endpoint)?;
    let (thread, process, url) = audit_receiver(options, owned, &dir, sink)?;
    if let Some(url) = &url {
        let path = dir.join("audit-webhook.kubeconfig");
        fs::write(&path, audit_webhook_config(url))
            .map_err(TestbedError::io(format!("write {}", path.display())))?;
    }
    let plan = Plan {
        dir: &dir,
        tools,
        ports,
        pki: &pki,
        etcd_compaction_interval: options.etcd_compaction_interval,
        audit_webhook: url.is_some(),
        api_server_flags: &options.api_server_flags,
    };
    let components = process.into_iter().chain(plan.components());
    let state = State {
        owner: if owned { Identity::own() } else { None },
        endpoint,
        etcd: format!("http://127.0.0.1:{etcd}"),
        kubectl: tools.kube.join("kubectl"),
        etcdctl: tools.etcd.join("etcdctl"),
        processes: components.map(|component| Process { component, identity: None }).collect(),
    };
    state.save(&dir)?;
    // A detached one is left running once it is up; a start that fails leaves nothing running.
    let on_drop = if options.dir.is_none() { OnDrop::Remove } else { OnDrop::Stop };
    Ok(Testbed { dir, state, running: Vec::new(), progress, on_drop, revived: 0, _sink: thread })
}

type Receiver = (Option<Sink>, Option<Component>, Option<String>);

/// Who receives audit batches: a thread, a process of its own, or somebody else.
fn audit_receiver(
    options: &TestbedOptions,
    owned: bool,
    dir: &Path,
    port: u16,
) -> Result<Receiver, TestbedError> {
    let file = dir.join("logs/audit-webhook.jsonl");
    match &options.audit_webhook {
        AuditWebhook::Off => Ok((None, None, None)),
        AuditWebhook::Url(url) => Ok((None, None, Some(url.clone()))),
        AuditWebhook::Sink if owned => {
            let sink = Sink::start(port, &file)?;
            let url = sink.url();
            Ok((Some(sink), None, Some(url)))
        }
        AuditWebhook::Sink => {
            let program = std::env::current_exe().map_err(TestbedError::io("find this program"))?;
            let port_text = port.to_string();
            let file = file.display().to_string();
            let args = ["testbed", "audit-sink", "--port", &port_text, "--file", &file];
            let component = Component {
                name: SINK.into(),
                program,
                args: args.map(String::from).to_vec(),
                log: dir.join("logs/audit-sink.log"),
            };
            Ok((None, Some(component), Some(format!("http://127.0.0.1:{port}/audit"))))
        }
    }
}

impl Testbed {
    fn bring_up(&mut self, options: &TestbedOptions) -> Result<(), TestbedError> {
        let detached = self.state.owner.is_none();
        if detached && self.state.processes.iter().any(|p| p.component.name == SINK) {
            self.start_component(SINK)?;
        }
        self.start_component(ETCD)?;
        self.wait_for_etcd()?;
        self.start_apiserver()?;
        for name in [CONTROLLER_MANAGER, SCHEDULER, KWOK] {
            self.start_component(name)?;
        }
        self.make_nodes(options.nodes)?;
        self.wait_for_nodes(options.nodes)?;
        if detached {
            self.on_drop = OnDrop::Leave;
        }
        self.progress.step("the test bed is up");
        Ok(())
    }

    fn wait_for_etcd(&mut self) -> Result<(), TestbedError> {
        let port = self.state.etcd.rsplit(':').next().and_then(|port| port.parse().ok());
        let port: u16 = port.unwrap_or_default();
        self.wait("etcd to listen", ETCD_SECONDS_MAX, |_| {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// Waits until the API server says it is ready.
    pub(super) fn wait_for_apiserver(&mut self) -> Result<(), TestbedError> {
        self.wait(&format!("{API_SERVER} to be ready"), 90, |bed| {
            match bed.kubectl(&["get", "--raw=/readyz", "--request-timeout=5s"]) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// Asks `ready` until it says yes; fails as soon as a component has ended that nobody starts
    /// again.
    pub(super) fn wait(
        &mut self,
        what: &str,
        seconds: u64,
        ready: impl Fn(&Self) -> Result<(), String>,
    ) -> Result<(), TestbedError> {
        let clock = Progress::quiet();
        loop {
            let last = match ready(self) {
                Ok(()) => return Ok(()),
                Err(last) => last,
            };
            if let Some(dead) = self.running.iter_mut().find_map(|r| (!r.is_alive()).then_some(r)) {
                let name = dead.component.name.clone();
                if !ENDS_BY_ITSELF.contains(&name.as_str()) || self.revived >= REVIVED_MAX {
                    return Err(dead.component.failed(&format!("ended while waiting for {what}")));
                }
                self.revived += 1;
                self.progress.important(&format!("{name} has ended"));
                self.start_component(&name)?;
            }
            if clock.elapsed() > Duration::from_secs(seconds) {
                return Err(TestbedError::Timeout { what: what.into(), seconds, last });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
