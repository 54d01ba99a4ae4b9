//! A PostgreSQL server of one's own, in a temporary folder, reached through a socket in it and no
//! other way. It ends with the benchmark, however that ends.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use postgres::{Client, Config, NoTls};

use crate::Fault;
use crate::peers::CACHE_BYTES;

/// Where distributions put the programs, by version.
const INSTALLED: &str = "/usr/lib/postgresql";
/// Users that a server may run as, where the benchmark runs as root.
const USERS: [&str; 2] = ["postgres", "nobody"];
const USER: &str = "stele";
/// How often it is tried to connect, a tenth of a second apart.
const TRIES: u32 = 300;

/// What its documentation advises for a view that can be made again, on a disk without heads, with
/// as much memory for pages as the state view has.
const SETTINGS: [(&str, &str); 17] = [
    ("listen_addresses", ""),
    ("synchronous_commit", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "4GB"),
    ("wal_compression", "lz4"),
    ("default_toast_compression", "lz4"),
    ("maintenance_work_mem", "256MB"),
    ("work_mem", "64MB"),
    ("effective_cache_size", "8GB"),
    ("random_page_cost", "1.1"),
    ("effective_io_concurrency", "200"),
    ("max_connections", "10"),
    ("jit", "off"),
    ("huge_pages", "off"),
    ("checkpoint_timeout", "15min"),
    ("log_min_messages", "error"),
];

/// See the module.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    server: Child,
}

impl Cluster {
    /// Makes a server and starts it; an error says why there can be none.
    pub(crate) fn start(dir: tempfile::TempDir) -> Result<Self, Fault> {
        let programs = programs().ok_or("there is no initdb in PATH or /usr/lib/postgresql")?;
        let user = match fs::metadata("/proc/self")?.uid() {
            0 => Some(unprivileged()?),
            _ => None,
        };
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid))?;
        }
        // Only its user comes through to the socket, which trusts everybody.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700))?;
        let data = dir.path().join("data");
        let mut initdb = command(user, &programs.join("initdb"));
        initdb.args(["--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=reject"]);
        initdb.args(["--username", USER, "--no-instructions", "--pgdata"]).arg(&data);
        let done = initdb.current_dir("/").output();
        let done = done.map_err(|e| format!("setpriv, of util-linux, can't be run: {e}"))?;
        if !done.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&done.stderr)).into());
        }
        let log = fs::File::create(dir.path().join("log"))?;
        let mut server = command(user, &programs.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(dir.path());
        server.arg("-c").arg(format!("shared_buffers={}kB", CACHE_BYTES / 1024));
        for (name, value) in SETTINGS {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        server.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let server = server.spawn()?;
        Ok(Self { dir, programs, user, server })
    }

    /// Connects, as soon as the server takes connections.
    pub(crate) fn connect(&mut self) -> Result<Client, Fault> {
        let mut config = Config::new();
        config.host_path(self.dir.path()).user(USER).dbname("postgres");
        let mut tries = 0;
        loop {
            match config.connect(NoTls) {
                Ok(client) => return Ok(client),
                Err(_) if tries < TRIES && self.server.try_wait()?.is_none() => tries += 1,
                Err(error) => {
                    let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                    return Err(format!("the server does not answer: {error}\n{log}").into());
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// Processor time of the server and all that it has started, in seconds.
    pub(crate) fn cpu_s(&self) -> f64 {
        let server = self.server.id().to_string();
        let ticks = |stat: &str| -> f64 {
            let fields: Vec<&str> =
                stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let parent = fields.get(1).copied().unwrap_or_default();
            // Of the server also what it has waited for.
            let wanted = match () {
                () if stat.starts_with(&format!("{server} ")) => 4,
                () if parent == server => 2,
                () => 0,
            };
            let times = fields.iter().skip(11).take(wanted);
            times.filter_map(|field| field.parse::<f64>().ok()).sum()
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let stats = processes.filter_map(|process| {
            process.file_name().to_str()?.parse::<u32>().ok()?;
            fs::read_to_string(process.path().join("stat")).ok()
        });
        stats.map(|stat| ticks(&stat)).sum::<f64>() / 100.0
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = command(self.user, &self.programs.join("pg_ctl"));
        stop.args(["stop", "--mode=immediate", "--silent", "--pgdata"]);
        let stopped = stop.arg(self.dir.path().join("data")).current_dir("/").status();
        if !stopped.is_ok_and(|status| status.success()) {
            // Its children notice.
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

/// A program of PostgreSQL, which refuses to run as root. The kernel interrupts it when the
/// benchmark dies.
fn command(user: Option<(u32, u32)>, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if let Some((uid, gid)) = user {
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
    }
    command.args(["--pdeathsig", "INT", "--"]).arg(program);
    command
}

fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut installed: Vec<(u32, PathBuf)> = fs::read_dir(INSTALLED)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    installed.sort_unstable();
    std::env::split_paths(&path)
        .chain(installed.into_iter().rev().map(|(_, programs)| programs))
        .find(|programs| programs.join("initdb").is_file())
}

/// User and group of somebody else than root.
fn unprivileged() -> Result<(u32, u32), Fault> {
    let users = fs::read_to_string("/etc/passwd")?;
    let find = |wanted: &&str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut numbers = line.split(':').skip(2).map_while(|field| field.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    };
    let found = USERS.iter().find_map(find);
    found.ok_or_else(|| "as root there must be a user postgres or nobody to run it as".into())
}
