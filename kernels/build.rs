//! Builds the CUDA kernels, where a feature asks for them: with nvcc for a GPU (`cuda`), or with the C++ compiler for the
//! emulation of one (`emulate`, `emulate-unchecked`, `rehearse`; tests only). Without a feature it does nothing and needs
//! nothing.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let on = |feature: &str| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    match (on("CUDA"), on("EMULATE")) {
        (false, false) => return,
        (true, true) => {
            stop("`cuda` and `emulate` build the same functions, once for a GPU and once for none: choose one")
        }
        (true, false) => build_for_device(on("INTERPRET")),
        (false, true) => build_for_emulation(!on("EMULATE_UNCHECKED"), on("REHEARSE")),
    }
    watch();
}

/// All that objects are made of, and not what only people read. A source that is new is declared in `kernels.h`, which is
/// of these.
fn watch() {
    for folder in ["cuda", "cuda/driver", "cuda/host", "cuda/host/planted", "cuda/interpreter"] {
        for extension in ["cu", "cuh", "h", "cpp"] {
            for source in sources(Path::new(folder), extension) {
                println!("cargo::rerun-if-changed={}", source.display());
            }
        }
    }
}

/// Machine code for Ampere and Hopper, and PTX from which a driver makes code for what comes after. To be interpreted, PTX
/// alone, as it is, with the lines of its source.
fn build_for_device(interpreted: bool) {
    for name in ["LOAM_CUDA", "XDG_CACHE_HOME"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let toolkit = toolkit();
    let nvcc = toolkit.join("bin/nvcc");
    if !nvcc.is_file() {
        stop(&format!("no CUDA compiler at {}: `make cuda-toolchain` fetches it", nvcc.display()));
    }
    let arguments = [
        "-std=c++20 -O3 --fmad=true -Werror all-warnings -Xcompiler -fPIC,-Wall",
        "-gencode arch=compute_90,code=compute_90",
        if interpreted {
            "--compress-mode=none -lineinfo"
        } else {
            // A quarter of the size; the driver unpacks what it loads, once.
            "-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a --compress-mode=size"
        },
    ];
    let sources = kernels();
    let objects = compile(sources.iter().map(|source| {
        let mut command = Command::new(&nvcc);
        command.args(arguments.iter().flat_map(|line| line.split(' '))).arg("-Icuda").arg("-c").arg(source);
        (command, source)
    }));
    // For tests/resources.rs, which looks into what was made.
    println!("cargo::rustc-env=LOAM_DEVICE_LIBRARY={}", out_folder().join("libloam_device.a").display());
    println!("cargo::rustc-env=LOAM_DEVICE_TOOLKIT={}", toolkit.display());
    if interpreted {
        return interpret(&toolkit, objects);
    }
    archive(&objects);
    println!("cargo::rustc-link-search=native={}", toolkit.join("lib").display());
    println!("cargo::rustc-link-search=native={}", toolkit.join("lib64").display());
    for library in ["static=cudart_static", "dylib=rt", "dylib=pthread", "dylib=dl", "dylib=stdc++"] {
        println!("cargo::rustc-link-lib={library}");
    }
}

/// What stands for CUDA's runtime below the kernels' launchers, over the driver's stand-in.
fn interpret(toolkit: &Path, mut objects: Vec<PathBuf>) {
    println!("cargo::rerun-if-env-changed=CXX");
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let sources = sources(Path::new("cuda/interpreter"), "cpp");
    objects.extend(compile(sources.iter().map(|source| {
        let mut command = Command::new(&compiler);
        command.args("-std=c++20 -O3 -g1 -fPIC -Wall -Wextra -Werror -ffp-contract=off -Icuda/driver".split(' '));
        // A lane's `fma` is an instruction there, and eight lanes are a vector. runtime.cpp looks whether the machine has them.
        if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|name| name == "x86_64") {
            command.args(["-mavx2", "-mfma", "-mf16c"]);
        }
        command.arg("-isystem").arg(toolkit.join("include")).arg("-c").arg(source);
        (command, source)
    })));
    archive(&objects);
    stand_ins(&compiler);
    println!("cargo::rustc-link-lib=dylib=stdc++");
}

/// `make cuda-toolchain` puts it there; see .tools/cuda.sh.
fn toolkit() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache"))).unwrap_or_default();
    set("LOAM_CUDA").unwrap_or_else(|| cache().join("loam/cuda-13.0.88"))
}

/// The kernels as they are, and the device that runs them. In the checked build the compiler tells of every access of a
/// kernel; of the emulation's own it does not. A rehearsal's launches go to the driver's stand-in.
fn build_for_emulation(checked: bool, rehearsed: bool) {
    println!("cargo::rerun-if-env-changed=CXX");
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let mut kernels = kernels();
    kernels.push(planted());
    kernels.push(PathBuf::from("cuda/host/rates.cu"));
    let checks = if checked { "-fsanitize=thread,alignment" } else { "-DNDEBUG" };
    let mut device = sources(Path::new("cuda/host"), "cpp");
    if rehearsed {
        device.retain(|path| path.file_name() != Some(OsStr::new("stream.cpp")));
        device.push(PathBuf::from("cuda/driver/submit.cpp"));
    }
    let commands = kernels.iter().map(|source| (source, true)).chain(device.iter().map(|source| (source, false)));
    let objects = compile(commands.map(|(source, is_kernel)| {
        let mut command = Command::new(&compiler);
        // No contraction: what one compiler rounds once and another twice would not be one reference.
        command.args("-std=c++20 -O3 -g1 -fPIC -Wall -Wextra -Werror -ffp-contract=off -DLOAM_EMULATE".split(' '));
        command.arg(format!("-DEMULATION_CHECKED={}", u8::from(checked))).args([
            "-Icuda/host",
            "-Icuda",
            "-Icuda/driver",
        ]);
        if is_kernel {
            command.arg(checks);
        }
        command.args(["-x", "c++", "-c"]).arg(source);
        (command, source)
    }));
    archive(&objects);
    if rehearsed {
        stand_ins(&compiler);
    }
    println!("cargo::rustc-link-lib=dylib=stdc++");
}

fn stand_ins(compiler: &OsStr) {
    stand_in("cuda", &["work.cpp", "memory.cpp", "streams.cpp"], compiler);
    stand_in("cublasLt", &["blas.cpp"], compiler);
}

/// A library that is found where NVIDIA's of that name would be: cargo has tests look into this folder first.
fn stand_in(name: &str, sources: &[&str], compiler: &OsStr) {
    let library = out_folder().join(format!("lib{name}.so"));
    let mut command = Command::new(compiler);
    command.args("-std=c++20 -O3 -g1 -fPIC -shared -Wall -Wextra -Werror".split(' '));
    command.args(sources.iter().map(|source| Path::new("cuda/driver").join(source)));
    command.arg("-o").arg(&library).arg("-L").arg(out_folder());
    if name != "cuda" {
        command.arg("-lcuda");
    }
    if !command.status().is_ok_and(|status| status.success()) {
        stop(&format!("it does not compile: {command:?}"));
    }
    println!("cargo::rustc-link-lib=dylib={name}");
}

/// All planted faults as one source, each in a namespace of its own: as many sources take two minutes to compile.
fn planted() -> PathBuf {
    let mut text = "#include \"host/planted/planted.cuh\"\n".to_owned();
    for source in sources(Path::new("cuda/host/planted"), "cu") {
        let name = source.file_stem().expect("a source has a name").to_string_lossy();
        text += &format!("namespace {name} {{\n#include \"host/planted/{name}.cu\"\n}}\n");
    }
    let all = out_folder().join("planted.cu");
    fs::write(&all, text).unwrap_or_else(|error| stop(&format!("{}: {error}", all.display())));
    all
}

/// Every kernel of the product: the probe is a program of its own.
fn kernels() -> Vec<PathBuf> {
    let mut kernels = sources(Path::new("cuda"), "cu");
    kernels.retain(|path| path.file_name() != Some(OsStr::new("gpu_probe.cu")));
    kernels
}

fn sources(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| stop(&format!("{}: {error}", folder.display())));
    let paths = entries.map(|entry| entry.expect("a folder that opened can be read").path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension() == Some(OsStr::new(extension))).collect();
    paths.sort();
    paths
}

/// Runs the commands, as many at once as cargo allows, each with an object of its own to write.
fn compile<'a>(commands: impl Iterator<Item = (Command, &'a PathBuf)>) -> Vec<PathBuf> {
    let out = out_folder();
    let mut jobs: Vec<(Command, PathBuf)> = commands
        .map(|(mut command, source)| {
            let object = out.join(source.file_name().expect("a source has a name")).with_extension("o");
            command.arg("-o").arg(&object);
            (command, object)
        })
        .collect();
    let at_once = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1);
    for group in jobs.chunks_mut(at_once) {
        let started: Vec<_> = group.iter_mut().map(|(command, _)| (command.spawn(), command)).collect();
        for (child, command) in started {
            let ended = child.and_then(|mut child| child.wait());
            match ended {
                Ok(status) if status.success() => {}
                Ok(status) => stop(&format!("{status}: {command:?}")),
                Err(error) => stop(&format!("{error}: {command:?}")),
            }
        }
    }
    jobs.into_iter().map(|(_, object)| object).collect()
}

fn archive(objects: &[PathBuf]) {
    let library = out_folder().join("libloam_device.a");
    // An archive that is there would keep what is no longer among the objects.
    let _ = fs::remove_file(&library);
    let status =
        Command::new(env::var_os("AR").unwrap_or_else(|| "ar".into())).arg("crs").arg(&library).args(objects).status();
    if !status.is_ok_and(|status| status.success()) {
        stop("`ar` could not put the kernels into a library: it comes with the compiler (Debian: binutils)");
    }
    println!("cargo::rustc-link-search=native={}", out_folder().display());
    println!("cargo::rustc-link-lib=static=loam_device");
}

fn out_folder() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the folder to build in"))
}

fn stop(why: &str) -> ! {
    println!("cargo::error={}", why.replace('\n', " "));
    std::process::exit(1)
}
