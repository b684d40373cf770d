//! `loam ls` and `loam ps`: what a server serves, and how busy it is.

use std::process::ExitCode;

use clap::Args;
use loam_ledger_core::text::hex_encode;
use loam_proto::v1;
use loam_proto::v1::server_client::ServerClient;
use serde_json::json;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::adapters::{line, list};
use super::{Keyed, Place, told};

/// What both take.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn ls(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let connection = arguments.place.connect().await?;
    let info = ServerClient::new(connection.clone()).info(v1::InfoRequest {}).await.map_err(told)?.into_inner();
    let adapters = list(connection).await?;
    if arguments.json {
        let adapter = |it: &v1::Adapter| json!({"name": it.name, "generation": hex_encode(&it.generation), "source": it.source, "pinned": it.pinned, "refused": it.refused});
        let models = json!({"models": info.models, "base": hex_encode(&info.base), "adapters": adapters.iter().map(adapter).collect::<Vec<_>>()});
        println!("{models}");
        return Ok(ExitCode::SUCCESS);
    }
    for model in &info.models {
        println!("{model:24} {:14} the base model, {} positions", &hex_encode(&info.base)[..12], info.max_model_len);
    }
    adapters.iter().for_each(|adapter| println!("{}", line(adapter)));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn ps(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let connection = arguments.place.connect().await?;
    let mut server = ServerClient::new(connection.clone());
    let info = server.info(v1::InfoRequest {}).await.map_err(told)?.into_inner();
    let load = server.load(v1::LoadRequest {}).await.map_err(told)?.into_inner();
    let serving = is_serving(connection.clone()).await?;
    let used = |it: &v1::Adapter| it.running + it.waiting > 0 || it.residency() == v1::Residency::Device;
    let adapters: Vec<_> = list(connection).await?.into_iter().filter(used).collect();
    if arguments.json {
        let adapter = |it: &v1::Adapter| json!({"name": it.name, "running": it.running, "waiting": it.waiting, "pinned": it.pinned});
        let now = json!({"running": load.running, "waiting": load.waiting, "kv_pages_used": load.kv_pages_used, "kv_pages": load.kv_pages,
            "ledger_unsigned": load.ledger_unsigned, "ledger_free_bytes": load.ledger_free_bytes, "draining": load.draining, "serving": serving,
            "adapters": adapters.iter().map(adapter).collect::<Vec<_>>()});
        println!("{now}");
        return Ok(ExitCode::SUCCESS);
    }
    let standing = match (load.draining, serving) {
        (true, _) => ", ending",
        (false, true) => "",
        (false, false) => ", takes no requests for now: its log and GET /health say why",
    };
    println!("{} on {} ({}){standing}", info.models.join(", "), info.device, info.dtype);
    println!("  {} answers run, {} wait", load.running, load.waiting);
    println!("  {} of {} pages of keys and values hold something in use", load.kv_pages_used, load.kv_pages);
    println!("  {} of {} slots hold adapters", load.adapters_resident, load.adapters_resident_max);
    match info.ledger.as_str() {
        "" => println!("  no ledger is kept: answers have no receipts"),
        name => println!(
            "  ledger {name}: {} entries to sign, {} MiB free",
            load.ledger_unsigned,
            load.ledger_free_bytes >> 20
        ),
    }
    for adapter in adapters {
        println!("{}  {} run, {} wait", line(&adapter), adapter.running, adapter.waiting);
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether requests are taken: not while the server ends, and not where there is no room for their record.
async fn is_serving(connection: Keyed) -> anyhow::Result<bool> {
    let asked = HealthCheckRequest { service: String::new() };
    let health = HealthClient::new(connection).check(asked).await.map_err(told)?.into_inner();
    Ok(health.status() == ServingStatus::Serving)
}
