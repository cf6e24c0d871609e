//! A tunnel's `ppk` as it was written.

use toml::Spanned;
use toml::de::DeValue;

use super::section::{At, Read, Section};
use super::value;
use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::SecretSource;
use crate::schema;

/// The longest name, in octets: what fits beside everything else in IKE_AUTH, and a status line.
const LONGEST_ID: usize = 64;

/// `ppk = { id = "…", file = "…" }`
#[derive(Debug)]
pub(crate) struct RawPpk {
    pub(crate) id: String,
    pub(crate) secret: SecretSource,
    pub(crate) required: Option<At<bool>>,
}

impl Read for RawPpk {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        if value::refuses_secret(value, "{ id = \"…\", file = \"/etc/causeway/…\" }", report) {
            return None;
        }
        let what = "the ppk".to_owned();
        let section = Section::open(value, value.span(), what, &schema::PPK, report)?;
        let id = section.require::<String>("id", report);
        let required = section.get("required", report);
        let secret = value::secret_source(&section, value.span(), report);
        let At { value: id, span } = id?;
        if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(|c| c.is_ascii_graphic()) {
            let message = format!(
                "the name of a ppk is 1 to {LONGEST_ID} printable ASCII characters without blanks"
            );
            drop(report.error(Code::BadValue, span, message));
            return None;
        }
        Some(Self {
            id,
            secret: secret?,
            required,
        })
    }
}
