//! `[deploy]`: who may deploy policies, and from where documents come.

use std::collections::BTreeMap;

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
    /// `uplink.way` is `direct`, else none.
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
        let own = (self.uplink.way == UplinkWay::Direct).then_some(self.uplink.address.as_str());
        self.deploy.fog.as_deref().or(own).filter(|address| !address.is_empty())
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
    fn what_is_no_digest_and_no_address_is_named() {
        let text = "[deploy]\ntokens = { anna = 'secret' }\nfog = 'fog:7400'";
        let problems = Config::parse("edge.toml", text).expect_err("two mistakes").to_string();
        assert!(problems.contains("deploy.tokens.anna: secret: give the SHA-256 of a token"), "{problems}");
        assert!(problems.contains("deploy.fog: fog:7400: give http://"), "{problems}");
        let problems = Config::parse("edge.toml", "deploy.fog = 'https://fog:7400'").expect_err("no tls");
        assert!(problems.to_string().contains("https needs [uplink.tls]"), "{problems}");
    }
}
