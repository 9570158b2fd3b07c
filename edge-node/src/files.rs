//! Reads the node's own file and its site files, and finds every mistake of all of them at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wattle_policy_host::sign::KeyRing;
use wattle_policy_host::{Host, Limits};
use wattle_site::{Problems, SiteFile};

use crate::config::Config;
use crate::model::site_model;
use crate::policy::{self, Source};

/// The largest file that is read, bytes; a site file stands whole in the journal, whose records are bounded.
const MAX_FILE_BYTES: u64 = 512 << 10;

/// A site file that was found right.
#[derive(Debug, Clone)]
pub struct Site {
    /// What it says.
    pub file: SiteFile,
    /// As it stands, for the record.
    pub text: String,
}

/// Everything that a node needs to be told.
#[derive(Debug, Clone)]
pub struct Files {
    /// The node's own configuration.
    pub config: Config,
    /// Its sites, at least one.
    pub sites: Vec<Site>,
}

/// Reads all files and tries their policies, as `--check` does. A node that starts goes without: it decides by itself
/// until the policy is there.
///
/// # Errors
/// Every mistake of every file, what doesn't fit between them, and each policy, certificate, key and password that can't be
/// used.
pub fn check(config: Option<&Path>, sites: &[PathBuf]) -> Result<Files, Problems> {
    let file = config.map(name).unwrap_or_default();
    gather(config, sites, |config, sites, problems| {
        config.check_data(&file, problems);
        config.check_files(&file, problems);
        try_policies(config, sites, problems);
    })
}

/// Reads all files; without `config` the node's own configuration is the default.
///
/// # Errors
/// Every mistake of every file, and what doesn't fit between them.
pub fn read(config: Option<&Path>, sites: &[PathBuf]) -> Result<Files, Problems> {
    gather(config, sites, |_, _, _| ())
}

fn gather(
    config: Option<&Path>,
    sites: &[PathBuf],
    look_closer: impl FnOnce(&Config, &[(String, Site)], &mut Problems),
) -> Result<Files, Problems> {
    let mut problems = Problems::default();
    let config = match config {
        None => Config::default(),
        Some(path) => {
            keep(&mut problems, text(path).and_then(|t| Config::parse(&name(path), &t))).unwrap_or_default()
        }
    };
    if sites.is_empty() {
        problems.add("command line", "SITE", "", "name at least one site file");
    }
    let mut read = Vec::with_capacity(sites.len());
    for path in sites {
        let site = text(path).and_then(|text| site(&name(path), text));
        read.extend(keep(&mut problems, site).map(|site| (name(path), site)));
    }
    between(&read, &mut problems);
    look_closer(&config, &read, &mut problems);
    let sites = read.into_iter().map(|(_, site)| site).collect();
    problems.or(Files { config, sites })
}

fn try_policies(config: &Config, sites: &[(String, Site)], problems: &mut Problems) {
    let folder = policy::folder(config.policies.as_deref());
    let host = match Host::new(Limits::default()) {
        Ok(host) => host,
        Err(error) => return problems.add("policies", "", "", format!("can't be tried: {error}")),
    };
    let host = policy::trusting(host, config);
    if let Some(Err(error)) = config.policy_keys.as_deref().map(KeyRing::read) {
        problems.add("policy_keys", "", "", error.to_string());
    }
    for (file, site) in sites {
        let control = &site.file.control;
        let active = Source::active(&folder, control);
        if let Some(source) = &active
            && let Err(reason) = source.load(&host)
        {
            let last = policy::keep::kept(&config.data, &site.file.id, &control.policy);
            let last = last.and_then(|last| source.version_at(&host, &last.path, &last.bytes).ok());
            let decides = last.map_or("the built-in equal share".into(), |last| {
                format!("{}, the last that proved itself,", last.name())
            });
            problems.add(
                file,
                "control.policy",
                &control.policy,
                format!("{reason}; as it is {decides} decides"),
            );
        }
        if let Some(Err(reason)) = Source::shadow(&folder, control).map(|source| source.load(&host)) {
            let named = control.shadow.as_ref().map(|shadow| shadow.policy.as_str()).unwrap_or_default();
            problems.add(file, "control.shadow.policy", named, reason);
        }
    }
}

fn site(name: &str, text: String) -> Result<Site, Problems> {
    let file = SiteFile::parse(name, &text)?;
    let mut problems = Problems::default();
    if let Err(error) = site_model(&file).check() {
        problems.add(name, "", "", error.to_string());
    }
    problems.or(Site { file, text })
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn text(path: &Path) -> Result<String, Problems> {
    let failed = |why: String| {
        let mut problems = Problems::default();
        problems.add(&name(path), "", "", why);
        problems
    };
    let metadata = std::fs::metadata(path).map_err(|e| failed(format!("can't be read: {e}")))?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(failed(format!("has {} bytes; at most {MAX_FILE_BYTES} are read", metadata.len())));
    }
    std::fs::read_to_string(path).map_err(|e| failed(format!("can't be read: {e}")))
}

fn keep<T>(problems: &mut Problems, read: Result<T, Problems>) -> Option<T> {
    read.map_err(|more| problems.extend(more)).ok()
}

/// A site may be told once, and a device, whose name is also its login, may belong to one site only. A system may belong to
/// several.
fn between(sites: &[(String, Site)], problems: &mut Problems) {
    let mut site_names = BTreeMap::new();
    let mut devices = BTreeMap::new();
    for (file, site) in sites {
        if let Some(other) = site_names.insert(site.file.id.clone(), file) {
            problems.add(file, "id", &site.file.id, format!("give another; {other} has it too"));
        }
        let meters = site.file.meters.iter().map(|m| ("meters", &m.id));
        let chargers = site.file.chargers.iter().map(|c| ("chargers", &c.id));
        let systems = site.file.systems.iter().map(|s| ("systems", &s.id));
        for (list, device) in meters.chain(chargers).chain(systems) {
            match devices.insert(device.clone(), (list, file)) {
                // One system may signal to several sites.
                Some(("systems", _)) if list == "systems" => {}
                Some((_, other)) if other != file => {
                    let allowed = format!("give another; {other} has it too, and it is the device's login");
                    problems.add(file, format!("{list}.{device}.id"), device, allowed);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }

    fn site_text(id: &str, charger: &str) -> String {
        format!(
            "id = '{id}'\n[[circuits]]\nid = 'grid'\nlimit_a = 32\n[[chargers]]\nid = '{charger}'\ncircuit = 'grid'\n"
        )
    }

    fn check(problems: Problems, expected: &[&str]) {
        let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        for part in expected {
            assert!(lines.iter().any(|line| line.contains(part)), "{part} is not in {lines:#?}");
        }
    }

    #[test]
    fn right_files_are_taken() {
        let folder = tempfile::tempdir().expect("folder");
        let site = written(folder.path(), "a.toml", &site_text("a", "cp-1"));
        let files = read(None, &[site]).expect("right");
        assert_eq!(files.sites[0].file.id.as_str(), "a");
        assert_eq!(files.config, Config::default());
    }

    #[test]
    fn the_mistakes_of_all_files_are_named_at_once() {
        let folder = tempfile::tempdir().expect("folder");
        let config = written(folder.path(), "edge.toml", "[journal]\nbudget_mib = 0\n");
        let broken = written(folder.path(), "broken.toml", "id = 'b'\n[[circuits]]\nid = 1\n");
        let missing = folder.path().join("missing.toml");
        let problems = read(Some(&config), &[broken, missing]).expect_err("three are wrong");
        check(problems, &["budget_mib", "broken.toml", "missing.toml: can't be read"]);
    }

    #[test]
    fn two_sites_of_one_name_or_with_one_device_are_named() {
        let folder = tempfile::tempdir().expect("folder");
        let one = written(folder.path(), "one.toml", &site_text("a", "cp-1"));
        let two = written(folder.path(), "two.toml", &site_text("a", "cp-1"));
        let problems = read(None, &[one, two]).expect_err("both names are taken");
        check(problems, &["two.toml: id: a", "two.toml: chargers.cp-1.id"]);
    }

    #[test]
    fn a_node_without_a_site_is_a_mistake() {
        check(read(None, &[]).expect_err("no site"), &["name at least one site file"]);
    }
}
