//! A tunnel's `certificate` as it was written.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::section::{At, Read, Section};
use crate::diagnostic::Report;
use crate::model::{Certificate, SecretSource};
use crate::schema;

/// `certificate = { file = "…", key = { file = "…" }, ca = "…" }`
#[derive(Debug)]
pub(crate) struct RawCertificate {
    pub(crate) file: At<PathBuf>,
    pub(crate) key: At<SecretSource>,
    pub(crate) ca: At<PathBuf>,
    pub(crate) crl: Option<At<PathBuf>>,
}

impl RawCertificate {
    pub(crate) fn model(&self) -> Certificate {
        Certificate {
            file: self.file.value.clone(),
            key: self.key.value.clone(),
            ca: self.ca.value.clone(),
            crl: self.crl.as_ref().map(|crl| crl.value.clone()),
        }
    }
}

impl Read for RawCertificate {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let what = "the certificate".to_owned();
        let section = Section::open(value, value.span(), what, &schema::CERTIFICATE, report)?;
        let (file, key) = (
            section.require("file", report),
            section.require("key", report),
        );
        let (ca, crl) = (section.require("ca", report), section.get("crl", report));
        Some(Self {
            file: file?,
            key: key?,
            ca: ca?,
            crl,
        })
    }
}
