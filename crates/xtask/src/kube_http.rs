//! Plain HTTP to an API server, through a `kubectl proxy` on loopback.
//!
//! It speaks HTTP/1.0, so that the end of the connection is the end of the answer; nothing but
//! `kubectl proxy` is meant to be at the other end. It cannot watch.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::testbed::TestbedError;

/// Longest wait for an answer; the API server's own limit is a minute.
const TIMEOUT: Duration = Duration::from_secs(70);

/// A `kubectl proxy` that ends with this value.
#[derive(Debug)]
pub struct KubeHttp {
    child: Child,
    address: String,
}

/// What the API server answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status; 502 if the proxy cannot reach the API server.
    pub status: u16,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl KubeHttp {
    /// Starts a proxy to the cluster of a kubeconfig.
    pub fn start(kubectl: &Path, kubeconfig: &Path) -> Result<Self, TestbedError> {
        let mut child = Command::new(kubectl)
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["proxy", "--port=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(TestbedError::io("start kubectl proxy"))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let read = BufReader::new(stdout).read_line(&mut line);
            read.map_err(TestbedError::io("read what kubectl proxy says"))?;
        }
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        let proxy = Self { child, address };
        if !proxy.address.contains(':') {
            let context = "start kubectl proxy".into();
            return Err(TestbedError::Malformed { context, what: format!("it said {line:?}") });
        }
        Ok(proxy)
    }

    /// Reads a path.
    pub fn get(&self, path: &str) -> Result<Answer, TestbedError> {
        self.send("GET", path, "", &[])
    }

    /// Reads a path as JSON; any status but 200 is an error.
    pub fn get_json(&self, path: &str) -> Result<Value, TestbedError> {
        let answer = self.get(path)?;
        if answer.status != 200 {
            let what = format!("status {}: {}", answer.status, answer.text());
            return Err(TestbedError::Malformed { context: format!("GET {path}"), what });
        }
        answer.json(path)
    }

    /// Creates an object.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer, TestbedError> {
        self.send("POST", path, "application/json", body.to_string().as_bytes())
    }

    /// Changes an object by a merge patch.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Answer, TestbedError> {
        self.send("PATCH", path, "application/merge-patch+json", body.to_string().as_bytes())
    }

    /// Deletes an object, with delete options.
    pub fn delete(&self, path: &str, options: &Value) -> Result<Answer, TestbedError> {
        self.send("DELETE", path, "application/json", options.to_string().as_bytes())
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer, TestbedError> {
        let context = || format!("{method} {path}");
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let exchange = || {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.write_all(head.as_bytes())?;
            stream.write_all(body)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(answer)
        };
        let bytes = exchange().map_err(TestbedError::io(context()))?;
        parse(&bytes).ok_or_else(|| TestbedError::Malformed {
            context: context(),
            what: "the answer is not HTTP".into(),
        })
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self, path: &str) -> Result<Value, TestbedError> {
        serde_json::from_slice(&self.body).map_err(TestbedError::malformed(format!("GET {path}")))
    }

    /// The beginning of the body, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(300).collect()
    }
}

impl Drop for KubeHttp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: bytes[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = parse(b"HTTP/1.0 410 Gone\r\nA: b\r\n\r\n{\"code\":410}").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (410, &b"{\"code\":410}"[..]));
        assert!(parse(b"SSH-2.0").is_none());
    }
}
