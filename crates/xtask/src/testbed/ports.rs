//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

use super::TestbedError;

/// Ports are taken from below the range that Linux uses for outgoing connections (32768 and up), so
/// that a component that is restarted finds its port still free.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// `N` different ports that nobody listens on at this moment.
pub(super) fn free_ports<const N: usize>() -> Result<[u16; N], TestbedError> {
    let start = u16::from_le_bytes(stele_store::random_bytes()) % COUNT;
    let mut held: Vec<(u16, TcpListener)> = Vec::with_capacity(N);
    for offset in 0..COUNT {
        let port = FIRST + (start + offset) % COUNT;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
        if held.len() == N {
            break;
        }
    }
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    ports.try_into().map_err(|_| TestbedError::Io {
        context: format!("find {N} free ports from {FIRST} to {}", FIRST + COUNT),
        source: std::io::ErrorKind::AddrInUse.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn ports_differ() {
        let ports = super::free_ports::<8>().unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 8);
    }
}
