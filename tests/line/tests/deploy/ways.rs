//! The way down beside each way up: documents come from the fog node over the connection that the edge dials.

use std::path::Path;

use serde_json::Value;
use wattle_testkit::{Authority, Kafka, wait_for};

use crate::{LIMIT, Lines, Rig, component};

#[test]
fn an_edge_whose_rows_go_through_kafka_fetches_its_policies_from_the_fog_node_that_it_names() {
    let kafka = Kafka::start().expect("starts");
    let brokers = format!("[kafka]\nbrokers = '{}'\n", kafka.plain());
    let mut rig = Rig::with(|port, _| Lines {
        uplink: Some(format!("way = 'kafka'\n[deploy]\nfog = 'http://127.0.0.1:{port}'\n{brokers}")),
        fog: format!("{brokers}[intake]\nreplication = 1\npartitions = 2\n"),
        ..Lines::default()
    });
    rig.start_fog();
    rig.start_edge();
    rig.decides("fair-share 0.1.0");
    let sent = rig.deploy(&format!("{} --activate", component("equal-share")));
    let site = rig.decides("equal-share 0.1.0");
    assert_eq!(site["deployed"]["newest"]["version"], sent["version"]);
    // What has become of it comes up through Kafka, like every row.
    let lake = rig.folder.path().join("lake");
    let told = wait_for("the lake to know", LIMIT, || {
        let told = rig.policy(&format!("status --lake {} --json", lake.display()));
        let told: Value = serde_json::from_slice(&told.stdout).ok()?;
        (told[0]["newest"]["version"] == sent["version"]).then_some(told)
    })
    .expect("in the lake");
    assert_eq!(told[0]["newest"]["outcome"], "applied", "{told:#}");
    let page = rig.page(rig.edge_http).expect("a page");
    assert_eq!(
        (&page["uplink"]["state"], &page["documents"]["state"]),
        (&"connected".into(), &"connected".into())
    );
}

#[test]
fn with_mutual_tls_an_edge_gets_its_own_policies_and_nobody_those_of_another() {
    let authority = Authority::new().expect("an authority");
    let certify = |folder: &Path, file: &str, name: &str| {
        authority.certify(name).expect("signed").write(folder, file).expect("written");
    };
    let mut rig = Rig::with(|port, folder| {
        authority.write(folder).expect("written");
        certify(folder, "fog", "localhost");
        certify(folder, "mine", "edge-2");
        Lines {
            uplink: Some(format!(
                "address = 'https://127.0.0.1:{port}'\n[uplink.tls]\nca = 'ca.pem'\ncert = 'mine.pem'\nkey = 'mine.key'\n\
                 server_name = 'localhost'\n"
            )),
            fog: "[uplink_tls]\nca = 'ca.pem'\ncert = 'fog.pem'\nkey = 'fog.key'\n".into(),
            ..Lines::default()
        }
    });
    rig.start_fog();
    rig.start_edge();
    let sent = rig.deploy(&format!("{} --activate", component("equal-share")));
    let told = wait_for("the edge to be turned away", LIMIT, || {
        let page = rig.page(rig.edge_http)?;
        let reason = page["documents"]["reason"].as_str().filter(|reason| !reason.is_empty())?;
        Some((reason.to_owned(), page["documents"]["state"].clone()))
    });
    let (reason, state) = told.expect("it says why");
    assert!(reason.contains("the certificate is for edge-2, not for edge-1"), "{reason}");
    assert_eq!(state, "down");
    assert_eq!(rig.page(rig.edge_http).expect("a page")["sites"][0]["deployed"], Value::Null);

    // The edge reads its certificate at each try, so the right one needs no restart.
    certify(rig.folder.path(), "mine", "edge-1");
    let site = rig.decides("equal-share 0.1.0");
    assert_eq!(site["deployed"]["newest"]["version"], sent["version"]);
}
