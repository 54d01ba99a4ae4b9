//! A small API server: lists in pages, watches with bookmarks, forgets old versions, and does what
//! servers do when they are at their worst.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

/// One type of objects.
pub(crate) struct Type {
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) objects: BTreeMap<String, Value>,
    /// Lines of the watch, with their versions.
    pub(crate) log: Vec<(u64, String)>,
    /// Versions before this one are forgotten.
    pub(crate) compacted: u64,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) rv: u64,
    pub(crate) types: BTreeMap<&'static str, Type>,
    /// Answers to give before the ordinary ones: path prefix, status, body.
    pub(crate) answers: VecDeque<(&'static str, u16, &'static str)>,
    /// Lines to send in the next watch of a type, then end it.
    pub(crate) lines: BTreeMap<&'static str, Vec<Bytes>>,
    pub(crate) requests: Vec<String>,
    /// Schemas by their names, and what `/version` says.
    pub(crate) schemas: BTreeMap<&'static str, &'static str>,
    pub(crate) version: &'static str,
    /// How long a watch from a forgotten version stays silent before it says so.
    pub(crate) late_errors: std::time::Duration,
}

#[derive(Clone)]
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
    changed: watch::Sender<u64>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Ends it as a kill does: connections break.
    pub(crate) async fn kill(self) {
        self.stop.send_replace(true);
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Fake {
    pub(crate) fn new() -> Self {
        let fake = Self { world: Arc::default(), changed: watch::channel(0).0 };
        fake.add_type("v1/namespaces", "Namespace", false);
        fake.add_type("v1/pods", "Pod", true);
        fake.add_type("v1/secrets", "Secret", true);
        fake.add_type(
            "apiextensions.k8s.io/v1/customresourcedefinitions",
            "CustomResourceDefinition",
            false,
        );
        fake.put("v1/namespaces", "kube-system", json!({}));
        fake
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn add_type(&self, path: &'static str, kind: &'static str, namespaced: bool) {
        let new = Type {
            kind,
            namespaced,
            objects: BTreeMap::new(),
            log: Vec::new(),
            compacted: self.world().rv,
        };
        self.world().types.insert(path, new);
    }

    pub(crate) fn remove_type(&self, path: &'static str) {
        self.world().types.remove(path);
        self.wake();
    }

    fn wake(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Creates or changes an object; gives its version.
    pub(crate) fn put(&self, path: &'static str, name: &str, extra: Value) -> u64 {
        let mut world = self.world();
        world.rv += 1;
        let rv = world.rv;
        let kind = world.types[path].kind;
        let version = path.rsplit_once('/').unwrap().0;
        let mut object = json!({"kind": kind, "apiVersion": version, "metadata":
            {"name": name, "uid": format!("uid-{name}"), "resourceVersion": rv.to_string()}});
        object.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let found = world.types.get_mut(path).unwrap();
        let old = found.objects.insert(name.to_owned(), object.clone());
        let verb = if old.is_some() { "MODIFIED" } else { "ADDED" };
        found.log.push((rv, json!({"type": verb, "object": object}).to_string()));
        drop(world);
        self.wake();
        rv
    }

    pub(crate) fn delete(&self, path: &'static str, name: &str) {
        let mut world = self.world();
        world.rv += 1;
        let rv = world.rv;
        let found = world.types.get_mut(path).unwrap();
        let mut object = found.objects.remove(name).unwrap();
        object["metadata"]["resourceVersion"] = json!(rv.to_string());
        found.log.push((rv, json!({"type": "DELETED", "object": object}).to_string()));
        drop(world);
        self.wake();
    }

    pub(crate) fn bookmark(&self, path: &'static str) {
        let mut world = self.world();
        let rv = world.rv;
        let found = world.types.get_mut(path).unwrap();
        let object = json!({"kind": found.kind, "metadata": {"resourceVersion": rv.to_string()}});
        found.log.push((rv, json!({"type": "BOOKMARK", "object": object}).to_string()));
        drop(world);
        self.wake();
    }

    /// Restores a backup in which there is nothing but namespaces, at version `rv`.
    pub(crate) fn set_back(&self, rv: u64) {
        let mut world = self.world();
        world.rv = rv;
        for (path, found) in &mut world.types {
            found.log.retain(|(at, _)| *at <= rv);
            found.compacted = 0;
            if *path != "v1/namespaces" {
                found.objects.clear();
            }
        }
    }

    /// Forgets everything before now.
    pub(crate) fn compact(&self) {
        let mut world = self.world();
        let rv = world.rv;
        for found in world.types.values_mut() {
            found.compacted = rv;
        }
    }

    pub(crate) fn answer(&self, prefix: &'static str, status: u16, body: &'static str) {
        self.world().answers.push_back((prefix, status, body));
    }

    pub(crate) fn requests(&self, prefix: &str) -> usize {
        self.world().requests.iter().filter(|uri| uri.starts_with(prefix)).count()
    }

    pub(crate) async fn serve(&self, address: Option<SocketAddr>) -> Server {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(address.unwrap_or(any)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let state = (self.clone(), stopped);
        let router = Router::new().fallback(handle).with_state(state);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Server { address, task, stop }
    }
}

type Params = BTreeMap<String, String>;

async fn handle(
    State((fake, stopped)): State<(Fake, watch::Receiver<bool>)>,
    Query(params): Query<Params>,
    uri: Uri,
) -> Response {
    if *stopped.borrow() {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let mut world = fake.world();
    world.requests.push(uri.to_string());
    let scripted =
        world.answers.iter().position(|(prefix, ..)| uri.to_string().starts_with(prefix));
    if let Some((_, status, body)) = scripted.and_then(|at| world.answers.remove(at)) {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    match uri.path() {
        "/api" | "/apis" => return discovery(&world, uri.path()).to_string().into_response(),
        "/api/v1/namespaces/kube-system" => {
            return world.types["v1/namespaces"].objects["kube-system"].to_string().into_response();
        }
        "/version" if !world.version.is_empty() => return world.version.into_response(),
        "/openapi/v3" if !world.schemas.is_empty() => {
            return schemas(&world).to_string().into_response();
        }
        path => {
            if let Some(name) = path.strip_prefix("/openapi/v3/")
                && let Some(schema) = world.schemas.get(name)
            {
                return (*schema).into_response();
            }
        }
    }
    let path = uri.path().trim_start_matches("/apis/").trim_start_matches("/api/").to_owned();
    let Some((path, _)) = world.types.get_key_value(path.as_str()).map(|(k, v)| (*k, v)) else {
        return status(404, "the server could not find the requested resource");
    };
    if !params.contains_key("watch") {
        return list(&world, path, &params);
    }
    let from: u64 = params["resourceVersion"].parse().unwrap();
    if from < world.types[path].compacted {
        let line = format!("{}\n", json!({"type": "ERROR", "object": expired(from)}));
        let late = world.late_errors;
        if late.is_zero() {
            return line.into_response();
        }
        let line = async move {
            tokio::time::sleep(late).await;
            Ok::<_, Infallible>(Bytes::from(line))
        };
        let (send, receive) = mpsc::channel(1);
        tokio::spawn(async move { send.send(line.await).await });
        return Body::from_stream(ReceiverStream::new(receive)).into_response();
    }
    let scripted = world.lines.remove(path);
    drop(world);
    if let Some(lines) = scripted {
        let lines = lines.into_iter().map(Ok::<_, Infallible>);
        return Body::from_stream(tokio_stream::iter(lines)).into_response();
    }
    let (send, receive) = mpsc::channel(16);
    tokio::spawn(follow(fake.clone(), path, from, send, stopped));
    Body::from_stream(ReceiverStream::new(receive)).into_response()
}

async fn follow(
    fake: Fake,
    path: &'static str,
    from: u64,
    send: mpsc::Sender<Result<Bytes, std::io::Error>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut changed = fake.changed.subscribe();
    let skip =
        |world: &World| world.types.get(path).map(|t| t.log.partition_point(|l| l.0 <= from));
    let Some(mut next) = skip(&fake.world()) else { return };
    loop {
        let lines = match fake.world().types.get(path) {
            Some(found) => found.log[next..].to_vec(),
            None => return,
        };
        next += lines.len();
        for (_, line) in lines {
            if send.send(Ok(Bytes::from(format!("{line}\n")))).await.is_err() {
                return;
            }
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = send.closed() => return,
            _ = stopped.changed() => {
                let _ = send.send(Err(std::io::Error::other("killed"))).await;
                return;
            }
        }
    }
}

fn list(world: &World, path: &str, params: &Params) -> Response {
    let found = &world.types[path];
    let limit: usize = params["limit"].parse().unwrap();
    let (at, rv) = match params.get("continue") {
        None => (0, world.rv),
        Some(token) => {
            let (at, rv) = token.split_once('@').unwrap();
            (at.parse().unwrap(), rv.parse().unwrap())
        }
    };
    if rv < found.compacted {
        return status(410, "The provided continue parameter is too old");
    }
    let items: Vec<&Value> = found.objects.values().skip(at).take(limit).collect();
    let mut metadata = json!({"resourceVersion": rv.to_string()});
    if at + limit < found.objects.len() {
        metadata["continue"] = json!(format!("{}@{rv}", at + limit));
    }
    let kind = format!("{}List", found.kind);
    json!({"kind": kind, "metadata": metadata, "items": items}).to_string().into_response()
}

fn discovery(world: &World, root: &str) -> Value {
    let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (path, found) in &world.types {
        let (group, resource) = match path.split('/').collect::<Vec<_>>()[..] {
            [_, resource] => ("", resource),
            [group, _, resource] => (group, resource),
            _ => unreachable!(),
        };
        if group.is_empty() != (root == "/api") {
            continue;
        }
        groups.entry(group).or_default().push(json!({
            "resource": resource, "responseKind": {"kind": found.kind}, "verbs": ["list", "watch"],
            "scope": if found.namespaced { "Namespaced" } else { "Cluster" },
        }));
    }
    let items: Vec<Value> = groups
        .into_iter()
        .map(|(group, resources)| {
            json!({"metadata": {"name": group},
                   "versions": [{"version": "v1", "resources": resources, "freshness": "Current"}]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items})
}

fn schemas(world: &World) -> Value {
    let paths: BTreeMap<&str, Value> = world
        .schemas
        .iter()
        .map(|(name, schema)| {
            let url = format!("/openapi/v3/{name}?hash={}", schema.len());
            (*name, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

fn expired(from: u64) -> Value {
    json!({"kind": "Status", "code": 410, "reason": "Expired",
           "message": format!("too old resource version: {from}")})
}

fn status(code: u16, message: &str) -> Response {
    let body = json!({"kind": "Status", "code": code, "message": message}).to_string();
    (StatusCode::from_u16(code).unwrap(), body).into_response()
}
