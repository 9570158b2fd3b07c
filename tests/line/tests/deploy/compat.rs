//! An edge node and a fog node of different versions on the way down.

use tonic::service::Routes;
use tonic::transport::Server;
use wattle_testkit::{free_port, wait_for};

use crate::{DIGEST, LIMIT, Lines, Rig, component};

#[test]
fn an_edge_whose_fog_node_is_too_old_for_documents_says_so_and_is_deployed_to_directly() {
    // A fog node of before knows the way up and not this one; it answers like a server that knows no call at all.
    let port = free_port().expect("a port");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    runtime.spawn(Server::builder().add_routes(Routes::default()).serve(address));
    let mut rig = Rig::with(|_, _| Lines {
        uplink: Some(format!(
            "address = 'http://127.0.0.1:{port}'\n[deploy]\ntokens = {{ anna = '{DIGEST}' }}\n"
        )),
        ..Lines::default()
    });
    rig.start_edge();
    rig.decides("fair-share 0.1.0");
    let documents = wait_for("it to be told", LIMIT, || {
        let documents = rig.page(rig.edge_http)?["documents"].clone();
        documents["reason"].as_str().is_some_and(|reason| !reason.is_empty()).then_some(documents)
    });
    let documents = documents.expect("it says why");
    let told = documents["reason"].as_str().unwrap_or_default();
    assert!(
        told.contains("it knows nothing of documents; update the fog node, or deploy to this edge itself"),
        "{told}"
    );
    let line = format!("deploy {} --site depot --activate --token token", component("equal-share"));
    let done = rig.policy(&format!("{line} --edge http://127.0.0.1:{}", rig.edge_http));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    rig.decides("equal-share 0.1.0");
}
