//! The settings' rules, each under its own name.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use clap::{Args as _, Command};
use loam_engine::{Arithmetic, DType, DeliveryMode, DeviceChoice, LoadFormat, OpenOptions};

use super::table::SETTINGS;
use super::{Gathered, Given, Settings, show};

/// What is said, from everywhere.
#[derive(Default)]
struct World {
    flags: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    /// The file `loam.toml`.
    file: &'static str,
}

impl World {
    fn gather(&self) -> Result<Gathered, String> {
        let command = Given::augment_args(Command::new("serve")).no_binary_name(true);
        let matches = command.try_get_matches_from(self.flags).map_err(|error| error.to_string())?;
        let variables: BTreeMap<&str, &str> = self.variables.iter().copied().collect();
        let environment = |name: &str| match name {
            "HOME" => Some("/home-of/me".to_owned()),
            name => variables.get(name).map(|value| (*value).to_owned()),
        };
        let read = |path: &Path| match path.to_str() {
            Some("loam.toml") => Ok(self.file.to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        Gathered::gather(&matches, &environment, &read).map_err(|error| error.to_string())
    }

    fn settings(&self) -> Result<Settings, String> {
        Settings::of(&self.gather()?).map_err(|error| error.to_string())
    }
}

fn flags(flags: &'static [&'static str]) -> World {
    World { flags, ..World::default() }
}

fn file(file: &'static str) -> World {
    World { flags: &["m", "--config", "loam.toml"], file, ..World::default() }
}

fn variables(variables: &'static [(&'static str, &'static str)]) -> World {
    World { flags: &["m"], variables, ..World::default() }
}

/// What was said is taken, and has this meaning.
#[track_caller]
fn check<T: PartialEq + std::fmt::Debug>(world: &World, meaning: impl Fn(&Settings) -> T, expected: T) {
    assert_eq!(meaning(&world.settings().unwrap()), expected);
}

/// What was said is refused, in these words.
#[track_caller]
fn refused(world: &World, words: &[&str]) {
    let error = world.settings().unwrap_err();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

fn port(settings: &Settings) -> u16 {
    settings.network.port
}

const ALL: World = World {
    flags: &["m", "--config", "loam.toml", "--port", "1"],
    variables: &[("LOAM_PORT", "2"), ("LOAM_THREADS", "2")],
    file: "port = 3\nthreads = 3\nmax_loras = 3",
};

#[test]
fn a_flag_goes_before_everything() {
    check(&ALL, port, 1);
}

#[test]
fn the_environment_goes_before_the_file() {
    check(&ALL, |settings| settings.to_open_options().threads.map(usize::from), Some(2));
}

#[test]
fn the_file_goes_before_defaults() {
    check(&ALL, |settings| settings.to_open_options().slots, 3);
}

#[test]
fn defaults_are_the_engines_own() {
    let settings = flags(&["m"]).settings().unwrap();
    let mut own = OpenOptions::new("m".as_ref());
    own.digest_cache = Some("/home-of/me/.cache/loam/digests.json".into());
    // A server takes a GPU where there is one, at its fastest, and is warm before it is asked.
    (own.device, own.arithmetic, own.warm_up) = (DeviceChoice::Auto, Arithmetic::Fast, true);
    assert_eq!(format!("{:?}", settings.to_open_options()), format!("{own:?}"));
}

#[test]
fn every_default_is_of_its_settings_kind() {
    let gathered = flags(&[]).gather().unwrap();
    assert!(SETTINGS.iter().all(|setting| gathered.said(setting.name).origin.to_string() == "default"));
}

#[test]
fn every_setting_is_read() {
    let readers = [include_str!("mod.rs"), include_str!("rules.rs"), include_str!("gathered.rs")].concat();
    let unread = SETTINGS.iter().map(|setting| setting.name).filter(|name| !readers.contains(&format!("\"{name}\"")));
    // These two are read by the names of constants.
    assert_eq!(unread.collect::<Vec<_>>(), ["model", "config"]);
}

#[test]
fn the_model_is_said_anywhere() {
    for world in [
        flags(&["a/tiny"]),
        World { variables: &[("LOAM_MODEL", "a/tiny")], ..World::default() },
        World { flags: &["--config", "loam.toml"], file: "model = 'a/tiny'", ..World::default() },
        World { variables: &[("LOAM_CONFIG", "loam.toml")], file: "model = 'a/tiny'", ..World::default() },
    ] {
        check(&world, |settings| settings.model.clone(), "a/tiny".into());
        check(&world, |settings| settings.served_names.clone(), vec!["tiny".to_owned()]);
    }
}

#[test]
fn without_a_model_nothing_is_served() {
    refused(&flags(&[]), &["there is no model", "LOAM_MODEL"]);
}

#[test]
fn a_model_without_a_name_of_its_own_needs_one() {
    refused(&flags(&["/"]), &["--served-model-name"]);
    check(&flags(&["/", "--served-model-name", "a"]), |settings| settings.served_names.clone(), vec!["a".to_owned()]);
}

#[test]
fn words_of_vllm_mean_the_same_here() {
    let dtype = |settings: &Settings| settings.to_open_options().dtype;
    for (said, meant) in [("auto", DType::Bf16), ("bfloat16", DType::Bf16), ("float32", DType::F32)] {
        let flags: &'static [&'static str] = Vec::leak(vec!["m", "--dtype", said]);
        check(&World { flags, ..World::default() }, dtype, meant);
    }
    let format = |settings: &Settings| settings.to_open_options().load_format;
    check(&flags(&["m", "--load-format", "safetensors"]), format, LoadFormat::Files);
    check(&flags(&["m", "--load-format", "dummy"]), format, LoadFormat::Dummy { seed: 0 });
}

#[test]
fn a_number_out_of_bounds_is_refused_with_its_origin() {
    refused(&flags(&["m", "--port", "65536"]), &["port (--port)", "\"65536\"", "from 0 to 65535"]);
    refused(&variables(&[("LOAM_PORT", "+1")]), &["port (LOAM_PORT)", "\"+1\""]);
    refused(&file("# a remark\nport = -1"), &["port (loam.toml line 2)", "\"-1\"", "from 0 to 65535"]);
    refused(&file("max_loras = 99_999_999_999_999_999_999_999"), &["max-loras"]);
}

#[test]
fn a_word_that_is_none_is_refused_with_those_that_are() {
    refused(&flags(&["m", "--delivery", "soon"]), &["delivery (--delivery)", "\"soon\"", "recorded, eager"]);
}

#[test]
fn the_files_types_are_the_settings() {
    refused(&file("port = '8000'"), &["port (loam.toml line 1)", "the text \"8000\"", "a whole number"]);
    refused(&file("host = 1"), &["host", "an integer", "a text"]);
    refused(&file("log_prompts = 'yes'"), &["log-prompts", "true or false"]);
    refused(&file("pin = [1]"), &["pin", "no text"]);
    check(&file("port = 0x1F90"), port, 8080);
}

#[test]
fn a_key_that_no_setting_has_is_refused_with_the_nearest() {
    refused(&file("\nmax_modle_len = 1"), &["loam.toml line 2", "`max_modle_len`", "`max_model_len`"]);
    refused(&file("max-model-len = 1"), &["`max_model_len`"]);
    refused(&file("[server]\nport = 1"), &["`server`", "loam serve --help"]);
    refused(&file("config = 'b.toml'"), &["`config`"]);
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line_and_without_its_text() {
    refused(&file("port = 1\napi_key = \"secret"), &["loam.toml: line 2"]);
    assert!(!file("api_key = \"secret").settings().unwrap_err().contains("secret"));
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    refused(&flags(&["m", "--config", "other.toml"]), &["other.toml"]);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    check(&variables(&[("LOAM_PORT", "")]), port, 8000);
}

#[test]
fn lists_are_repeated_or_follow_each_other() {
    let names = |settings: &Settings| settings.served_names.join(" ");
    check(&flags(&["m", "--served-model-name", "a", "b"]), names, "a b".to_owned());
    check(&flags(&["m", "--served-model-name", "a", "--served-model-name", "b"]), names, "a b".to_owned());
    check(&variables(&[("LOAM_SERVED_MODEL_NAME", "a, b")]), names, "a b".to_owned());
    check(&variables(&[("LOAM_SERVED_MODEL_NAME", "a,1\nb")]), names, "a,1 b".to_owned());
    check(&file("served_model_name = ['a', 'b']"), names, "a b".to_owned());
    check(&file("served_model_name = 'a,b'"), names, "a,b".to_owned());
}

#[test]
fn lists_say_nothing_twice_and_nothing_empty() {
    refused(&flags(&["m", "--served-model-name", "a", "a"]), &["served-model-name", "said once"]);
    refused(&flags(&["m", "--adapter-root", ""]), &["adapter-root", "not empty"]);
}

#[test]
fn adapters_are_named_as_vllm_names_them() {
    let modules = |settings: &Settings| {
        let told = |module: &super::LoraModule| format!("{} from {}", module.name, module.source);
        settings.adapters.modules.iter().map(told).collect::<Vec<_>>().join(", ")
    };
    let both = || "a from /x=1, b from dummy:7:16:all-linear".to_owned();
    check(&flags(&["m", "--lora-modules", "a=/x=1", "b=dummy:7"]), modules, both());
    check(
        &flags(&["m", "--lora-modules", r#"{"name": "a", "path": "/x=1", "base_model_name": "m"}"#, "b=dummy:7"]),
        modules,
        both(),
    );
    check(&file("lora_modules = [{ name = 'a', path = '/x=1' }, 'b=dummy:7']"), modules, both());
    check(&variables(&[("LOAM_LORA_MODULES", "a=/x=1,b=dummy:7")]), modules, both());
    let json = variables(&[("LOAM_LORA_MODULES", r#"{"name": "a", "path": "/x"}"#)]);
    check(&json, modules, "a from /x".to_owned());
}

#[test]
fn adapters_that_are_not_named_so_are_refused() {
    let refused_module = |module: &'static str, words: &[&str]| {
        let flags: &'static [&'static str] = Vec::leak(vec!["m", "--lora-modules", module]);
        refused(&World { flags, ..World::default() }, words);
    };
    refused_module("a", &["lora-modules (--lora-modules)", "\"a\"", "NAME=SOURCE"]);
    refused_module("=a", &["NAME=SOURCE"]);
    refused_module("a=dummy:x", &["NAME=SOURCE"]);
    refused_module(r#"{"name": "a", "path": "b", "rank": "4"}"#, &["no other field"]);
    refused_module("m=/x", &["\"m\" is the base model's name"]);
    refused(&flags(&["m", "--lora-modules", "a=x", "a=y"]), &["a name that no other adapter has"]);
}

#[test]
fn what_is_pinned_is_loaded() {
    refused(&flags(&["m", "--lora-modules", "a=x", "--pin", "b"]), &["pin (--pin)", "\"b\"", "--lora-modules"]);
}

#[test]
fn without_roots_nothing_is_loaded_at_run_time() {
    let settings = flags(&["m", "--lora-modules", "a=/x"]).settings().unwrap();
    assert!(settings.adapters.run_time_loading().unwrap_err().contains("--adapter-root"));
    // No root at all: the engine then takes what the start names from wherever it is.
    assert!(settings.to_open_options().adapter_roots.is_empty());
}

#[test]
fn with_roots_the_starts_adapters_may_lie_outside_them() {
    let settings = flags(&["m", "--lora-modules", "a=/x", "b=dummy:1", "--adapter-root", "/r"]).settings().unwrap();
    settings.adapters.run_time_loading().unwrap();
    assert_eq!(settings.to_open_options().adapter_roots, [Path::new("/r"), Path::new("/x")]);
}

/// A build for GPUs has tests of its own: tests/cuda.
#[cfg(not(any(feature = "cuda", feature = "rehearse")))]
#[test]
fn cuda_is_refused_by_name() {
    for device in ["cuda", "cuda:1"] {
        let flags: &'static [&'static str] = Vec::leak(vec!["m", "--device", device]);
        refused(&World { flags, ..World::default() }, &[device, "not in this build", "make build-cuda"]);
    }
    refused(&flags(&["m", "--device", "tpu"]), &["device (--device)", "auto, cpu, cuda or cuda:N"]);
}

#[test]
fn other_machines_need_a_key() {
    for host in ["0.0.0.0", "::", "[::]", "10.0.0.1", "example.org"] {
        let flags: &'static [&'static str] = Vec::leak(vec!["m", "--host", host]);
        refused(&World { flags, ..World::default() }, &["(--host)", "no API key", "127.0.0.1"]);
    }
    for host in ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"] {
        let flags: &'static [&'static str] = Vec::leak(vec!["m", "--host", host]);
        World { flags, ..World::default() }.settings().unwrap();
    }
}

#[test]
fn keys_in_the_clear_are_warned_of() {
    let settings = flags(&["m", "--host", "0.0.0.0", "--api-keys", "keys.toml"]).settings().unwrap();
    assert!(settings.warnings[0].contains("in the clear"));
}

#[test]
fn an_empty_key_is_no_key() {
    let settings = flags(&["m", "--api-key", ""]).settings().unwrap();
    assert!(settings.access.api_keys.is_empty() && settings.warnings[0].contains("left out"));
    refused(&flags(&["m", "--host", "0.0.0.0", "--api-key", ""]), &["no API key"]);
}

#[test]
fn a_short_key_is_warned_of_and_taken() {
    let settings = flags(&["m", "--api-key", "0123456789abcde"]).settings().unwrap();
    assert!(settings.access.api_keys.len() == 1 && settings.warnings[0].contains("can be guessed"));
    assert!(flags(&["m", "--api-key", "0123456789abcdef"]).settings().unwrap().warnings.is_empty());
}

#[test]
fn keys_are_never_shown() {
    let world = World {
        flags: &["m", "--config", "loam.toml"],
        variables: &[],
        file: "api_key = ['0123456789abcdef-secret', 'other-secret']",
    };
    let (shown, settings) = (show(&world.gather().unwrap()), world.settings().unwrap());
    assert!(shown.contains("# api_key: 2 hidden") && !shown.contains("secret"), "{shown}");
    assert!(!format!("{settings:?}").contains("secret"));
    assert!(!file("api_key = [['secret']]").settings().unwrap_err().contains("secret"));
    assert_eq!(settings.access.api_keys[1].reveal(), "other-secret");
}

#[test]
fn tls_needs_certificate_and_key() {
    refused(&flags(&["m", "--tls-key", "k"]), &["tls-key (--tls-key)", "--tls-cert"]);
    refused(&flags(&["m", "--tls-cert", "c"]), &["tls-cert (--tls-cert)", "--tls-key"]);
    refused(&flags(&["m", "--tls-client-ca", "a"]), &["tls-client-ca (--tls-client-ca)", "--tls-cert"]);
    let world = flags(&["m", "--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a"]);
    let tls = super::Tls { cert: "c".into(), key: "k".into(), client_ca: Some("a".into()) };
    check(&world, |settings| settings.network.tls.clone(), Some(tls));
}

#[test]
fn what_is_open_is_metrics_and_log() {
    refused(&flags(&["m", "--open", "everything"]), &["open (--open)", "metrics or log"]);
    check(
        &flags(&["m", "--open", "log"]),
        |settings| (settings.access.metrics_open, settings.access.log_open),
        (false, true),
    );
}

#[test]
fn the_ledger_lies_with_the_users_data() {
    let folder = |settings: &Settings| settings.ledger.as_ref().map(|ledger| ledger.folder.display().to_string());
    check(&flags(&["a/tiny"]), folder, Some("/home-of/me/.local/share/loam/tiny".to_owned()));
    let world =
        World { flags: &["m", "--served-model-name", "../x y"], variables: &[("XDG_DATA_HOME", "/d")], file: "" };
    check(&world, folder, Some("/d/loam/model..-x-y".to_owned()));
    check(&flags(&["m", "--ledger", "l"]), folder, Some("l".to_owned()));
    check(&flags(&["m", "--ledger", "off"]), folder, None);
}

#[test]
fn a_ledger_that_is_off_has_no_settings() {
    let world = World { flags: &["m", "--ledger", "off"], variables: &[("LOAM_LEDGER_FLOOR", "f")], file: "" };
    refused(&world, &["ledger-floor (LOAM_LEDGER_FLOOR)", "off"]);
    for setting in ["--ledger-origin", "--ledger-reserve-mib", "--publish-interval-ms"] {
        let flags: &'static [&'static str] = Vec::leak(vec!["m", "--ledger", "off", setting, "1"]);
        refused(&World { flags, ..World::default() }, &[setting, "off"]);
    }
}

#[test]
fn a_ledgers_name_is_fit_for_a_key() {
    refused(&flags(&["m", "--ledger-origin", "a b"]), &["ledger-origin (--ledger-origin)", "example.org"]);
}

#[test]
fn delivery_is_recorded_unless_it_is_said() {
    let delivery = |settings: &Settings| settings.to_open_options().delivery;
    check(&flags(&["m"]), delivery, DeliveryMode::Recorded);
    check(&flags(&["m", "--delivery", "eager"]), delivery, DeliveryMode::Eager);
}

#[test]
fn a_switch_is_on_by_its_name_alone() {
    let prompts = |settings: &Settings| settings.log.prompts;
    check(&flags(&["m"]), prompts, false);
    check(&flags(&["--log-prompts", "m"]), prompts, true);
    check(&flags(&["m", "--log-prompts=false"]), prompts, false);
    check(&variables(&[("LOAM_LOG_PROMPTS", "1")]), prompts, true);
    check(&file("log_prompts = true"), prompts, true);
}

#[test]
fn published_adapters_are_required_where_it_is_said_and_a_ledger_is_kept() {
    let required = |settings: &Settings| settings.adapters.require_published;
    check(&flags(&["m"]), required, false);
    check(&flags(&["m", "--require-published"]), required, true);
    check(&variables(&[("LOAM_REQUIRE_PUBLISHED", "true")]), required, true);
    check(&file("require_published = true"), required, true);
    let off = World { flags: &["m", "--ledger", "off"], variables: &[("LOAM_REQUIRE_PUBLISHED", "1")], file: "" };
    refused(&off, &["require-published (LOAM_REQUIRE_PUBLISHED)", "off"]);
}

#[test]
fn an_origin_is_what_a_browser_says() {
    let origins = |settings: &Settings| settings.access.origins.clone();
    check(&flags(&["m"]), origins, Vec::new());
    let some = flags(&["m", "--allow-origin", "https://chat.example.org", "--allow-origin", "http://localhost:3000"]);
    check(&some, origins, ["https://chat.example.org", "http://localhost:3000"].map(str::to_owned).to_vec());
    let path = flags(&["m", "--allow-origin", "https://chat.example.org/"]);
    for other in
        [path, flags(&["m", "--allow-origin", "*"]), flags(&["m", "--allow-origin", "https://Chat.example.org"])]
    {
        refused(&other, &["allow-origin (--allow-origin)", "no path"]);
    }
}

#[test]
fn what_is_shown_can_be_read_again() {
    let world = World {
        flags: &["m", "--config", "loam.toml", "--lora-modules", "a=x", r#"{"name": "b", "path": "c'd\""}"#],
        variables: &[("LOAM_LEDGER_ORIGIN", "example.org/a")],
        file: "port = 1",
    };
    let gathered = world.gather().unwrap();
    let shown = show(&gathered);
    for line in ["port = 1 ", "# loam.toml line 1", "# LOAM_LEDGER_ORIGIN", "# --lora-modules", "# default"] {
        assert!(shown.contains(line), "{line:?} is not in: {shown}");
    }
    let again = World { flags: &["--config", "loam.toml"], variables: &[], file: shown.leak() };
    let (before, after) = (Settings::of(&gathered).unwrap(), again.settings().unwrap());
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
}

#[test]
fn help_names_every_setting_and_its_default() {
    let help = Given::augment_args(Command::new("serve")).render_long_help().to_string();
    for setting in SETTINGS {
        assert!(help.contains(&setting.flag()), "{} is not in the help", setting.flag());
    }
    assert_eq!(help.matches("[default: ").count(), SETTINGS.len());
}
