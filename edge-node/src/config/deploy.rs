//! `[deploy]`: who may deploy policies, and from where documents come.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use wattle_process::inbox::{Tokens, token_digest};
use wattle_site::Problems;

use super::{Config, UplinkWay};

/// `[deploy]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployConfig {
    /// Who may send this node documents over HTTP: a name, and the SHA-256 of that person's token, 64 hexadecimal digits. Default:
    /// nobody.
    pub tokens: BTreeMap<String, String>,
    /// The fog node that hands documents down, as in `uplink.address`; an empty text for none. Default: `uplink.address` where
    /// `uplink.way` is `direct` and nobody else can answer there: over https, or on this machine; else none. `policy_keys` alone makes
    /// no other address safe: what is signed is the component, not its settings or what is to become of it.
    pub fog: Option<String>,
}

impl DeployConfig {
    /// The digests of the tokens; those that are none are left out.
    pub fn tokens(&self) -> Tokens {
        let digest = |(name, text): (&String, &String)| Some((name.clone(), token_digest(text).ok()?));
        self.tokens.iter().filter_map(digest).collect()
    }
}

impl Config {
    /// The fog node that hands documents down; none where nobody does.
    pub fn documents_from(&self) -> Option<&str> {
        let own = self.uplink_address().filter(|_| !self.fetches_nothing_unnamed());
        self.deploy.fog.as_deref().or(own).filter(|address| !address.is_empty())
    }

    /// Whether no documents are fetched because whoever answered at `uplink.address` could replace the policies.
    pub fn fetches_nothing_unnamed(&self) -> bool {
        let is_open = |address: &str| address.starts_with("http://") && !is_local(address);
        self.deploy.fog.is_none() && self.uplink_address().is_some_and(is_open)
    }

    /// What whoever has written the configuration may not have thought of.
    pub fn documents_note(&self) -> Option<String> {
        self.fetches_nothing_unnamed().then(|| {
            format!(
                "no policies are fetched from {}: whoever answers there without TLS could replace the site's, or take them back; name \
                 it as deploy.fog to have them fetched all the same, or use https (deploy.fog = \"\" for none)",
                self.uplink.address
            )
        })
    }

    fn uplink_address(&self) -> Option<&str> {
        (self.uplink.way == UplinkWay::Direct).then_some(self.uplink.address.as_str())
    }

    pub(super) fn validate_deploy(&self, file: &str, problems: &mut Problems) {
        for (name, text) in &self.deploy.tokens {
            if let Err(allowed) = token_digest(text) {
                problems.add(file, format!("deploy.tokens.{name}"), text, allowed);
            }
        }
        let is_address = |text: &str| text.starts_with("http://") || text.starts_with("https://");
        if let Some(fog) = self.deploy.fog.as_deref().filter(|fog| !fog.is_empty() && !is_address(fog)) {
            problems.add(file, "deploy.fog", fog, "give http://host:port or https://host:port");
        }
        if self.deploy.fog.as_deref().is_some_and(|fog| fog.starts_with("https://"))
            && self.uplink.tls.is_none()
        {
            problems.add(file, "deploy.fog", "", "https needs [uplink.tls]");
        }
    }
}

/// Whether an address is on this machine.
fn is_local(address: &str) -> bool {
    let authority = address.split("://").nth(1).unwrap_or_default().split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_from_the_fog_node_of_the_direct_way_unless_another_is_named() {
        let from =
            |text: &str| Config::parse("edge.toml", text).expect("right").documents_from().map(str::to_owned);
        assert_eq!(from("").as_deref(), Some("http://127.0.0.1:7400"));
        assert_eq!(from("uplink.address = ''"), None);
        assert_eq!(from("deploy.fog = ''"), None);
        let kafka = "uplink.way = 'kafka'\nkafka.brokers = 'b:9092'\n";
        assert_eq!(from(kafka), None);
        assert_eq!(
            from(&format!("{kafka}deploy.fog = 'http://fog:7400'")).as_deref(),
            Some("http://fog:7400")
        );
    }

    #[test]
    fn where_anybody_could_answer_documents_come_only_if_that_is_named_whatever_is_signed() {
        let from = |text: &str| {
            let config = Config::parse("edge.toml", text).expect("right");
            let from = config.documents_from().map(str::to_owned);
            assert_eq!(config.fetches_nothing_unnamed(), from.is_none(), "{text}");
            from
        };
        for address in ["http://fog:7400", "http://10.0.0.9:7400", "http://127.0.0.1.example.org:7400/"] {
            let own = format!("uplink.address = '{address}'\n");
            assert_eq!(from(&own), None);
            for unsigned in [true, false] {
                assert_eq!(from(&format!("{own}policy_keys = '/keys'\npolicy_unsigned = {unsigned}")), None);
            }
            assert_eq!(from(&format!("{own}deploy.fog = '{address}'")).as_deref(), Some(address));
        }
        for address in ["http://127.0.0.2:7400", "http://[::1]:7400", "http://localhost:7400"] {
            assert_eq!(from(&format!("uplink.address = '{address}'")).as_deref(), Some(address));
        }
    }

    #[test]
    fn what_is_no_digest_and_no_address_is_named() {
        let text = "[deploy]\ntokens = { anna = 'secret' }\nfog = 'fog:7400'";
        let problems = Config::parse("edge.toml", text).expect_err("two mistakes").to_string();
        assert!(problems.contains("deploy.tokens.anna: secret: give the SHA-256 of a token"), "{problems}");
        assert!(problems.contains("deploy.fog: fog:7400: give http://"), "{problems}");
        let problems = Config::parse("edge.toml", "deploy.fog = 'https://fog:7400'").expect_err("no tls");
        assert!(problems.to_string().contains("https needs [uplink.tls]"), "{problems}");
    }
}
