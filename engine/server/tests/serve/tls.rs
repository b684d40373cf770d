//! TLS: the port speaks nothing else then, and asks clients for certificates where it is told to.

use std::path::{Path, PathBuf};

use loam_proto::v1;
use loam_proto::v1::server_client::ServerClient;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::running::Server;

/// A certificate that vouches for itself, and its key, as PEM and as files.
struct Certified {
    pem: String,
    key: String,
    pem_file: PathBuf,
    key_file: PathBuf,
}

fn certified(folder: &Path, name: &str) -> Certified {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let (pem, key) = (cert.pem(), signing_key.serialize_pem());
    let (pem_file, key_file) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    std::fs::write(&pem_file, &pem).unwrap();
    std::fs::write(&key_file, &key).unwrap();
    Certified { pem, key, pem_file, key_file }
}

/// Asks over TLS, trusting one certificate, with or without one of its own.
async fn ask(server: &Server, trusted: &Certified, own: Option<&Certified>) -> Result<(), String> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&trusted.pem)).domain_name("localhost");
    if let Some(own) = own {
        tls = tls.identity(Identity::from_pem(&own.pem, &own.key));
    }
    let channel = Channel::from_shared(format!("https://{}", server.address)).unwrap().tls_config(tls).unwrap();
    let channel = channel.connect().await.map_err(|error| format!("{error:?}"))?;
    ServerClient::new(channel).info(v1::InfoRequest {}).await.map(drop).map_err(|status| status.to_string())
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_trusts_the_certificate_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, strange) = (certified(folder.path(), "localhost"), certified(folder.path(), "elsewhere"));
    let more = ["--tls-cert", word(&ours.pem_file), "--tls-key", word(&ours.key_file)];
    let server = Server::start(folder.path(), &more);
    ask(&server, &ours, None).await.unwrap();
    assert!(ask(&server, &strange, None).await.is_err(), "a client that trusts somebody else does not speak");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_it_is_asked_for_a_client_shows_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, client) = (certified(folder.path(), "localhost"), certified(folder.path(), "client"));
    let strange = certified(folder.path(), "strange");
    let more = ["--tls-cert", word(&ours.pem_file), "--tls-key", word(&ours.key_file), "--tls-client-ca"];
    let server = Server::start(folder.path(), &[&more[..], &[word(&client.pem_file)]].concat());
    ask(&server, &ours, Some(&client)).await.unwrap();
    assert!(ask(&server, &ours, None).await.is_err(), "none");
    assert!(ask(&server, &ours, Some(&strange)).await.is_err(), "another's");
    server.stop();
}
