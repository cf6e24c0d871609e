//! What the process itself costs, as the kernel counts it.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// What the process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// Memory that is in RAM, in octets; `None` where the kernel does not say.
    pub(crate) resident_octets: Option<u64>,
    /// Processor time, in user mode and in the kernel; `None` where the kernel does not say.
    pub(crate) processor_time: Option<Duration>,
}

impl Process {
    /// Asks the kernel.
    pub(crate) fn look() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let time = usage.map(|usage| span(usage.user_time()) + span(usage.system_time()));
        let status = std::fs::read_to_string("/proc/self/status").ok();
        Self {
            resident_octets: status.as_deref().and_then(resident_octets),
            processor_time: time,
        }
    }
}

fn span(time: TimeVal) -> Duration {
    let micros = time.tv_sec().saturating_mul(1_000_000) + time.tv_usec();
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

/// `VmRSS` of proc_pid_status(5), which is in KiB.
fn resident_octets(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_page_is_read() {
        let status = "Name:\tcauseway\nVmRSS:\t   10240 kB\nThreads:\t9\n";
        assert_eq!(resident_octets(status), Some(10_485_760));
        assert_eq!(resident_octets("VmRSS:\t many kB\n"), None);
        assert_eq!(resident_octets("Name:\tcauseway\n"), None);
    }

    #[test]
    fn this_process_has_memory_and_has_used_the_processor() {
        let process = Process::look();
        assert!(process.resident_octets.is_some_and(|it| it > 100_000));
        assert!(process.processor_time.is_some());
    }
}
