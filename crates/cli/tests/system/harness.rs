//! A user's home directory, `stele` in it, and a client.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A home with nothing in it.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

/// What a command said.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn ok(self) -> String {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stele"));
        command.env_remove("KUBECONFIG").env("HOME", self.dir.path());
        for (variable, folder) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "share"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
        ] {
            command.env(variable, self.dir.path().join(folder));
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command().args(arguments).output().unwrap();
        Ran {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `stele up` on a free port with this home's data.
    pub(crate) fn up(&self, arguments: &[&str]) -> Up {
        self.up_at("127.0.0.1:0", arguments)
    }

    /// `stele up` at a given address.
    pub(crate) fn up_at(&self, listen: &str, arguments: &[&str]) -> Up {
        let mut child = self
            .command()
            .args(["up", "--listen", listen, "--data"])
            .arg(self.data())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::from(std::fs::File::create(self.path("up.log")).unwrap()))
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let Some(line) = lines.next() else {
                let status = child.wait().unwrap();
                let log = std::fs::read_to_string(self.path("up.log")).unwrap();
                panic!("stele up ended with {status}: {log}");
            };
            let line = line.unwrap();
            if let Some(url) = line.strip_prefix("api ") {
                break url.trim().to_owned();
            }
        };
        // Keeps the pipe open and empty.
        std::thread::spawn(move || lines.for_each(drop));
        let token = std::fs::read_to_string(self.data().join("keys/admin.token")).unwrap();
        Up { child, url, token: token.trim().to_owned() }
    }
}

/// A running `stele up`; ended by force when dropped.
pub(crate) struct Up {
    child: Child,
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Up {
    pub(crate) fn client(&self) -> Client {
        Client {
            http: reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap(),
            url: self.url.clone(),
            token: self.token.clone(),
        }
    }

    /// SIGKILL: no handler runs, nothing is written any more.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for an orderly end.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "stele up ended with {status}");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Ended already, or ended now: nothing is left either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Speaks HTTP with the owner's token.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// How often a request is made again that was told to come again.
const COME_AGAIN_MAX: usize = 60;

impl Client {
    /// Comes again when it is told to: views may lag behind on a busy machine.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        let mut tries = 0;
        loop {
            let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
            let response = request.send().await?;
            let after = response
                .headers()
                .get("retry-after")
                .and_then(|after| after.to_str().ok()?.parse().ok().map(Duration::from_secs));
            match after {
                Some(after) if tries < COME_AGAIN_MAX => {
                    tries += 1;
                    tokio::time::sleep(after).await;
                }
                _ => return Ok(response),
            }
        }
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        media_type: &str,
        body: String,
    ) -> reqwest::Result<reqwest::Response> {
        self.http
            .post(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .header("content-type", media_type)
            .body(body)
            .send()
            .await
    }
}

/// The recordings to test with; `None`, said aloud, where there are none.
pub(crate) fn recordings() -> Option<PathBuf> {
    let given = std::env::var_os("STELE_RECORDINGS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    let found = given.or_else(|| beside.is_dir().then_some(beside));
    if found.is_none() {
        xtask::not_run::report(&"no recordings; point STELE_RECORDINGS to their folder");
    }
    found
}

/// The lines of a zstd file.
pub(crate) fn lines_of(path: &Path) -> Vec<String> {
    let mut text = String::new();
    zstd::Decoder::new(std::fs::File::open(path).unwrap())
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A number from the environment.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

/// xorshift64*: the moments need to be spread, not secret.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}
