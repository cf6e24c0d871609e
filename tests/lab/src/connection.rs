//! A tunnel as one peer is told of it, whichever program it is.

use std::fmt::Write as _;

use crate::authority::Issued;

/// When the peer sets a CHILD_SA up by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAction {
    /// Only when asked, by us or by the peer.
    #[default]
    None,
    /// As soon as the connection is loaded.
    Start,
}

/// What a peer proves itself by, and whom it trusts.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    /// Its own certificate, with those between it and its authority, and its key.
    pub own: Issued,
    /// The authorities' certificates in PEM.
    pub trusted: String,
    /// strongSwan's `auth` of its own side: `pubkey`, or a scheme such as `rsa/pss-sha256`.
    pub scheme: String,
}

impl PeerCertificate {
    /// With whatever scheme the peer takes by itself.
    #[must_use]
    pub fn new(own: &Issued, trusted: &str) -> Self {
        Self {
            own: own.clone(),
            trusted: trusted.to_owned(),
            scheme: "pubkey".to_owned(),
        }
    }
}

/// One connection with one child of the same name.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The name of the connection and of its child.
    pub name: String,
    /// Our outer address.
    pub local: String,
    /// The peer's outer address, or `%any`.
    pub remote: String,
    /// Our identity.
    pub local_id: String,
    /// The peer's identity.
    pub remote_id: String,
    /// The pre-shared key.
    pub psk: String,
    /// IKE proposals in strongSwan's words.
    pub ike: String,
    /// ESP proposals in strongSwan's words; with a DH group for PFS.
    pub esp: String,
    /// Our traffic selectors.
    pub local_ts: String,
    /// The peer's traffic selectors.
    pub remote_ts: String,
    /// Seconds after which the IKE_SA is rekeyed; 0 never.
    pub ike_rekey: u32,
    /// Seconds after which the CHILD_SA is rekeyed; 0 never.
    pub child_rekey: u32,
    /// Seconds between liveness checks of a silent peer (RFC 7296 section 2.4); 0 none.
    pub dpd_delay: u32,
    /// When to initiate.
    pub start: StartAction,
    /// The reqid of the child; 0 lets the peer choose.
    pub reqid: u32,
    /// Whether it has MOBIKE (RFC 4555).
    pub mobike: bool,
    /// More lines for the connection's section, in the peer's own words.
    pub extra: Vec<String>,
    /// More lines for the child's section, in strongSwan's words.
    pub child_extra: Vec<String>,
    /// Certificates in place of the pre-shared key.
    pub certificate: Option<PeerCertificate>,
    /// strongSwan knows nothing of RFC 7427; a daemon with one such connection has none that does.
    pub legacy_signatures: bool,
    /// strongSwan writes the keys of its SAs into its log; a daemon with one such connection does so for all.
    pub keys_in_log: bool,
    /// strongSwan sets up the new IKE_SA first when it reauthenticates; a daemon with one such connection does so for all.
    pub make_before_break: bool,
    /// The name and the text of a post-quantum pre-shared key (RFC 8784) for strongSwan; `extra` says whether it is required.
    pub ppk: Option<[String; 2]>,
}

impl Connection {
    /// The reference site's parameters: pre-shared key, aes256-sha1-modp2048 for IKE, Oracle's aes256gcm16 for ESP with
    /// PFS at rekeys, selectors 0.0.0.0/0, and no rekey of its own within a test.
    #[must_use]
    pub fn new(name: &str, local: &str, remote: &str, psk: &str) -> Self {
        Self {
            name: name.to_owned(),
            local: local.to_owned(),
            remote: remote.to_owned(),
            local_id: local.to_owned(),
            remote_id: remote.to_owned(),
            psk: psk.to_owned(),
            ike: "aes256-sha1-modp2048".to_owned(),
            esp: "aes256gcm16-ecp384-modp2048,aes256gcm16".to_owned(),
            local_ts: "0.0.0.0/0".to_owned(),
            remote_ts: "0.0.0.0/0".to_owned(),
            ike_rekey: 28_800,
            child_rekey: 3600,
            dpd_delay: 0,
            start: StartAction::None,
            reqid: 0,
            mobike: false,
            extra: Vec::new(),
            child_extra: Vec::new(),
            certificate: None,
            legacy_signatures: false,
            make_before_break: false,
            keys_in_log: false,
            ppk: None,
        }
    }

    /// Adds it to a file for swanctl.
    pub(crate) fn swanctl(&self, out: &mut String) {
        let start = match self.start {
            StartAction::None => "none",
            StartAction::Start => "start",
        };
        let Self {
            name,
            local,
            remote,
            local_id,
            remote_id,
            ..
        } = self;
        let _ = write!(
            out,
            "connections {{\n {name} {{\n  version = 2\n  mobike = {}\n  keyingtries = 0\n  local_addrs = {local}\n  \
             remote_addrs = {remote}\n  proposals = {}\n  rekey_time = {}s\n  dpd_delay = {}s\n",
            if self.mobike { "yes" } else { "no" },
            self.ike,
            self.ike_rekey,
            self.dpd_delay
        );
        self.extra.iter().for_each(|line| {
            let _ = writeln!(out, "  {line}");
        });
        if let Some([id, _]) = &self.ppk {
            let _ = writeln!(out, "  ppk_id = {id}");
        }
        let (ours, theirs) = match &self.certificate {
            None => ("psk".to_owned(), "psk"),
            Some(PeerCertificate { scheme, .. }) => {
                (format!("{scheme}\n   certs = {name}.pem"), "pubkey")
            }
        };
        let _ = write!(
            out,
            "  local {{\n   auth = {ours}\n   id = \"{local_id}\"\n  }}\n  remote {{\n   auth = {theirs}\n   id = \"{remote_id}\"\n  }}\n  \
             children {{\n   {name} {{\n    mode = tunnel\n    local_ts = {}\n    remote_ts = {}\n    \
             esp_proposals = {}\n    rekey_time = {}s\n    start_action = {start}\n    reqid = {}\n    \
             replay_window = 1024\n",
            self.local_ts, self.remote_ts, self.esp, self.child_rekey, self.reqid
        );
        self.child_extra.iter().for_each(|line| {
            let _ = writeln!(out, "    {line}");
        });
        let _ = write!(out, "   }}\n  }}\n }}\n}}\n");
        if self.certificate.is_none() {
            let _ = write!(
                out,
                "secrets {{\n ike-{name} {{\n  id-1 = {local_id}\n  id-2 = {remote_id}\n  \
             secret = \"{}\"\n }}\n}}\n",
                self.psk
            );
        }
        if let Some([id, secret]) = &self.ppk {
            let _ = writeln!(
                out,
                "secrets {{\n ppk-{name} {{\n  id-1 = {id}\n  secret = \"{secret}\"\n }}\n}}"
            );
        }
    }
}
