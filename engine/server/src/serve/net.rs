//! Sockets: accept, TLS, gRPC and HTTP on one port; and how much of each there may be.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};
use tracing::{debug, warn};

use super::places::{Connection, Places, note};
use crate::settings::Tls;

/// How long a client may take over its greeting, over its first request, and over each request's headers.
const GREETING_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a request's headers; gRPC's metadata among them.
const HEADER_BYTES_MAX: usize = 32 << 10;

/// A silent HTTP/2 connection is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// After an error of the operating system, as where files ran out, it is given time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much of everything there may be.
pub(super) struct Bounds {
    pub(super) connections: usize,
    pub(super) streams_per_connection: u32,
}

/// Serves until told to end, then lets each connection finish what it has begun.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    bounds: &Bounds,
    mut ending: watch::Receiver<bool>,
) {
    let places = Places::new(bounds.connections);
    let graceful = GracefulShutdown::new();
    let protocol = Arc::new(protocol(bounds));
    loop {
        let accepted = tokio::select! {
            _ = ending.wait_for(|ending| *ending) => break,
            accepted = accept(&listener) => accepted,
        };
        let Some((stream, peer)) = accepted else { continue };
        let place = tokio::select! {
            _ = ending.wait_for(|ending| *ending) => break,
            place = places.take() => place,
        };
        let (tls, protocol, watcher) = (tls.clone(), Arc::clone(&protocol), graceful.watcher());
        let noted = axum::middleware::from_fn_with_state(Arc::clone(&place.connection), note);
        let service = TowerToHyperService::new(router.clone().layer(noted));
        tokio::spawn(async move {
            let served = async {
                match tls {
                    None => watcher.watch(protocol.serve_connection(TokioIo::new(stream), service).into_owned()).await,
                    Some(tls) => {
                        let stream = TokioIo::new(tls.accept(stream).await?);
                        watcher.watch(protocol.serve_connection(stream, service).into_owned()).await
                    }
                }
            };
            if let Err(error) = while_it_stirs(&place.connection, served).await {
                debug!(%peer, %error, "a connection broke off");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Serves a connection until it ends, says nothing for too long, or must give way to another.
async fn while_it_stirs<E>(
    connection: &Connection,
    served: impl Future<Output = Result<(), E>>,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    tokio::select! {
        outcome = served => outcome.map_err(Into::into),
        () = connection.said_nothing_for(GREETING_PATIENCE) => Err("it asked nothing in time".into()),
        () = connection.told_to_give_way() => Err("others needed its place".into()),
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Tokens are small and must not wait for each other.
            let _ = stream.set_nodelay(true);
            Some((stream, peer))
        }
        Err(error) => {
            warn!(%error, "a connection could not be taken");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn protocol(bounds: &Bounds) -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(GREETING_PATIENCE)
        .max_buf_size(HEADER_BYTES_MAX.max(64 << 10));
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.streams_per_connection)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).expect("a small number"))
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    protocol
}

/// What TLS needs: our chain and key, and whose certificates clients must bring.
pub(super) fn acceptor(tls: &Tls) -> anyhow::Result<TlsAcceptor> {
    let named = |path: &std::path::Path| path.display().to_string();
    let chain = certificates(&tls.cert)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| match error {
        pem::Error::NoItemsFound => anyhow!("{} holds no private key; it can be a PEM file", named(&tls.key)),
        error => anyhow!(error).context(named(&tls.key)),
    })?;
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).with_context(|| named(path))?;
            }
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
            )
        }
    };
    let mut config = builder.with_single_cert(chain, key).with_context(|| named(&tls.cert))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &std::path::Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let place = || path.display().to_string();
    let found = CertificateDer::pem_file_iter(path).with_context(place)?;
    let found = found.collect::<Result<Vec<_>, _>>().with_context(place)?;
    if found.is_empty() {
        bail!("{} holds no certificate; it can be a PEM file", path.display());
    }
    Ok(found)
}
