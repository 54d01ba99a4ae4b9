//! Receives the API server's audit webhook and writes each batch down as one line of JSON.
//!
//! It understands just the HTTP/1.1 that kube-apiserver speaks to a webhook on loopback: POST with
//! a Content-Length, several requests on a connection.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::TestbedError;

/// A batch has at most 400 events of at most a megabyte; what is larger is not a batch.
const BODY_BYTES_MAX: u64 = 512 << 20;

/// A sink that runs in threads of this process and ends with this value.
#[derive(Debug)]
pub(super) struct Sink {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Sink {
    /// Listens on a loopback port (0: any) and adds batches to `file`.
    pub(super) fn start(port: u16, file: &Path) -> Result<Self, TestbedError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(TestbedError::io("listen for the audit webhook"))?;
        let address = listener.local_addr().map_err(TestbedError::io("ask for the port"))?;
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .map_err(TestbedError::io(format!("open {}", file.display())))?;
        let out = Arc::new(Mutex::new(out));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || accept(&listener, &out, &stopped));
        Ok(Self { address, stop })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/audit", self.address)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, out: &Arc<Mutex<File>>, stop: &AtomicBool) {
    for connection in listener.incoming().flatten() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let out = Arc::clone(out);
        std::thread::spawn(move || serve(connection, &out));
    }
}

fn serve(connection: TcpStream, out: &Mutex<File>) {
    let Ok(mut writer) = connection.try_clone() else { return };
    let mut reader = BufReader::new(connection);
    while let Ok(Some(body)) = read_request(&mut reader) {
        let status = match write_line(out, &body) {
            Ok(()) => "200 OK",
            Err(_) => "500 Internal Server Error",
        };
        if write!(writer, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

/// The body of the next request, or `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    if length > BODY_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok((body.len() as u64 == length).then_some(body))
}

fn write_line(out: &Mutex<File>, body: &[u8]) -> io::Result<()> {
    let mut line: Vec<u8> = body.iter().copied().filter(|byte| *byte != b'\n').collect();
    line.push(b'\n');
    out.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_become_lines() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit.jsonl");
        let sink = Sink::start(0, &file).unwrap();
        let mut connection = TcpStream::connect(sink.address).unwrap();
        for body in ["{\"a\":\n1}", "{}"] {
            let head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
            connection.write_all((head + body).as_bytes()).unwrap();
            let mut answer = [0; 38];
            connection.read_exact(&mut answer).unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"a\":1}\n{}\n");
    }
}
