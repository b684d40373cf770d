//! The product in one test: many clients with many adapters and two tenants; some leave; all is recorded, proven, and
//! seen by nobody else.

use std::path::Path;
use std::process::Command;

use loam_ledger_core::Hash;
use loam_ledger_core::note::VerifierKey;
use loam_ledger_core::receipt::{Held, Receipt};
use loam_ledger_core::row::Row;
use loam_proto::v1;
use tonic::Code;

use crate::access::{Tenants, tenants};
use crate::asking::{Client, Told, question};
use crate::running::Server;

/// Clients of each tenant at one time.
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_served_is_what_is_recorded_and_each_tenant_sees_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let Tenants { file, first, second, auditor, .. } = tenants(folder.path());
    let server = Server::start(folder.path(), &["--api-keys", &file]);
    let (ours, theirs) = tokio::join!(crowd(&server, &first), crowd(&server, &second));
    leave_early(&server, &first).await;
    let mut one = Client::new(&server, Some(&first)).await;
    let mut other = Client::new(&server, Some(&second)).await;
    check_receipts(&mut one, &ours).await;
    check_rows(&mut one, &ours, &theirs).await;
    check_rows(&mut other, &theirs, &ours).await;
    check_foreign(&server, &mut other, &second, &ours[0]).await;
    let mut all = Client::new(&server, Some(&auditor)).await;
    let opened = all.rows(v1::Scope::All).await.unwrap();
    assert!(opened.iter().all(|row| matches!(row.row, Some(v1::row::Row::Open(_)))), "an auditor of all sees all");
    assert!(server.log().contains("everybody's rows are read"), "each such reading is logged");
    check_erased(&mut one, &ours[1]).await;
    let key = export(&mut one, &folder.path().join("own")).await;
    audit(&folder.path().join("own/usage/1"), &key);
    server.stop();
}

/// Many answers at once, over the base and both adapters.
async fn crowd(server: &Server, key: &str) -> Vec<Told> {
    let ask = async |number: usize| {
        let mut client = Client::new(server, Some(key)).await;
        let adapter = [None, Some("clay"), Some("loess")][number % 3];
        let request = v1::GenerateRequest {
            receipt: true,
            nonce: vec![u8::try_from(number).unwrap() + 1; 32],
            ..question(&format!("What grows here, and {number} more?"), adapter, 5 + u32::try_from(number).unwrap())
        };
        client.ask(request).await.unwrap()
    };
    futures_util::future::join_all((0..CLIENTS).map(ask)).await
}

/// Streams that nobody reads to their end.
async fn leave_early(server: &Server, key: &str) {
    for _ in 0..3 {
        let mut client = Client::new(server, Some(key)).await;
        let mut stream = client.inference.generate(question("Go on", Some("clay"), 400)).await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        stream.message().await.unwrap().unwrap();
    }
    let mut client = Client::new(server, Some(key)).await;
    for _ in 0..200 {
        let load = client.server.load(v1::LoadRequest {}).await.unwrap().into_inner();
        if load.running + load.waiting == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("what nobody listens to is not cancelled");
}

/// Each receipt holds what its client holds, and fails for anything else.
async fn check_receipts(client: &mut Client, told: &[Told]) {
    let logs = client.ledger.logs(v1::LogsRequest {}).await.unwrap().into_inner().logs;
    let shard = logs.iter().find(|log| log.log == "usage/1").unwrap();
    let key = VerifierKey::parse(&shard.verifier_key).unwrap();
    for (number, told) in told.iter().enumerate() {
        let receipt = Receipt::parse(&told.receipts[0]).unwrap();
        let nonce = [u8::try_from(number).unwrap() + 1; 32];
        let request = v1::GenerateRequest {
            receipt: true,
            nonce: nonce.to_vec(),
            ..question(
                &format!("What grows here, and {number} more?"),
                [None, Some("clay"), Some("loess")][number % 3],
                5 + u32::try_from(number).unwrap(),
            )
        };
        let bytes = prost::Message::encode_to_vec(&request);
        let held =
            Held { nonce: Some(&nonce), request: Some(&bytes), output: Some(told.text.as_bytes()), ..Held::default() };
        let checked = receipt.check(&key, &held);
        assert!(checked.refused().is_none(), "{:?}", checked.lines);
        let other = Held { output: Some(b"something else"), ..held };
        assert!(receipt.check(&key, &other).refused().is_some(), "a receipt proves one answer alone");
        let asked = v1::ReceiptRequest { receipt_id: told.receipt_id.clone(), choice: 0 };
        let again = client.ledger.receipt(asked).await.unwrap().into_inner().tlog_proof;
        assert_eq!(Receipt::parse(&again).unwrap().opening, receipt.opening);
    }
}

/// A tenant's rows add up to what its clients counted, and nobody else's are open to it.
async fn check_rows(client: &mut Client, own: &[Told], foreign: &[Told]) {
    let (mut emitted, mut names) = (0, Vec::new());
    for row in client.rows(v1::Scope::Unspecified).await.unwrap() {
        let Some(v1::row::Row::Open(open)) = row.row else { continue };
        if let Row::Completion(completion) = Row::decode(&open.row).unwrap() {
            names.push(completion.request);
            if own.iter().any(|told| told.receipt_id == completion.request.0) {
                emitted += completion.tokens.emitted;
            }
        }
    }
    let counted: usize = own.iter().map(|told| told.tokens.len()).sum();
    assert_eq!(emitted, counted as u64, "rows and clients count the same tokens");
    assert!(own.iter().all(|told| names.contains(&Hash::from_slice(&told.receipt_id).unwrap())));
    assert!(!foreign.iter().any(|told| names.contains(&Hash::from_slice(&told.receipt_id).unwrap())));
}

/// What is somebody else's looks like what nobody ever made, over every method that takes a name.
async fn check_foreign(server: &Server, client: &mut Client, key: &str, foreign: &Told) {
    let (real, made_up) = (foreign.receipt_id.clone(), vec![7; 32]);
    let asked = |receipt_id| v1::ReceiptRequest { receipt_id, choice: 0 };
    let real_refusal = client.ledger.receipt(asked(real.clone())).await.unwrap_err();
    let made_up_refusal = client.ledger.receipt(asked(made_up.clone())).await.unwrap_err();
    assert_eq!((real_refusal.code(), real_refusal.message()), (Code::NotFound, made_up_refusal.message()));
    assert_eq!(real_refusal.details(), made_up_refusal.details());
    let erase = |receipt_id| v1::EraseRequest { receipt_id, reason: 1 };
    let real_refusal = client.ledger.erase(erase(real.clone())).await.unwrap_err();
    let made_up_refusal = client.ledger.erase(erase(made_up.clone())).await.unwrap_err();
    assert_eq!((real_refusal.code(), real_refusal.message()), (Code::NotFound, made_up_refusal.message()));
    let get = |name: &[u8]| {
        let head = format!("GET /receipts/{}", loam_ledger_core::text::hex_encode(name));
        let (status, _, body) = server.http(&head, &[&format!("authorization: Bearer {key}")], "");
        (status, body)
    };
    assert_eq!(get(&real), get(&made_up));
    assert_eq!(get(&real).0, 404);
}

/// What a tenant erases can be read by nobody any more.
async fn check_erased(client: &mut Client, told: &Told) {
    let erase = v1::EraseRequest { receipt_id: told.receipt_id.clone(), reason: 1 };
    client.ledger.erase(erase).await.unwrap();
    let asked = v1::ReceiptRequest { receipt_id: told.receipt_id.clone(), choice: 0 };
    assert_eq!(client.ledger.receipt(asked).await.unwrap_err().code(), Code::NotFound);
}

/// Writes an export into a folder; the key of its shard.
async fn export(client: &mut Client, folder: &Path) -> String {
    let mut stream = client.ledger.export(v1::ExportRequest::default()).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        bytes.extend(message.bytes);
        if message.last {
            let path = folder.join(&message.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, std::mem::take(&mut bytes)).unwrap();
        }
    }
    let logs = client.ledger.logs(v1::LogsRequest {}).await.unwrap().into_inner().logs;
    logs.into_iter().find(|log| log.log == "usage/1").unwrap().verifier_key
}

/// The auditor's program finds what was exported whole.
fn audit(folder: &Path, key: &str) {
    let programs = Path::new(env!("CARGO_BIN_EXE_loam")).parent().unwrap();
    let programs = std::env::var_os("LOAM_BIN").map_or_else(|| programs.to_owned(), Into::into);
    let audited = Command::new(programs.join("loam-audit"))
        .arg("log")
        .arg(folder)
        .args(["--vkey", key, "--allow-erased"])
        .output();
    let audited = audited.unwrap();
    let said = String::from_utf8_lossy(&audited.stdout).into_owned() + &String::from_utf8_lossy(&audited.stderr);
    assert!(audited.status.success(), "{said}");
}
