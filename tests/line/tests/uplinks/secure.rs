//! Certificates and passwords: taken where they are right, and told in one clear sentence where they are not.

use std::path::Path;

use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use wattle_edge::uplink::{Direct, Options, Tls, Way};
use wattle_kafka::{KafkaConfig, Mechanism, SaslConfig, TlsConfig};
use wattle_testkit::{Authority, KAFKA_USER, Kafka};

use crate::cluster::Cluster;
use crate::fog::Fog;
use crate::rig::{Rig, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_is_reached_by_certificate_and_by_each_kind_of_password() {
    let rig = Rig::apache();
    let Cluster::Apache(kafka, _) = &rig.cluster else { unreachable!("it is Apache Kafka") };
    let (tls, sasl, certificates) = {
        let kafka = kafka.lock().expect("sound");
        (kafka.tls(), kafka.sasl(), kafka.certificates().to_owned())
    };
    let password = rig.path("password");
    std::fs::write(&password, format!("{}\n", KAFKA_USER.1)).expect("written");
    let by_password = |mechanism| secured(&rig, &sasl, &certificates, false, Some((mechanism, &password)));
    let ways = [
        secured(&rig, &tls, &certificates, true, None),
        by_password(Mechanism::Plain),
        by_password(Mechanism::ScramSha256),
        by_password(Mechanism::ScramSha512),
    ];
    let mut edge = rig.edge("edge-1");
    for config in ways {
        let (fog, options) = both(&rig, &config).await;
        edge.measure(20);
        edge.start(options);
        rig.settles(&fog, &[&edge]).await;
        edge.kill().await;
        fog.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_the_right_one_is_taken_up_without_a_restart() {
    let rig = Rig::apache();
    let (config, password) = with_password(&rig, "wrong");
    let (fog, options) = both(&rig, &config).await;
    let mut edge = rig.edge("edge-1");
    edge.measure(20);
    edge.start(options);
    until("the edge to tell", || async { edge.status().reason.contains("password file") }).await;
    until("the fog node to tell", || async {
        fog.health.faults().iter().any(|(part, text)| *part == "kafka" && text.contains("password file"))
    })
    .await;
    let told = edge.status().reason;
    assert!(!told.contains("wrong"), "the password itself is told: {told}");
    assert_eq!(edge.freed(), 0);
    std::fs::write(&password, KAFKA_USER.1).expect("written");
    rig.settles(&fog, &[&edge]).await;
    edge.kill().await;
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_whose_certificate_is_not_of_our_authority_are_not_trusted() {
    let rig = Rig::apache();
    let (mut config, _) = with_password(&rig, KAFKA_USER.1);
    let other = rig.path("ca.pem");
    std::fs::write(&other, Authority::new().expect("an authority").pem()).expect("written");
    config.tls = Some(TlsConfig { ca: Some(other), ..TlsConfig::default() });
    let mut edge = rig.edge("edge-1");
    edge.measure(5);
    let Way::Kafka(kafka) = rig.kafka_options(|kafka| kafka.connection = config).way else {
        unreachable!("it is Kafka")
    };
    edge.start(Options { way: Way::Kafka(kafka), ..rig.options() });
    until("the edge to tell", || async { edge.status().reason.contains("kafka.tls") }).await;
    edge.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_with_its_own_certificate_is_taken_and_with_any_other_turned_away() {
    let rig = Rig::direct();
    let (ours, foreign) = (Authority::new().expect("ours"), Authority::new().expect("foreign"));
    let folder = rig.path("certificates");
    std::fs::create_dir_all(&folder).expect("a folder");
    ours.write(&folder).expect("written");
    std::fs::write(folder.join("foreign-ca.pem"), foreign.pem()).expect("written");
    ours.certify("edge-1").expect("signed").write(&folder, "edge-1").expect("written");
    ours.certify("edge-2").expect("signed").write(&folder, "edge-2").expect("written");
    foreign.certify("edge-1").expect("signed").write(&folder, "foreign").expect("written");
    let server = ours.certify("localhost").expect("signed");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(server.cert, server.key))
        .client_ca_root(Certificate::from_pem(ours.pem()));
    let fog = Fog::start_with(&rig.lake(), &rig.cluster, Some(tls), |_| ()).await;
    let mut edge = rig.edge("edge-1");
    edge.measure(20);
    for (ca, cert, told) in [
        ("ca.pem", "edge-2", "the certificate is for edge-2, not for edge-1"),
        ("ca.pem", "foreign", ""),
        ("foreign-ca.pem", "edge-1", ""),
        ("ca.pem", "nobody", "nobody.pem"),
    ] {
        edge.start(dialling(&rig, &folder, ca, cert));
        until(&format!("{cert} to be turned away"), || async {
            let status = edge.status();
            !status.reason.is_empty() && status.reason.contains(told)
        })
        .await;
        assert_eq!((edge.status().connections, edge.freed()), (0, 0), "{cert}: {}", edge.status().reason);
        edge.kill().await;
    }
    // Without TLS there is no answer either.
    edge.start(rig.options());
    until("the plain edge to be turned away", || async { !edge.status().reason.is_empty() }).await;
    edge.kill().await;
    edge.start(dialling(&rig, &folder, "ca.pem", "edge-1"));
    rig.settles(&fog, &[&edge]).await;
    edge.kill().await;
    fog.stop().await;
}

fn dialling(rig: &Rig, folder: &Path, ca: &str, cert: &str) -> Options {
    let Cluster::Direct(port) = &rig.cluster else { unreachable!("it is the direct way") };
    let tls = Tls {
        ca: folder.join(ca),
        cert: folder.join(format!("{cert}.pem")),
        key: folder.join(format!("{cert}.key")),
        server_name: Some("localhost".into()),
    };
    let direct = Direct { tls: Some(tls), ..Direct::new(format!("https://127.0.0.1:{port}")) };
    Options { way: Way::Direct(direct), ..rig.options() }
}

/// The listener with a password that stands in a file.
fn with_password(rig: &Rig, text: &str) -> (KafkaConfig, std::path::PathBuf) {
    let Cluster::Apache(kafka, _) = &rig.cluster else { unreachable!("it is Apache Kafka") };
    let kafka: &Kafka = &kafka.lock().expect("sound");
    let password = rig.path("password");
    std::fs::write(&password, text).expect("written");
    let by = Some((Mechanism::ScramSha256, password.as_path()));
    (secured(rig, &kafka.sasl(), kafka.certificates(), false, by), password)
}

fn secured(
    rig: &Rig,
    brokers: &str,
    certificates: &Path,
    own_certificate: bool,
    password: Option<(Mechanism, &Path)>,
) -> KafkaConfig {
    let own = |file: &str| own_certificate.then(|| certificates.join(file));
    let tls =
        TlsConfig { ca: Some(certificates.join("ca.pem")), cert: own("client.pem"), key: own("client.key") };
    let sasl = password.map(|(mechanism, path)| SaslConfig {
        mechanism,
        user: KAFKA_USER.0.into(),
        password_file: path.to_owned(),
    });
    let plain = rig.cluster.kafka().expect("Kafka").clone();
    KafkaConfig { brokers: brokers.into(), tls: Some(tls), sasl, ..plain }
}

/// A fog node and an edge's options, both with this connection.
async fn both(rig: &Rig, config: &KafkaConfig) -> (Fog, Options) {
    let fog =
        Fog::start_with(&rig.lake(), &rig.cluster, None, |options| options.connection = config.clone()).await;
    (fog, rig.kafka_options(|kafka| kafka.connection = config.clone()))
}
