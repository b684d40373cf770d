//! A bundle of stand-ins: gpu-check as it is, and in the place of what it runs scripts that end, fail or hang as told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What a driver would say.
/// Asked again and again, it leaves the number of its process.
const NVIDIA_SMI: &str = r#"
echo 'NVIDIA H200, 580.1, 1980 MHz, 1980 MHz, 3201 MHz, 700.00 W'
if [[ $* == *--loop-ms* ]]; then
    echo $$ >"${0%/*}/watching"
    exec sleep 600
fi"#;

/// Tests as programs of libtest list and run them. One takes no notice of being told to end.
const TESTS: &str = r#"
case $1 in
--list) printf '%s: test\n' gpu::fast::good gpu::fast::bad gpu::fast::hangs gpu::fast::last invariance::gpu::last \
    cpu_scalar::other invariance::cpu::other ;;
--exact)
    case $2 in
    *::bad) printf 'thread main panicked at check.rs:1:\nout[3, 5] is 1e0, want 2e0\n'; exit 101 ;;
    *::hangs) trap '' TERM; while :; do sleep 1; done ;;
    *cpu*) echo 'this is not asked for'; exit 1 ;;
    esac
    [[ $LOAM_TEST_GPU == required ]]
    ;;
esac"#;

/// A table of three cases: one is measured, one hangs with a figure measured, one fails by itself.
const BENCH: &str = r#"
[[ $1 == table ]] || exit 64
shift
figure() { printf '{"figure":"%s","note":"%s","roof":null,"unit":"x","value":%s}\n' "$1" "$3" "$2" >>"$out"; }
while (($#)); do
    case $1 in
    --list) printf '%s\n' one two three; exit ;;
    --case) case=$2 ;;
    --out) out=$2 ;;
    --probe) grep -q read_direct "$2" || exit 9 ;;
    --unmeasured) why=$2 ;;
    esac
    shift 2
done
if [[ -n ${why:-} ]]; then
    figure "$case.second" null "not measured: $why"
    exit
fi
figure "$case.first" 1.5 "measured"
[[ $case != two ]] || sleep 600
[[ $case != three ]] || { echo 'Error: out of memory: take fewer requests' >&2; exit 1; }
"#;

/// The probe, which writes as it measures.
pub(crate) const PROBE: &str = r#"
echo '{"figure":"read_direct_1gib_gb_s","value":4100.5,"unit":"GB/s","roof":4800,"note":"sums agree"}' >"$2"
printf '{"figure":"cut sho' >>"$2""#;

pub(crate) struct Bundle {
    folder: TempDir,
}

/// A run of gpu-check, and what it left.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    pub(crate) figures: Vec<Value>,
    pub(crate) text: String,
    /// Name of the results, without their end.
    pub(crate) name: String,
}

impl Bundle {
    pub(crate) fn new() -> Self {
        let bundle = Self { folder: tempfile::tempdir().expect("a folder") };
        let script = fs::read_to_string(tools().join("gpu-check.sh")).expect("the script is in the repository");
        bundle.script("loam-gpu/gpu-check", script.strip_prefix("#!/usr/bin/env bash").expect("it is bash"));
        bundle.script("path/nvidia-smi", NVIDIA_SMI);
        bundle.script("path/compute-sanitizer", "while [[ $1 == --* ]]; do shift 2; done; exec \"$@\"");
        for program in ["conformance", "whole"] {
            bundle.script(&format!("loam-gpu/bin/{program}"), TESTS);
        }
        bundle.script("loam-gpu/bin/loam-gpu-bench", BENCH);
        bundle.script("loam-gpu/bin/gpu_probe", PROBE);
        bundle.write("loam-gpu/COMMIT", "0123abc\n");
        bundle
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder of our own");
        fs::write(&path, text).expect("a file in a folder of our own");
    }

    /// A file as far as it is there.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn script(&self, name: &str, text: &str) {
        self.write(name, &format!("#!/usr/bin/env bash\n{text}\n"));
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("a file of our own");
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("loam-gpu/gpu-check"));
        let found = std::env::var("PATH").expect("there are programs");
        command.env("PATH", format!("{}:{found}", self.path("path").display()));
        command.env_remove("CUBLASLT_PATH").arg("--out").arg(self.path("out")).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.ran(self.command(arguments).output().expect("it starts"))
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    }

    /// What a run left.
    pub(crate) fn ran(&self, output: Output) -> Ran {
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let (name, figures) = self.figures();
        let text = self.read(&format!("out/{name}.md"));
        Ran { code: output.status.code(), said, figures, text, name }
    }

    /// The newest results' name and figures; empty where there are none yet.
    pub(crate) fn figures(&self) -> (String, Vec<Value>) {
        let entries = fs::read_dir(self.path("out")).into_iter().flatten();
        let names = entries.map(|entry| entry.expect("a folder of our own").file_name().to_string_lossy().into_owned());
        let name = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).max().unwrap_or_default();
        let text = self.read(&format!("out/{name}.json"));
        (name, text.lines().map(|line| serde_json::from_str(line).expect("lines are JSON")).collect())
    }
}

impl Ran {
    pub(crate) fn figure(&self, name: &str) -> &Value {
        let found = self.figures.iter().find(|figure| figure["figure"] == name);
        found.unwrap_or_else(|| panic!("{name} among {:?}\n{}", self.figures, self.said))
    }

    pub(crate) fn note(&self, name: &str) -> &str {
        self.figure(name)["note"].as_str().expect("a figure has a note")
    }
}

pub(crate) fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools")
}
