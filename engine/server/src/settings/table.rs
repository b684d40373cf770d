//! Every setting of `loam serve`, once: flags, names in the environment, keys of the file, help and checks follow.

/// One setting.
pub(crate) struct Setting {
    /// The flag without its dashes. `LOAM_` and upper case make its variable, `_` for `-` the file's key.
    pub(crate) name: &'static str,
    /// What may be said.
    pub(crate) kind: Kind,
    /// What holds where nothing is said.
    pub(crate) default: Otherwise,
    /// The part of the help that it stands in.
    pub(crate) heading: &'static str,
    /// What it does, for a person.
    pub(crate) help: &'static str,
}

/// What may be said.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A text, shown by this word in the help.
    Text(&'static str),
    /// A whole number, shown by this word, from one to another.
    Number(&'static str, u64, u64),
    /// One of some words. Each comes with those that say the same elsewhere.
    Choice(&'static [Word]),
    /// Yes or no.
    Switch,
    /// Any number of texts.
    Many(&'static str),
    /// Any number of texts that are never shown.
    Secrets(&'static str),
}

/// A word, and what others call it.
pub(crate) struct Word {
    /// As we say it.
    pub(crate) word: &'static str,
    /// As others do.
    pub(crate) also: &'static [&'static str],
}

/// What holds where nothing is said.
#[derive(Clone, Copy)]
pub(crate) enum Otherwise {
    /// This, read as if it had been said.
    Is(&'static str),
    /// Nothing, which means this.
    Means(&'static str),
}

const fn word(word: &'static str) -> Word {
    Word { word, also: &[] }
}

use Kind::{Choice, Many, Number, Secrets, Switch, Text};
use Otherwise::{Is, Means};

const MODEL: &str = "Model";
const NETWORK: &str = "Network";
const ADAPTERS: &str = "Adapters";
const ENGINE: &str = "Engine";
const LEDGER: &str = "Ledger";
const ACCESS: &str = "Access";
const LIMITS: &str = "Limits";
const LOG: &str = "Log";

/// As many MiB as any machine has bytes for.
const MIB_MAX: u64 = 1 << 30;
const COUNT_MAX: u64 = u32::MAX as u64;

/// The setting that names the file of settings; it is in no file itself.
pub(crate) const CONFIG: &str = "config";
/// The one setting that has no flag: it stands alone.
pub(crate) const MODEL_NAME: &str = "model";

/// All settings, in the order of the help.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        name: MODEL_NAME,
        kind: Text("MODEL"),
        default: Means("none; it must be said"),
        heading: MODEL,
        help: "The model: a folder as Hugging Face has them (config.json, safetensors, tokenizer.json)",
    },
    Setting {
        name: "served-model-name",
        kind: Many("NAME"),
        default: Means("the folder's own name"),
        heading: MODEL,
        help: "Names that requests may call the base model by; answers carry the one that was asked, or the first",
    },
    Setting {
        name: CONFIG,
        kind: Text("FILE"),
        default: Means("no file"),
        heading: MODEL,
        help: "A TOML file of settings: max_model_len = 4096 and so on; paths are seen from where the server starts",
    },
    Setting {
        name: "load-format",
        kind: Choice(&[Word { word: "files", also: &["auto", "safetensors"] }, word("dummy")]),
        default: Is("files"),
        heading: MODEL,
        help: "Where weights come from: the folder's files, or random ones of the same shape",
    },
    Setting {
        name: "weights",
        kind: Choice(&[Word { word: "copied", also: &["resident"] }, word("mapped")]),
        default: Is("copied"),
        heading: MODEL,
        help: "Whether weights are copied to memory, which is faster once they are there, or read where their files \
               are mapped",
    },
    Setting {
        name: "host",
        kind: Text("ADDRESS"),
        default: Is("127.0.0.1"),
        heading: NETWORK,
        help: "Where to listen. Other addresses than this machine's own need an API key",
    },
    Setting {
        name: "port",
        kind: Number("PORT", 0, 65_535),
        default: Is("8000"),
        heading: NETWORK,
        help: "The port, for gRPC and HTTP alike; 0 takes a free one and says which",
    },
    Setting {
        name: "tls-cert",
        kind: Text("FILE"),
        default: Means("no TLS"),
        heading: NETWORK,
        help: "The server's certificate and those that vouch for it, as PEM",
    },
    Setting {
        name: "tls-key",
        kind: Text("FILE"),
        default: Means("no TLS"),
        heading: NETWORK,
        help: "The certificate's private key, as PEM",
    },
    Setting {
        name: "tls-client-ca",
        kind: Text("FILE"),
        default: Means("clients need no certificate"),
        heading: NETWORK,
        help: "Certificates, as PEM, of which one must have signed a client's own: mutual TLS, beside the API key",
    },
    Setting {
        name: "api-key",
        kind: Secrets("KEY"),
        default: Means("none"),
        heading: ACCESS,
        help: "Keys that may ask for answers, all for the tenant `default`. Better in the environment or in a file of \
               keys: other users of this machine can read a command line",
    },
    Setting {
        name: "api-keys",
        kind: Text("FILE"),
        default: Means("no file"),
        heading: ACCESS,
        help: "A TOML file of keys, as digests, with their tenants and scopes; `loam key new` writes its entries",
    },
    Setting {
        name: "open",
        kind: Many("WHAT"),
        default: Means("nothing but health"),
        heading: ACCESS,
        help: "What may be read without a key: metrics, log",
    },
    Setting {
        name: "allow-origin",
        kind: Many("ORIGIN"),
        default: Means("no pages"),
        heading: ACCESS,
        help: "Sites whose pages in a browser may ask, such as https://chat.example.org",
    },
    Setting {
        name: "lora-modules",
        kind: Many("NAME=SOURCE"),
        default: Means("none"),
        heading: ADAPTERS,
        help: "Adapters to load at the start: a name and a PEFT folder, or `dummy:SEED` for random weights; also as \
               {\"name\": \"...\", \"path\": \"...\"}",
    },
    Setting {
        name: "pin",
        kind: Many("NAME"),
        default: Means("none"),
        heading: ADAPTERS,
        help: "Adapters of --lora-modules that always stay where steps can use them",
    },
    Setting {
        name: "adapter-root",
        kind: Many("DIR"),
        default: Means("none; adapters are loaded at the start only"),
        heading: ADAPTERS,
        help: "Folders that adapters may be loaded from while the server runs",
    },
    Setting {
        name: "require-published",
        kind: Switch,
        default: Is("false"),
        heading: ADAPTERS,
        help: "Whether adapters are used only while the ledger's records have them as published, over this base model; \
               who suspends one in the records takes it out of use at once",
    },
    Setting {
        name: "max-loras",
        kind: Number("N", 1, COUNT_MAX),
        default: Is("32"),
        heading: ADAPTERS,
        help: "Adapters that one step can use",
    },
    Setting {
        name: "max-lora-rank",
        kind: Number("N", 1, COUNT_MAX),
        default: Means("any rank"),
        heading: ADAPTERS,
        help: "Refuses adapters of a higher rank",
    },
    Setting {
        name: "adapter-host-mib",
        kind: Number("MIB", 0, MIB_MAX),
        default: Is("4096"),
        heading: ADAPTERS,
        help: "MiB of adapters kept in host memory, ready to be used",
    },
    Setting {
        name: "adapter-device-mib",
        kind: Number("MIB", 0, MIB_MAX),
        default: Is("4096"),
        heading: ADAPTERS,
        help: "MiB of adapters where steps can use them",
    },
    Setting {
        name: "device",
        kind: Text("DEVICE"),
        default: Is("auto"),
        heading: ENGINE,
        help: "What computes: auto (a GPU where the build and the machine have one), cpu, cuda or cuda:N",
    },
    Setting {
        name: "arithmetic",
        kind: Choice(&[word("fast"), word("deterministic")]),
        default: Is("fast"),
        heading: ENGINE,
        help: "On a GPU: what is fastest, or a request's same bits alone and in a crowd; the processor's always are",
    },
    Setting {
        name: "dtype",
        kind: Choice(&[
            Word { word: "bf16", also: &["auto", "bfloat16"] },
            Word { word: "f32", also: &["float", "float32"] },
        ]),
        default: Is("bf16"),
        heading: ENGINE,
        help: "What activations, keys and values are kept as",
    },
    Setting {
        name: "threads",
        kind: Number("N", 1, COUNT_MAX),
        default: Means("as many as the processor runs at once"),
        heading: ENGINE,
        help: "Threads that compute",
    },
    Setting {
        name: "max-model-len",
        kind: Number("N", 2, COUNT_MAX),
        default: Means("the model's own"),
        heading: ENGINE,
        help: "Positions of the longest request, its prompt and its answer together",
    },
    Setting {
        name: "max-num-batched-tokens",
        kind: Number("N", 1, COUNT_MAX),
        default: Is("512"),
        heading: ENGINE,
        help: "Rows that one step computes at most",
    },
    Setting {
        name: "max-num-seqs",
        kind: Number("N", 1, COUNT_MAX),
        default: Is("256"),
        heading: ENGINE,
        help: "Answers that run side by side",
    },
    Setting {
        name: "max-waiting",
        kind: Number("N", 1, COUNT_MAX),
        default: Is("4096"),
        heading: ENGINE,
        help: "Requests taken on at once, waiting and running; more are refused with a hint when to try again",
    },
    Setting {
        name: "kv-cache-mib",
        kind: Number("MIB", 1, MIB_MAX),
        default: Means("2048 on the processor, what is left on a GPU"),
        heading: ENGINE,
        help: "MiB for keys and values",
    },
    Setting {
        name: "block-size",
        kind: Number("N", 1, COUNT_MAX),
        default: Is("32"),
        heading: ENGINE,
        help: "Positions in a page of keys and values",
    },
    Setting {
        name: "ledger",
        kind: Text("DIR"),
        default: Means("a folder named after the model, in ~/.local/share/loam (XDG_DATA_HOME)"),
        heading: LEDGER,
        help: "Where the record is kept, made where it is not there yet; `off` keeps none, and there are no receipts",
    },
    Setting {
        name: "ledger-origin",
        kind: Text("NAME"),
        default: Means("a name that nobody else draws"),
        heading: LEDGER,
        help: "The ledger's name where it is made, such as example.org/answers; it begins the origins of its logs",
    },
    Setting {
        name: "ledger-floor",
        kind: Text("FILE"),
        default: Means("in the ledger's folder"),
        heading: LEDGER,
        help: "The floor file, below which no store is written again; best on another device than the ledger",
    },
    Setting {
        name: "ledger-reserve-mib",
        kind: Number("MIB", 0, MIB_MAX),
        default: Is("1024"),
        heading: LEDGER,
        help: "Free MiB below which no new requests are taken",
    },
    Setting {
        name: "publish-interval-ms",
        kind: Number("MS", 1, 3_600_000),
        default: Is("1000"),
        heading: LEDGER,
        help: "How long what is durable may stay unsigned while nobody waits for it",
    },
    Setting {
        name: "delivery",
        kind: Choice(&[word("recorded"), word("eager")]),
        default: Is("recorded"),
        heading: LEDGER,
        help: "When tokens leave: once their step's entry is durable, or at once, at most 64 steps ahead of the record",
    },
    Setting {
        name: "max-body-mib",
        kind: Number("MIB", 1, 1024),
        default: Is("32"),
        heading: LIMITS,
        help: "MiB of one request",
    },
    Setting {
        name: "max-connections",
        kind: Number("N", 1, COUNT_MAX),
        default: Is("1024"),
        heading: LIMITS,
        help: "Connections at once; more wait to be accepted",
    },
    Setting {
        name: "max-streams-per-connection",
        kind: Number("N", 1, COUNT_MAX),
        default: Is("256"),
        heading: LIMITS,
        help: "Requests at once on one HTTP/2 connection",
    },
    Setting {
        name: "max-requests-per-key",
        kind: Number("N", 1, COUNT_MAX),
        default: Is("256"),
        heading: LIMITS,
        help: "Requests at once under one key, unless the file of keys says otherwise for it",
    },
    Setting {
        name: "shutdown-timeout",
        kind: Number("SECONDS", 0, 86_400),
        default: Is("30"),
        heading: LIMITS,
        help: "Seconds that running requests have to finish once the server is told to end",
    },
    Setting {
        name: "log-format",
        kind: Choice(&[word("text"), word("json")]),
        default: Is("text"),
        heading: LOG,
        help: "Lines for people, or one JSON object a line",
    },
    Setting {
        name: "log-level",
        kind: Choice(&[
            word("error"),
            Word { word: "warn", also: &["warning"] },
            word("info"),
            word("debug"),
            word("trace"),
        ]),
        default: Is("info"),
        heading: LOG,
        help: "What is said, from the least to the most",
    },
    Setting {
        name: "log-prompts",
        kind: Switch,
        default: Is("false"),
        heading: LOG,
        help: "Whether prompts and answers are written to the log: for debugging alone, they are people's texts",
    },
];

impl Setting {
    /// The setting of this name, which the program itself says.
    pub(crate) fn named(name: &str) -> &'static Self {
        SETTINGS.iter().find(|setting| setting.name == name).expect("the table has every setting that is read")
    }

    /// Its name in the environment.
    pub(crate) fn variable(&self) -> String {
        format!("LOAM_{}", self.key().to_ascii_uppercase())
    }

    /// Its key in the file.
    pub(crate) fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Its flag, or what stands in its place.
    pub(crate) fn flag(&self) -> String {
        if self.name == MODEL_NAME { "MODEL".to_owned() } else { format!("--{}", self.name) }
    }
}

impl Kind {
    /// Whether values are never shown.
    pub(crate) fn is_secret(self) -> bool {
        matches!(self, Secrets(_))
    }

    /// Whether there may be several.
    pub(crate) fn is_many(self) -> bool {
        matches!(self, Many(_) | Secrets(_))
    }
}
