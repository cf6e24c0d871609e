//! The NAT traversal port across restarts.
//!
//! The kernel takes ESP in UDP from a socket (`UDP_ENCAP`), and forgets that with the socket: where a daemon ends, its peers' packets meet
//! a closed port until the next one is there, though the SAs stand. So the service manager keeps the socket open in between.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Socket, Type};

use crate::sys::handed;
use crate::user::UserPlaneConfig;

/// What the service manager calls the socket.
pub const NAME: &str = "nat-traversal";

/// The socket of a process before this one: bound to the port that this one needs.
#[derive(Debug)]
pub struct KeptPort(pub(crate) Socket);

impl KeptPort {
    /// The one that this process was handed at its start, at the first call; none where there is none.
    ///
    /// # Errors
    /// What was handed over is not the port that is wanted, in words. It is closed here, but whoever has kept it has it still.
    pub fn handed_over(config: &UserPlaneConfig) -> Result<Option<Self>, String> {
        let handed = handed::take().map_err(|error| error.to_string())?;
        let mut named = handed.into_iter().filter(|(name, _)| name == NAME);
        named
            .next()
            .map(|(_, fd)| Self::fit(fd, config))
            .transpose()
    }

    fn fit(fd: OwnedFd, config: &UserPlaneConfig) -> Result<Self, String> {
        let wanted = SocketAddr::new(config.bind, config.nat_port);
        let socket = Socket::from(fd);
        let bound = socket.local_addr().ok().and_then(|at| at.as_socket());
        match (socket.r#type(), bound) {
            (Ok(Type::DGRAM), Some(bound)) if bound == wanted => Ok(Self(socket)),
            (Ok(Type::DGRAM), Some(bound)) => Err(format!("it is UDP {bound}, not {wanted}")),
            _ => Err("it is no UDP socket".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn wanted(socket: &UdpSocket) -> UserPlaneConfig {
        let address = socket.local_addr().unwrap();
        UserPlaneConfig {
            bind: address.ip(),
            nat_port: address.port(),
            ..UserPlaneConfig::default()
        }
    }

    #[test]
    fn the_port_that_is_wanted_is_taken() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let config = wanted(&socket);
        let kept = KeptPort::fit(socket.try_clone().unwrap().into(), &config).unwrap();
        let taken = kept.0.local_addr().unwrap();
        assert_eq!(taken.as_socket(), socket.local_addr().ok());
    }

    #[test]
    fn what_is_not_the_port_that_is_wanted_is_refused() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let config = wanted(&socket);
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = KeptPort::fit(other.into(), &config).unwrap_err();
        assert!(
            refused.contains(&format!("not 127.0.0.1:{}", config.nat_port)),
            "{refused}"
        );

        let stream = TcpListener::bind((config.bind, config.nat_port)).unwrap();
        assert!(KeptPort::fit(stream.into(), &config).is_err());
        let (file, _) = nix::unistd::pipe().unwrap();
        assert!(KeptPort::fit(file, &config).is_err());
    }

    #[test]
    fn nothing_is_handed_over_without_a_service_manager() {
        let handed = KeptPort::handed_over(&UserPlaneConfig::default());
        assert!(matches!(handed, Ok(None)), "{handed:?}");
    }
}
