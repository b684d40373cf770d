//! Whose word is taken for who a server is.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// Where systems keep the certificates that they trust, all in one file: Debian, Fedora, SUSE, Alpine and macOS.
const OF_SYSTEMS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The variable by which other programs are told of another such file.
const OTHER_FILE: &str = "SSL_CERT_FILE";

/// Certificates that vouch for servers, as PEM: those of a file that was named, else those that this system trusts.
pub(super) fn certificates(named: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => of_system()?,
    };
    let pem = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let begin = b"-----BEGIN CERTIFICATE-----";
    let is_pem = pem.windows(begin.len()).any(|window| window == begin);
    ensure!(is_pem, "{} holds no certificate; it can be a PEM file", path.display());
    Ok(pem)
}

fn of_system() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(OTHER_FILE) {
        return Ok(path.into());
    }
    match OF_SYSTEMS.iter().map(Path::new).find(|path| path.is_file()) {
        Some(path) => Ok(path.to_owned()),
        None => bail!("this system has no file of certificates that it trusts: give --ca FILE"),
    }
}

/// What to do where a server's certificate was not taken. The library has names for the reasons, and no advice.
pub(super) fn advice(error: &str, named: bool) -> Option<&'static str> {
    let is = |name: &str| error.contains(name);
    if is("CaUsedAsEndEntity") {
        return Some(
            "the server's certificate says that it is an authority's (CA:TRUE), which none that serves may be; make it \
             with `openssl req -x509 ... -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:NAME`",
        );
    }
    // Another's certificate that has the same name on it gives the second.
    if is("UnknownIssuer") || is("BadSignature") {
        return Some(match named {
            true => "nobody in the file of --ca vouches for the server's certificate",
            false => "nobody whom this system trusts vouches for the server's certificate; give --ca FILE",
        });
    }
    if is("NotValidForName") {
        return Some("the server's certificate is for another name than the URL has");
    }
    is("Expired").then_some("the server's certificate has expired")
}
