//! What is asked of the kernel's data plane, and whether it goes together.

use std::ops::Range;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{DataPlane, Encapsulation, Offload};
use crate::read::{At, RawSite};

pub(super) fn check(raw: &RawSite, report: &mut Report<'_>) {
    let daemon = &raw.daemon;
    if let Some(plane) = &daemon.data_plane
        && plane.value == DataPlane::Userspace
    {
        without_meaning(raw, plane, report);
    }
    for tunnel in &raw.tunnels {
        let offload = tunnel.offload.as_ref().or(daemon.offload.as_ref());
        let (
            Some(At {
                value: Offload::Crypto,
                span,
            }),
            Some(
                encapsulation @ At {
                    value: Encapsulation::Force,
                    ..
                },
            ),
        ) = (offload, &tunnel.encapsulation)
        else {
            continue;
        };
        let message = format!(
            "tunnel {}: a card that encrypts does not know ESP in UDP",
            tunnel.name
        );
        drop(
            report
                .warning(Code::ConflictingKeys, span.clone(), message)
                .also(encapsulation.span.clone(), "always in UDP by this")
                .help("the kernel will encrypt by itself; leave one of the two out"),
        );
    }
}

/// What nobody looks at while packets are carried in user space. A warning, because a plane is changed for a trial and back.
fn without_meaning(raw: &RawSite, plane: &At<DataPlane>, report: &mut Report<'_>) {
    let mut warn = |key: &str, span: &Range<usize>| {
        let message = format!("\"{key}\" is about the kernel's data plane, which is not used");
        drop(
            report
                .warning(Code::ConflictingKeys, span.clone(), message)
                .also(plane.span.clone(), "user space is chosen here"),
        );
    };
    let tunnels = raw.tunnels.iter();
    let written = tunnels.map(|tunnel| (&tunnel.interface_kind, &tunnel.offload));
    let all = written.chain([(&raw.daemon.interface_kind, &raw.daemon.offload)]);
    for (kind, offload) in all {
        if let Some(kind) = kind {
            warn("interface-kind", &kind.span);
        }
        if let Some(offload) = offload.as_ref().filter(|at| at.value != Offload::None) {
            warn("offload", &offload.span);
        }
    }
}
