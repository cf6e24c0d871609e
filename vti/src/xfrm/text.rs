//! Policies as the commands that a person would type for them.

use std::fmt;

use super::policy::{Action, Hook, Policy, PolicyId, Template};
use crate::plane::Binding;

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Forward => "fwd",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Block => "block",
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id, source, reqid, ..
        } = self;
        write!(f, "tmpl src {source} dst {} proto esp", id.destination)?;
        if id.spi != 0 {
            write!(f, " spi {:#x}", id.spi)?;
        }
        let mode = if self.tunnel { "tunnel" } else { "transport" };
        write!(f, " reqid {reqid} mode {mode}")
    }
}

impl PolicyId {
    /// The command that deletes it.
    pub fn deletion(&self) -> String {
        let binding = match self.binding {
            Binding::Mark(mark) => format!("mark {mark:#x} mask 0xffffffff"),
            Binding::IfId(if_id) => format!("if_id {if_id:#x}"),
        };
        let (from, to) = (self.selector.source, self.selector.destination);
        format!(
            "ip xfrm policy delete src {from} dst {to} dir {} {binding}",
            self.hook
        )
    }
}

impl fmt::Display for Policy {
    /// As the command that makes it, in place of the one with the same selector and binding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PolicyId {
            hook,
            selector,
            binding,
        } = &self.id;
        let (from, to) = (selector.source, selector.destination);
        write!(f, "ip xfrm policy update src {from} dst {to} dir {hook}")?;
        if let Binding::Mark(mark) = binding {
            write!(f, " mark {mark:#x} mask 0xffffffff")?;
        }
        write!(f, " action {} priority {}", self.action, self.priority)?;
        if let Binding::IfId(if_id) = binding {
            write!(f, " if_id {if_id:#x}")?;
        }
        if let Some(template) = &self.template {
            write!(f, " {template}")?;
        }
        Ok(())
    }
}
