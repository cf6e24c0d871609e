//! Creation of TUN interfaces.
#![expect(
    unsafe_code,
    reason = "TUNSETIFF is an ioctl on a C structure, TUNSETOFFLOAD one on a number"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use libc::{c_char, c_int, c_short};

/// `struct ifreq` as TUNSETIFF reads it: name and flags, padded to the size of the largest variant.
#[repr(C)]
struct InterfaceRequest {
    name: [c_char; libc::IFNAMSIZ],
    flags: c_short,
    padding: [u8; 22],
}

mod ioctl {
    use super::{InterfaceRequest, c_int};

    // TUNSETIFF is declared with an int but takes a struct ifreq.
    nix::ioctl_write_ptr_bad!(
        tun_set_iff,
        nix::request_code_write!(b'T', 202, size_of::<c_int>()),
        InterfaceRequest
    );
    // Declared with a pointer to an unsigned int, but it takes the number itself.
    nix::ioctl_write_int_bad!(
        tun_set_offload,
        nix::request_code_write!(b'T', 208, size_of::<c_int>())
    );
}

/// Opens the TUN driver: `/dev/net/tun`, not blocking.
pub(crate) fn open() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
}

/// Creates an interface of this name, which lives as long as the file. `EBUSY` if there is one
/// already: it is never attached to. With `vnet`, each packet has a `struct virtio_net_hdr` before it.
pub(crate) fn create(file: &File, name: &str, vnet: bool) -> io::Result<()> {
    // Beside its meaning for the kernel (exists already: fail) it is not in libc as a short.
    const IFF_TUN_EXCL: c_int = 0x8000;
    let vnet = if vnet { libc::IFF_VNET_HDR } else { 0 };
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | IFF_TUN_EXCL | vnet;
    let mut request = InterfaceRequest {
        name: [0; libc::IFNAMSIZ],
        // The flags are 16 bits in an unsigned field that C declares as signed.
        flags: flags as c_short,
        padding: [0; 22],
    };
    // The last byte stays 0.
    for (to, from) in request
        .name
        .iter_mut()
        .take(libc::IFNAMSIZ - 1)
        .zip(name.bytes())
    {
        *to = from as c_char;
    }
    // SAFETY: the request is a live structure at least as large as struct ifreq, with a terminated
    // name.
    unsafe { ioctl::tun_set_iff(file.as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// What the kernel may leave undone on the packets of an interface with `vnet`: `TUN_F_CSUM` and so on. `EINVAL` if it
/// does not know one of them.
pub(crate) fn set_offload(file: &File, features: u32) -> io::Result<()> {
    // SAFETY: the argument is a number, not a pointer.
    unsafe { ioctl::tun_set_offload(file.as_raw_fd(), features as c_int) }?;
    Ok(())
}
