//! TLS: the port speaks nothing else then, and asks clients for certificates where it is told to.

use std::path::{Path, PathBuf};
use std::process::Command;

use loam_proto::v1;
use loam_proto::v1::server_client::ServerClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa, KeyPair, generate_simple_self_signed};
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

/// What `loam ls` says of a server that it does not trust, or of its files.
fn listed(server: &Server, environment: &[(&str, &str)], more: &[&str]) -> Result<String, String> {
    listed_by("https", server, environment, more)
}

fn listed_by(scheme: &str, server: &Server, environment: &[(&str, &str)], more: &[&str]) -> Result<String, String> {
    let url = format!("{scheme}://{}", server.address.replace("127.0.0.1", "localhost"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
    command.env_clear().envs(environment.iter().copied()).args(["ls", "--url", &url]).args(more);
    let output = command.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

#[test]
fn a_command_trusts_whom_the_system_trusts_or_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, strange) = (certified(folder.path(), "localhost"), certified(folder.path(), "elsewhere"));
    let server = Server::start(folder.path(), &["--tls-cert", word(&ours.pem_file), "--tls-key", word(&ours.key_file)]);
    assert!(listed(&server, &[("SSL_CERT_FILE", word(&ours.pem_file))], &[]).unwrap().contains("tiny"));
    assert!(listed(&server, &[], &["--ca", word(&ours.pem_file)]).unwrap().contains("tiny"));
    let said = listed(&server, &[("SSL_CERT_FILE", word(&strange.pem_file))], &[]).unwrap_err();
    assert!(said.contains("nobody whom this system trusts") && said.contains("give --ca FILE"), "{said}");
    let said = listed(&server, &[], &["--ca", word(&strange.pem_file)]).unwrap_err();
    assert!(said.contains("nobody in the file of --ca"), "{said}");
    let said = listed(&server, &[], &["--ca", word(&ours.key_file)]).unwrap_err();
    assert!(said.contains("holds no certificate"), "{said}");
    // Who hangs up first differs from one time to the next.
    for _ in 0..8 {
        let said = listed_by("http", &server, &[], &[]).unwrap_err();
        assert!(said.contains("does the server speak TLS (https://), or none?"), "{said}");
    }
    server.stop();
}

/// As `openssl req -x509` makes them by itself.
#[test]
fn a_certificate_of_an_authority_is_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let files = [folder.path().join("ca.pem"), folder.path().join("ca.key")];
    std::fs::write(&files[0], params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&files[1], key.serialize_pem()).unwrap();
    let server = Server::start(folder.path(), &["--tls-cert", word(&files[0]), "--tls-key", word(&files[1])]);
    let said = listed(&server, &[], &["--ca", word(&files[0])]).unwrap_err();
    assert!(said.contains("CA:FALSE"), "{said}");
    server.stop();
}

#[test]
fn a_file_without_a_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let ours = certified(folder.path(), "localhost");
    let files = ["--tls-cert", word(&ours.pem_file), "--tls-key", word(&ours.pem_file)];
    let said = Server::try_start(folder.path(), &files).err().unwrap();
    assert!(said.contains("localhost.pem holds no private key; it can be a PEM file"), "{said}");
}
