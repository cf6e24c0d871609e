//! The reference site's file, and changes to it.

use crate::causeway::Launch;
use crate::site::addresses as at;

/// A range of neighbors on the home network, for a site file's end.
pub const A_RANGE: &str = r#"
[bgp.neighbor.edge]
range = "192.168.2.0/24"
remote-asn = 64999
import = "none"
export = "none"
"#;

/// The text of a site file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFile {
    text: String,
}

impl SiteFile {
    /// `examples/reference-site.toml` with its secrets and the control socket in the test's folder, on the data plane that
    /// `CAUSEWAY_LAB_PLANE` names: `kernel-vti`, `kernel-xfrm`, or `userspace`, which every machine has, and which is what
    /// there is without a word.
    ///
    /// # Panics
    /// When it is another word.
    #[track_caller]
    #[must_use]
    pub fn reference() -> Self {
        let plane = std::env::var("CAUSEWAY_LAB_PLANE").unwrap_or_else(|_| "userspace".to_owned());
        let plane = match plane.as_str() {
            "userspace" => "data-plane = \"userspace\"",
            "kernel-vti" => "data-plane = \"kernel\"\ninterface-kind = \"vti\"",
            "kernel-xfrm" => "data-plane = \"kernel\"\ninterface-kind = \"xfrm\"",
            other => panic!(
                "CAUSEWAY_LAB_PLANE is {other:?}: expected userspace, kernel-vti or kernel-xfrm"
            ),
        };
        let text = include_str!("../../../examples/reference-site.toml").to_owned();
        Self { text }
            .replace("/etc/causeway/", "{dir}/")
            .append(&format!(
                "\n[daemon]\n{plane}\nsocket = \"{{dir}}/control.sock\"\n"
            ))
    }

    /// The same with `old` replaced, everywhere, by `new`.
    ///
    /// # Panics
    /// When `old` is not in it.
    #[track_caller]
    #[must_use]
    pub fn replace(self, old: &str, new: &str) -> Self {
        assert!(
            self.text.contains(old),
            "the site file does not contain {old:?}"
        );
        Self {
            text: self.text.replace(old, new),
        }
    }

    /// The same with more lines right below a table's header (`"tunnel.oci-1"`).
    ///
    /// # Panics
    /// When there is no such table.
    #[track_caller]
    #[must_use]
    pub fn add(self, table: &str, lines: &str) -> Self {
        let header = format!("[{table}]\n");
        let replaced = format!("{header}{lines}\n");
        self.replace(&header, &replaced)
    }

    /// The same with more text at its end.
    #[must_use]
    pub fn append(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// The text; `{dir}` in it stands for the folder of the secrets.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A launch of the daemon with this file and the head-ends' pre-shared keys.
    #[must_use]
    pub fn launch(&self, binary: &str) -> Launch {
        Launch::new(binary, &self.text)
            .secret("oci-1.psk", at::PSKS[0])
            .secret("oci-2.psk", at::PSKS[1])
    }
}
