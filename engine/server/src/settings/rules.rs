//! From gathered values to typed ones, with every rule that concerns more than one of them.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use loam_engine::adapter::Source;
use loam_engine::json::Json;
use loam_engine::model::Residence;
use loam_engine::{Arithmetic, DType, DeliveryMode, DeviceChoice, LoadFormat, NoDevice};
use loam_ledger_core::origin::{LogId, LogName};

use super::error::SettingsError;
use super::gathered::Gathered;
use super::table::{MODEL_NAME, Setting};
use super::value::Origin;
use super::{Access, Adapters, Engine, Ledger, LoraModule, Network, Secret, Tls, path};

/// Characters below which a key can be guessed.
const KEY_CHARACTERS_MIN: usize = 16;

/// A file of the caches in which the digests of unchanged files are remembered.
const DIGESTS: &str = "loam/digests.json";

pub(super) fn model(gathered: &Gathered) -> Result<(PathBuf, Vec<String>), SettingsError> {
    let Some(model) = path(gathered, MODEL_NAME) else {
        return Err(rule(
            "there is no model: say `loam serve MODEL`, before options that take several values; or LOAM_MODEL, \
             or model = in the file of --config",
        ));
    };
    let served = texts(gathered, "served-model-name")?;
    if served.is_empty() {
        let model = model.display();
        return Err(rule(format!("the folder {model} has no name of its own; say --served-model-name NAME")));
    }
    Ok((model, served))
}

/// A request says one name, and it must mean one thing.
pub(super) fn names(served: &[String], adapters: &Adapters) -> Result<(), SettingsError> {
    match adapters.modules.iter().find(|module| served.contains(&module.name)) {
        Some(module) => Err(rule(format!("{:?} is the base model's name; an adapter needs another", module.name))),
        None => Ok(()),
    }
}

pub(super) fn network(
    gathered: &Gathered,
    access: &Access,
    warnings: &mut Vec<String>,
) -> Result<Network, SettingsError> {
    let host = gathered.word("host").trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = u16::try_from(gathered.count("port")).expect("the table bounds the port");
    let network = Network { host, port, tls: tls(gathered)? };
    let origin = &gathered.said("host").origin;
    if !network.is_loopback() {
        if access.api_keys.is_empty() && access.keys_file.is_none() {
            return Err(rule(format!(
                "host {} ({origin}) can be reached from other machines, and there is no API key: say --api-keys FILE \
                 or LOAM_API_KEY, or listen on 127.0.0.1",
                network.host
            )));
        }
        if network.tls.is_none() {
            warnings.push(format!(
                "keys and texts reach {} in the clear; say --tls-cert and --tls-key, or put a proxy with TLS in front",
                network.host
            ));
        }
    }
    Ok(network)
}

fn tls(gathered: &Gathered) -> Result<Option<Tls>, SettingsError> {
    let missing = |there: &str, needed: &str| {
        let origin = &gathered.said(there).origin;
        rule(format!("{there} ({origin}) needs --{needed} as well"))
    };
    let (cert, key) = (path(gathered, "tls-cert"), path(gathered, "tls-key"));
    let client_ca = path(gathered, "tls-client-ca");
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(Tls { cert, key, client_ca })),
        (Some(_), None) => Err(missing("tls-cert", "tls-key")),
        (None, Some(_)) => Err(missing("tls-key", "tls-cert")),
        (None, None) if client_ca.is_some() => Err(missing("tls-client-ca", "tls-cert")),
        (None, None) => Ok(None),
    }
}

pub(super) fn engine(gathered: &Gathered) -> Result<Engine, SettingsError> {
    Ok(Engine {
        device: device(gathered)?,
        arithmetic: match gathered.word("arithmetic") {
            "deterministic" => Arithmetic::Deterministic,
            _ => Arithmetic::Fast,
        },
        dtype: if gathered.word("dtype") == "f32" { DType::F32 } else { DType::Bf16 },
        load_format: match gathered.word("load-format") {
            "dummy" => LoadFormat::Dummy { seed: 0 },
            _ => LoadFormat::Files,
        },
        residence: if gathered.word("weights") == "mapped" { Residence::Mapped } else { Residence::Copied },
        threads: gathered.number("threads").and_then(NonZero::new),
        positions_max: gathered.number("max-model-len"),
        step_tokens_max: gathered.count("max-num-batched-tokens"),
        running_max: gathered.count("max-num-seqs"),
        requests_max: gathered.count("max-waiting"),
        kv_bytes: gathered.number("kv-cache-mib").map(|mib| mib << 20),
        page_tokens: gathered.count("block-size"),
        delivery: if gathered.word("delivery") == "eager" { DeliveryMode::Eager } else { DeliveryMode::Recorded },
        digest_cache: gathered.caches.as_ref().map(|caches| caches.join(DIGESTS)),
    })
}

fn device(gathered: &Gathered) -> Result<DeviceChoice, SettingsError> {
    let (said, origin) = (gathered.word("device"), &gathered.said("device").origin);
    match said.parse() {
        Ok(DeviceChoice::Cuda(_)) if !DeviceChoice::GPUS_IN_BUILD => {
            let build = "`make build-cuda` makes one that has them";
            Err(rule(format!("device {said} ({origin}) needs kernels that are not in this build; {build}")))
        }
        Ok(device) => Ok(device),
        Err(NoDevice) => Err(wrong("device", origin, said, DeviceChoice::WORDS)),
    }
}

pub(super) fn adapters(gathered: &Gathered) -> Result<Adapters, SettingsError> {
    let origin = &gathered.said("lora-modules").origin;
    let mut modules: Vec<LoraModule> = Vec::new();
    for text in gathered.many("lora-modules") {
        let module = module(text).map_err(|allowed| wrong("lora-modules", origin, text, &allowed))?;
        if modules.iter().any(|other| other.name == module.name) {
            return Err(wrong("lora-modules", origin, &module.name, "a name that no other adapter has"));
        }
        modules.push(module);
    }
    let pinned = texts(gathered, "pin")?;
    if let Some(name) = pinned.iter().find(|name| modules.iter().all(|module| module.name != **name)) {
        return Err(wrong("pin", &gathered.said("pin").origin, name, "an adapter of --lora-modules"));
    }
    Ok(Adapters {
        modules,
        pinned,
        roots: texts(gathered, "adapter-root")?.into_iter().map(PathBuf::from).collect(),
        require_published: gathered.is_on("require-published"),
        slots: gathered.count("max-loras"),
        rank_max: gathered.number("max-lora-rank"),
        host_bytes: gathered.count("adapter-host-mib") << 20,
        device_bytes: gathered.count("adapter-device-mib") << 20,
    })
}

/// An adapter as `NAME=SOURCE`, or as vLLM's object. The error says what is allowed.
fn module(text: &str) -> Result<LoraModule, String> {
    const ALLOWED: &str = "NAME=SOURCE or {\"name\": \"...\", \"path\": \"...\"}";
    let (name, source) = if text.starts_with('{') {
        object(text).ok_or_else(|| format!("{ALLOWED}, with an optional base_model_name and no other field"))?
    } else {
        let (name, source) = text.split_once('=').ok_or_else(|| ALLOWED.to_owned())?;
        (name.to_owned(), source.to_owned())
    };
    if name.is_empty() || source.is_empty() {
        return Err(ALLOWED.to_owned());
    }
    let source = Source::parse(&source).map_err(|error| format!("{ALLOWED}: {error}"))?;
    Ok(LoraModule { name, source })
}

fn object(text: &str) -> Option<(String, String)> {
    let Json::Object(fields) = Json::parse(text).ok()? else { return None };
    // vLLM allows the base model's name as a remark; it decides nothing there either.
    let known = |name: &str| ["name", "path", "base_model_name"].contains(&name);
    let field = |name| fields.iter().find(|(key, _)| key == name)?.1.as_str().map(str::to_owned);
    if fields.iter().all(|(key, _)| known(key)) { Some((field("name")?, field("path")?)) } else { None }
}

pub(super) fn ledger(gathered: &Gathered) -> Result<Option<Ledger>, SettingsError> {
    let Some(place) = gathered.text("ledger") else {
        return Err(rule(
            "there is no folder for the ledger: say --ledger DIR, --ledger off, or set HOME or XDG_DATA_HOME",
        ));
    };
    if place == "off" {
        for name in ["ledger-floor", "ledger-origin", "ledger-reserve-mib", "publish-interval-ms"] {
            let origin = &gathered.said(name).origin;
            if *origin != Origin::Default {
                return Err(rule(format!(
                    "{name} ({origin}) means nothing while the ledger is off; take one of them out"
                )));
            }
        }
        return Ok(None);
    }
    let origin = gathered.text("ledger-origin");
    if let Some(name) = origin
        && LogName::new(name, LogId::Records).is_err()
    {
        let said = &gathered.said("ledger-origin").origin;
        return Err(wrong(
            "ledger-origin",
            said,
            name,
            "a short name without white space or `+`, such as example.org/a",
        ));
    }
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Ok(Some(Ledger {
        folder: place.into(),
        floor: path(gathered, "ledger-floor"),
        origin: origin.map(str::to_owned),
        reserve_bytes: wide(gathered.count("ledger-reserve-mib")) << 20,
        publish_interval: Duration::from_millis(wide(gathered.count("publish-interval-ms"))),
    }))
}

/// What is published is said by records, and those are in the ledger.
pub(super) fn published(
    gathered: &Gathered,
    adapters: &Adapters,
    ledger: Option<&Ledger>,
) -> Result<(), SettingsError> {
    if adapters.require_published && ledger.is_none() {
        let origin = &gathered.said("require-published").origin;
        return Err(rule(format!(
            "require-published ({origin}) looks into the ledger, which is off; take one of them out"
        )));
    }
    Ok(())
}

pub(super) fn access(gathered: &Gathered, warnings: &mut Vec<String>) -> Result<Access, SettingsError> {
    let origin = &gathered.said("api-key").origin;
    let (empty, keys): (Vec<&String>, Vec<&String>) = gathered.many("api-key").iter().partition(|key| key.is_empty());
    if !empty.is_empty() {
        // As vLLM has it. Such a key would be no secret, and must not make an open server look closed.
        warnings.push(format!("api-key ({origin}): an empty key is no key, and is left out"));
    }
    // What a header cannot carry could never be presented.
    if keys.iter().any(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
        let allowed = "printable characters of ASCII without spaces";
        return Err(wrong("api-key", origin, "one with other characters", allowed));
    }
    if keys.iter().any(|key| key.chars().count() < KEY_CHARACTERS_MIN) {
        warnings.push(format!(
            "api-key ({origin}): a key of fewer than {KEY_CHARACTERS_MIN} characters can be guessed; `loam key new` \
             draws a good one"
        ));
    }
    let open = gathered.many("open");
    if let Some(other) = open.iter().find(|what| !["metrics", "log"].contains(&what.as_str())) {
        return Err(wrong("open", &gathered.said("open").origin, other, "metrics or log"));
    }
    let is_open = |what: &str| open.iter().any(|other| other == what);
    Ok(Access {
        api_keys: keys.into_iter().map(|key| Secret(key.clone())).collect(),
        keys_file: path(gathered, "api-keys"),
        metrics_open: is_open("metrics"),
        log_open: is_open("log"),
        origins: origins(gathered)?,
    })
}

fn origins(gathered: &Gathered) -> Result<Vec<String>, SettingsError> {
    let origins = texts(gathered, "allow-origin")?;
    match origins.iter().find(|text| !is_origin(text)) {
        Some(other) => {
            let allowed =
                "http:// or https://, a host in lower case, and a port where it is not the usual one; no path";
            Err(wrong("allow-origin", &gathered.said("allow-origin").origin, other, allowed))
        }
        None => Ok(origins),
    }
}

/// Whether a browser could say it so of a page.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]_".contains(&byte);
    host.is_some_and(|host| !host.is_empty() && host.bytes().all(fit))
}

/// A list without empty texts and without repetitions, which mean nothing anywhere.
fn texts(gathered: &Gathered, name: &'static str) -> Result<Vec<String>, SettingsError> {
    let (texts, origin) = (gathered.many(name), &gathered.said(name).origin);
    let mut seen = BTreeSet::new();
    for text in texts {
        if text.is_empty() {
            return Err(wrong(name, origin, text, "texts that are not empty"));
        }
        if !seen.insert(text) {
            return Err(wrong(name, origin, text, "said once"));
        }
    }
    Ok(texts.to_vec())
}

fn wrong(setting: &'static str, origin: &Origin, found: &str, allowed: &str) -> SettingsError {
    let setting = Setting::named(setting).name;
    SettingsError::Wrong { setting, origin: origin.clone(), found: format!("{found:?}"), allowed: allowed.to_owned() }
}

fn rule(rule: impl Into<String>) -> SettingsError {
    SettingsError::Rule(rule.into())
}
