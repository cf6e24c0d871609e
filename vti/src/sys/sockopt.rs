//! Socket options: plain integers, octets, and the filter that chooses among the sockets of a port.
#![expect(
    unsafe_code,
    reason = "setsockopt takes a pointer to the option's value"
)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use libc::c_int;

/// `setsockopt` of an integer option.
pub(crate) fn set(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to a live integer of `len` bytes, which the call only reads.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            len,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `setsockopt` of an option whose value is a structure, laid out as the kernel has it.
pub(crate) fn set_octets(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &[u8],
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the pointer is to `len` live octets, which the call only reads.
    let rc = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `getsockopt` of an integer option.
pub(crate) fn get(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the pointers are to a live integer and its length, which the call may write.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    if rc == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives the datagrams of a port that several sockets share to one of them: those whose first four bytes are `word` to
/// socket number `matching` (in the order in which they were bound), all others to number 0. (`SO_ATTACH_REUSEPORT_CBPF`,
/// Linux 4.5; the filter sees the payload.)
pub(crate) fn choose_by_first_word(fd: BorrowedFd<'_>, word: u32, matching: u32) -> io::Result<()> {
    let instruction = |code: u32, jf, k| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let program = [
        // Load the word at 0; if there is none the result is 0.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        // Go on if it is the one, else over the next.
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, word),
        instruction(libc::BPF_RET | libc::BPF_K, 0, matching),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the filter's pointer and length are those of a live array, and the option's pointer and length those of the
    // filter; the call copies both and only reads.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
