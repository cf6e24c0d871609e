//! Who has a UDP port: so that "address in use" can name the other IKE daemon.

use std::fs;
use std::path::Path;

/// The process that has a UDP port in this network namespace, as `name (pid n)`. `None` if it
/// cannot be found: procfs may be hidden, the socket may belong to another container.
pub(super) fn of_udp_port(port: u16) -> Option<String> {
    let inode = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| table.lines().find_map(|line| inode_of_line(line, port)))?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        holds(&process.path(), &socket).then(|| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim())
        })
    })
}

/// The inode of the socket in a line of /proc/net/udp, if it has this local port: `sl local_address
/// rem_address st queues timer retransmits uid timeout inode …`, addresses as `hex:hex`.
fn inode_of_line(line: &str, port: u16) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let (_, local_port) = fields.nth(1)?.rsplit_once(':')?;
    if u16::from_str_radix(local_port, 16).ok()? != port {
        return None;
    }
    fields.nth(7)?.parse().ok()
}

fn holds(process: &Path, socket: &str) -> bool {
    fs::read_dir(process.join("fd")).is_ok_and(|files| {
        files
            .filter_map(Result::ok)
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| target.as_os_str() == socket)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_table_gives_the_inode() {
        let line = " 1234: 00000000:1194 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 98765 2 0000000000000000 0";
        assert_eq!(inode_of_line(line, 4500), Some(98765));
        assert_eq!(inode_of_line(line, 500), None);
        let heading = "   sl  local_address rem_address   st tx_queue rx_queue";
        assert_eq!(inode_of_line(heading, 4500), None);
    }

    #[test]
    fn the_holder_of_a_bound_port_is_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let holder = of_udp_port(port).unwrap();
        assert!(
            holder.contains(&format!("pid {}", std::process::id())),
            "{holder}"
        );
    }
}
