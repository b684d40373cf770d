//! What each kernel takes of a GPU, as the pinned compiler made it, against `resources.txt`.
//!
//! A register too many halves what a multiprocessor runs at once, a spill sends every turn of a loop to memory, and a
//! kernel without its matrix or copy instructions is slow and still right: none of it shows in a test of results. After a
//! change that is meant, `LOAM_RESOURCES=write cargo test --release -p loam-kernels --features cuda --test resources`
//! writes the table anew; its difference is what to review. (It is not among the kernels, since whatever changes there has
//! all of them compiled again.)

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

/// The kernels as `build.rs` has them compiled, and the compiler's folder.
const LIBRARY: &str = env!("LOAM_DEVICE_LIBRARY");
const TOOLKIT: &str = env!("LOAM_DEVICE_TOOLKIT");

/// The compiler that the table is of.
const PINNED: &str = "V13.0.88";

const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90a"];

/// One kernel on one architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Use {
    registers: u32,
    /// Bytes a thread keeps in memory: spilled registers, and arrays that are no registers.
    stack: u32,
    /// Static shared memory; of Hopper's, 1,024 bytes are the system's.
    shared: u32,
    has_matrix_products: bool,
    has_copies: bool,
}

/// Uses by source file, kernel, and architecture.
type Table = BTreeMap<(String, String), BTreeMap<String, Use>>;

/// What a program of the toolkit prints.
fn printed(program: &str, arguments: &[&str]) -> String {
    let path = Path::new(TOOLKIT).join("bin").join(program);
    let output = Command::new(&path).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Names as they are written in the sources, without parameters. `c++filt` comes with `ar`, which the build needs.
fn written(mangled: &[String]) -> Vec<String> {
    let mut filter = Command::new("c++filt")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("c++filt, which comes with the C++ compiler (Debian: binutils)");
    let mut input = filter.stdin.take().expect("a pipe");
    let names = mangled.join("\n");
    let writer = std::thread::spawn(move || input.write_all(names.as_bytes()));
    let output = filter.wait_with_output().expect("names");
    writer.join().expect("the writer ends").expect("a pipe that is read");
    let names = String::from_utf8(output.stdout).expect("text");
    names.lines().map(without_parameters).collect()
}

fn without_parameters(demangled: &str) -> String {
    let name = demangled.strip_prefix("void ").unwrap_or(demangled);
    // The parameters begin at the first bracket outside of all template arguments.
    let mut depth = 0_usize;
    let end = name.find(|letter: char| {
        depth = match letter {
            '<' => depth + 1,
            '>' => depth.saturating_sub(1),
            _ => depth,
        };
        letter == '(' && depth == 0
    });
    name[..end.unwrap_or(name.len())].replace("__nv_bfloat16", "bf16").replace("__half", "f16")
}

/// The number after `name:` in a line of resources.
fn number(line: &str, name: &str) -> u32 {
    let found = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix(':')?.parse().ok());
    found.unwrap_or_else(|| panic!("no {name} in: {line}"))
}

/// What stands at the beginning of a function or a file in either listing.
#[derive(Default)]
struct Place {
    source: String,
    architecture: String,
    function: String,
}

impl Place {
    /// Whether the line said where the following ones are.
    fn moves(&mut self, line: &str) -> bool {
        let line = line.trim();
        if let Some(member) = line.strip_prefix("member ") {
            let object = member.trim_end_matches(':').rsplit(':').next().unwrap_or_default();
            self.source = object.replace(".o", ".cu");
        } else if let Some(architecture) = line.strip_prefix("arch = ") {
            self.architecture = architecture.to_owned();
        } else if let Some(function) = line.strip_prefix("Function : ").or_else(|| line.strip_prefix("Function ")) {
            self.function = function.trim_end_matches(':').to_owned();
        } else {
            return false;
        }
        true
    }

    fn key(&self) -> (String, String, String) {
        (self.source.clone(), self.function.clone(), self.architecture.clone())
    }
}

/// What the library's kernels take.
fn found() -> Table {
    let mut uses: BTreeMap<(String, String, String), Use> = BTreeMap::new();
    let mut place = Place::default();
    for line in printed("cuobjdump", &["-res-usage", LIBRARY]).lines() {
        if !place.moves(line) && line.contains("REG:") {
            let (registers, shared) = (number(line, "REG"), number(line, "SHARED"));
            let stack = number(line, "STACK").max(number(line, "LOCAL"));
            uses.insert(place.key(), Use { registers, stack, shared, ..Use::default() });
        }
    }
    let mut place = Place::default();
    for line in printed("cuobjdump", &["-sass", LIBRARY]).lines() {
        if place.moves(line) {
            continue;
        }
        let (matrix, copy) = (line.contains(" HMMA."), line.contains(" LDGSTS."));
        if matrix || copy {
            let of = uses.get_mut(&place.key()).expect("what is in one listing is in the other");
            of.has_matrix_products |= matrix;
            of.has_copies |= copy;
        }
    }
    let mangled: Vec<String> = uses.keys().map(|(_, function, _)| function.clone()).collect();
    let mut table = Table::new();
    for (((source, _, architecture), of), name) in uses.into_iter().zip(written(&mangled)) {
        assert!(ARCHITECTURES.contains(&architecture.as_str()), "{name} for {architecture}");
        table.entry((source, name)).or_default().insert(architecture, of);
    }
    table
}

/// The table as it is committed.
fn text(table: &Table) -> String {
    let mut text = format!(
        "# What each kernel takes of a GPU, as nvcc {PINNED} made it; written and compared by tests/resources.rs.\n\
         # On sm_80, then on sm_90a: registers of a thread, bytes of it in memory (spills, arrays), bytes of static shared\n\
         # memory (on sm_90a 1,024 are the system's; all of the kernels' own is the launcher's to say). Then whether matrix\n\
         # products (HMMA) and asynchronous copies (LDGSTS) are there.\n"
    );
    let mut last = "";
    for ((source, name), each) in table {
        if source != last {
            write!(text, "\n{source}\n").expect("a string");
            last = source;
        }
        for architecture in ARCHITECTURES {
            let of = each.get(architecture).unwrap_or_else(|| panic!("{name} is not there for {architecture}"));
            write!(text, "{:>5} {:>2} {:>4}", of.registers, of.stack, of.shared).expect("a string");
        }
        let has = |what: fn(&Use) -> bool, word| if each.values().all(what) { word } else { "-" };
        let (products, copies) = (has(|of| of.has_matrix_products, "mma"), has(|of| of.has_copies, "copies"));
        writeln!(text, "  {products:3} {copies:6}  {name}").expect("a string");
    }
    text
}

/// What must be there by its name, whatever the table says.
fn expect_instructions(name: &str, of: &Use) {
    let is_meant = name.contains("Products<") || name == "lora_expand" || name == "lora_shrink<bf16>";
    assert_eq!(of.has_matrix_products, is_meant, "{name}: matrix products where they are meant, and nowhere else");
    let is_meant = name.contains("Products<");
    assert_eq!(of.has_copies, is_meant, "{name}: asynchronous copies where they are meant, and nowhere else");
}

#[test]
fn no_kernel_takes_more_than_the_table_says() {
    let table = found();
    assert!(!table.is_empty(), "no kernel in {LIBRARY}");
    for ((source, name), each) in &table {
        for (architecture, of) in each {
            assert_eq!(of.stack, 0, "{source}, {name}, {architecture}: registers or arrays are kept in memory");
            expect_instructions(name, of);
        }
    }
    if !printed("nvcc", &["--version"]).contains(PINNED) {
        eprintln!("skipped: the table is of {PINNED}, and {TOOLKIT} holds another compiler");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/resources.txt");
    let now = text(&table);
    if env::var_os("LOAM_RESOURCES").is_some_and(|value| value == "write") {
        fs::write(&path, &now).expect("the table");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let [kept, made] = [&committed, &now].map(|text| text.lines().collect::<Vec<_>>());
    let only = |these: &[&str], others: &[&str], sign| -> String {
        these.iter().filter(|line| !others.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    let difference = only(&kept, &made, '-') + &only(&made, &kept, '+');
    assert!(
        committed == now,
        "the kernels are not what {} says:\n{difference}If that is meant, write it anew with LOAM_RESOURCES=write",
        path.display()
    );
}
