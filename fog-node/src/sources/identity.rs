//! Whether a certificate is the edge's that it says it is.
//!
//! That the authority has signed it, and that it holds now, was checked when the connection was made. Here it is about the name:
//! the edge's id stands in the certificate as a DNS name, letter by letter. Wildcards name nobody.

use tonic::Status;
use tonic::transport::CertificateDer;
use wattle_wire::EdgeId;
use webpki::EndEntityCert;

/// Refuses an edge whose name isn't in its certificate.
///
/// # Errors
/// With what to do.
pub(super) fn check(edge: &EdgeId, shown: Option<&[CertificateDer<'static>]>) -> Result<(), Status> {
    let own = shown.and_then(<[_]>::first).ok_or_else(|| {
        Status::unauthenticated("no certificate was shown; give the edge uplink.tls.cert and uplink.tls.key")
    })?;
    let certificate = EndEntityCert::try_from(own)
        .map_err(|error| Status::unauthenticated(format!("the certificate can't be read: {error}")))?;
    let names: Vec<&str> = certificate.valid_dns_names().collect();
    if names.contains(&edge.as_str()) {
        return Ok(());
    }
    tracing::warn!(%edge, certificate = ?names, "an edge has come with another's certificate; it is turned away");
    metrics::counter!("wattle_fog_edges_turned_away_total").increment(1);
    Err(Status::permission_denied(format!(
        "the certificate is for {}, not for {edge}; an edge's id has to stand in its certificate as a DNS name",
        names.join(", ")
    )))
}
