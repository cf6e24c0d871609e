//! The name of a network interface: at most 15 bytes, as the kernel has it (`IFNAMSIZ` less the
//! terminating zero), kept in place so that it is `Copy` and cheap to compare in bulk.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest name that the kernel accepts, in bytes.
const MAX: usize = 15;

/// An interface's name, valid by the kernel's own rule (`dev_valid_name`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName {
    // Unused bytes are zero, so that the derived order is that of the text.
    bytes: [u8; MAX],
}

/// Why a text is not an interface's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is not an interface name: 1 to 15 bytes without `/`, `:` or white space, and not `.` or `..`"
)]
pub struct BadIfName {
    /// The text that was offered.
    pub name: String,
}

impl IfName {
    /// What `/proc/sys/net/ipv4/conf` calls the interfaces that are yet to be made. No interface can have this name.
    pub(crate) const DEFAULT: Self = Self {
        bytes: *b"default\0\0\0\0\0\0\0\0",
    };

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|&b| b == 0).unwrap_or(MAX);
        // Only `from_str` makes a name, from a `str` that it does not cut.
        std::str::from_utf8(self.bytes.get(..end).unwrap_or_default()).unwrap_or_default()
    }
}

impl FromStr for IfName {
    type Err = BadIfName;

    fn from_str(name: &str) -> Result<Self, BadIfName> {
        let bad = || BadIfName {
            name: name.to_owned(),
        };
        let forbidden = |c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace();
        if name.is_empty() || name == "." || name == ".." || name.contains(forbidden) {
            return Err(bad());
        }
        let mut bytes = [0; MAX];
        bytes
            .get_mut(..name.len())
            .ok_or_else(bad)?
            .copy_from_slice(name.as_bytes());
        Ok(Self { bytes })
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Serialize for IfName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for IfName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_by_the_kernels_rule() {
        for good in ["lo", "eth0.100", "tun-oci-1", "abcdefghijklmno", "wän0"] {
            assert_eq!(good.parse::<IfName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "eth0:1", "abcdefghijklmnop"] {
            assert!(bad.parse::<IfName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_sort_as_their_text() {
        let mut names: Vec<IfName> = ["tun10", "tun1", "lo", "tun2"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names.iter().map(IfName::as_str).collect::<Vec<_>>(),
            ["lo", "tun1", "tun10", "tun2"]
        );
    }
}
