//! Creation of TUN interfaces.
#![expect(unsafe_code, reason = "TUNSETIFF is an ioctl on a C structure")]

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
/// already: it is never attached to.
pub(crate) fn create(file: &File, name: &str) -> io::Result<()> {
    // Beside its meaning for the kernel (exists already: fail) it is not in libc as a short.
    const IFF_TUN_EXCL: c_int = 0x8000;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | IFF_TUN_EXCL;
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
