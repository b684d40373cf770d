#!/usr/bin/env bash
# What building Loam needs beside cargo: a C++20 compiler and libclang, both for RocksDB. And what its tests ask it with.
#
#   deps.sh install      find what is there, install what is missing, say what was done
#   deps.sh env          print `export NAME=value` lines for plain cargo; installs nothing
#   deps.sh run CMD...   run a command in that environment; installs nothing
#
# Both also claim the build folder for this checkout; see there.
#
# libclang reads RocksDB's C header while we build (bindgen loads it at run time); no program we make needs it.
# It comes from the system, else from apt, else from a pinned Python wheel that is unpacked into the user's cache.
# LOAM_LIBCLANG=wheel asks for the wheel even where the system has one.
#
# The environment is part of RocksDB's fingerprint: a LIBCLANG_PATH that comes or goes costs a rebuild of 20 CPU-minutes.
# Hence nothing is exported that bindgen would find by itself, and `env` gives the same answer every time.
set -euo pipefail
shopt -s nullglob

readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/loam/libclang
readonly wheel=libclang==18.1.1
readonly wheel_dir=$cache/${wheel##*=}/clang/native
readonly wheel_hashes=(
    c533091d8a3bbf7460a00cb6c1a71da93bffe148f172c7d03b1c31fbf8aa2a0b # x86_64
    54dda940a4a0491a9d1532bf071ea3ef26e6dbaf03b5000ed94dd7174e8f9592 # aarch64
)

say() { printf 'deps: %-9s %s\n' "$1" "$2"; }
die() {
    printf 'deps: %s\n' "$@" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# --- libclang -------------------------------------------------------------------------------------------------------

# The file names bindgen accepts. libclang-cpp is another library.
holds_libclang() {
    local file
    for file in "$1"/libclang.so* "$1"/libclang-[0-9]*.so*; do
        [[ -e $file ]] && return 0
    done
    return 1
}

# The folder of the system's libclang. llvm-config is asked first, but not believed: LLVM is often there without clang.
system_libclang() {
    local dir
    if [[ -n ${LIBCLANG_PATH:-} ]]; then
        [[ -f $LIBCLANG_PATH ]] && dir=${LIBCLANG_PATH%/*} || dir=$LIBCLANG_PATH
        holds_libclang "$dir" && echo "$LIBCLANG_PATH"
        return 0
    fi
    {
        "${LLVM_CONFIG_PATH:-llvm-config}" --libdir 2>/dev/null || true
        printf '%s\n' /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu /usr/lib64/llvm*/lib* /usr/lib64 /usr/lib /usr/local/lib
        PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null | sed -n 's|.*=> \(.*\)/libclang[-.][0-9s].*|\1|p' || true
    } | while read -r dir; do
        holds_libclang "$dir" && echo "$dir" && break
    done || true
}

# bindgen's own search covers /usr/lib and /usr/local/lib, two levels deep.
bindgen_searches() { [[ $1 =~ ^/usr/(local/)?lib[^/]*(/[^/]+)?(/[^/]+)?$ ]]; }

# clang's own <stddef.h> and kin. A bare libclang (the wheel, or Debian's libclang1) comes without them.
has_builtin_headers() {
    local headers=("$1"/clang/*/include/stddef.h /usr/lib*/clang/*/include/stddef.h
        /usr/lib/llvm-*/lib/clang/*/include/stddef.h)
    ((${#headers[@]}))
}

# Sets libclang (what to tell), and path and args: what must be exported for bindgen to work, empty where it needs nothing.
locate() {
    local dir=
    libclang='' path=${LIBCLANG_PATH:-} args=${BINDGEN_EXTRA_CLANG_ARGS:-}
    [[ ${LOAM_LIBCLANG:-} == wheel ]] || dir=$(system_libclang)
    if [[ -n $dir ]]; then
        libclang=$dir
        bindgen_searches "$dir" || path=$dir
        [[ -n $args ]] || has_builtin_headers "$dir" || args=$(compiler_headers)
    elif holds_libclang "$wheel_dir"; then
        libclang=$wheel_dir path=$wheel_dir
        [[ -n $args ]] || args=$(compiler_headers)
    fi
}

# The C compiler's builtin headers serve in place of clang's: RocksDB's C header uses only the standard ones.
compiler_headers() {
    local include
    include=$(cc -print-file-name=include 2>/dev/null || true)
    [[ $include != /* ]] || printf -- '-isystem %s' "$include"
}

install_libclang() {
    if [[ ${LOAM_LIBCLANG:-} != wheel ]] && apt_install libclang-dev; then
        locate
        [[ -z $libclang ]] || return 0
    fi
    install_wheel
    locate
}

# Checked against the hashes above, unpacked beside its place and moved there whole: a broken download leaves nothing.
install_wheel() {
    have python3 || die "python3 is missing: it fetches libclang where apt cannot." \
        "Install libclang (Debian: libclang-dev, Fedora: clang-devel) or python3 with pip, then run this again."
    python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip: it fetches libclang where apt cannot." \
        "Install libclang (Debian: libclang-dev, Fedora: clang-devel) or pip (Debian: python3-pip), then run this again."
    say libclang "fetching the Python wheel $wheel (25 MB) into $cache"
    mkdir -p "$cache"
    local fresh
    fresh=$(mktemp -d "$cache/.fresh.XXXXXX")
    printf '%s --hash=sha256:%s --hash=sha256:%s\n' "$wheel" "${wheel_hashes[@]}" >"$fresh/pinned.txt"
    if ! PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
        --target "$fresh/wheel" --requirement "$fresh/pinned.txt" >&2; then
        rm -rf "$fresh"
        die "the wheel could not be fetched (pip says why above)." "Or install libclang by hand; Debian: libclang-dev."
    fi
    rm -rf "${cache:?}/${wheel##*=}"
    mv "$fresh/wheel" "$cache/${wheel##*=}"
    rm -rf "$fresh"
}

# --- the rest -------------------------------------------------------------------------------------------------------

# Fails quietly where there is no apt or no right to use it; loudly where apt itself fails.
apt_install() {
    local sudo=()
    have apt-get || return 1
    if [[ $(id -u) != 0 ]]; then
        sudo -n true 2>/dev/null || return 1
        sudo=(sudo -n)
    fi
    local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    say apt "installing $*"
    # Stale lists name packages that are no longer there; an update that fails in part may still do. Once a run is enough.
    [[ -n ${apt_updated:-} ]] || "${apt[@]}" update >/dev/null </dev/null || say apt "update failed; taking the old lists"
    apt_updated=yes
    "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null </dev/null
}

# RocksDB is C++20. The compiler is the one cargo's build scripts take: $CXX, else c++.
compiles_cpp20() {
    "${CXX:-c++}" -std=c++20 -fsyntax-only -x c++ - >/dev/null 2>&1 <<<$'#include <version>\nstatic_assert(__cplusplus > 201703L);'
}

require_compiler() {
    compiles_cpp20 || apt_install g++ || true
    compiles_cpp20 || die "no C++20 compiler: ${CXX:-c++} is missing or too old." \
        "Install g++ 11 or later (Debian: g++, Fedora: gcc-c++); where only clang++ is there: export CC=clang CXX=clang++."
    say c++ "$("${CXX:-c++}" --version | head -n 1)"
}

require_cargo() {
    have cargo || die "cargo is missing. Install Rust through rustup (Debian 13, Ubuntu 24.04: apt-get install rustup)" \
        "and see that it is on PATH (. ~/.cargo/env); rust-toolchain.toml names the version, which rustup then fetches."
    local version
    version=$(cargo --version 2>&1) || die "cargo does not run here: $version" \
        "rust-toolchain.toml pins the version; 'rustup toolchain install' in this folder fetches it."
    say cargo "${version#cargo }"
}

require_make() {
    have make || apt_install make || die "make is missing. Install it (Debian: make)."
}

# Clients that are not ours ask the server in the tests. Nothing that is built needs them.
look_for_clients() {
    have curl || apt_install curl || say curl "missing: a test needs it (Debian: curl)"
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || apt_install python3 python3-venv ||
        say python3 "missing, or without venv: tests need it (Debian: python3-venv)"
}

install_all() {
    require_cargo
    require_make
    look_for_clients
    require_compiler
    if [[ -n ${LIBCLANG_PATH:-} && ${LOAM_LIBCLANG:-} != wheel && -z $(system_libclang) ]]; then
        die "LIBCLANG_PATH=$LIBCLANG_PATH holds no libclang: correct it, or unset it to have one found."
    fi
    locate
    [[ -n $libclang ]] || install_libclang
    [[ -n $libclang ]] || die "libclang was installed, but is not found: set LIBCLANG_PATH to its folder."
    say libclang "$libclang"
}

# --- the build folder -----------------------------------------------------------------------------------------------

# Cargo tells a workspace's own crates apart by their names and the times of their files, not by where they lie. In a
# build folder that checkouts share it would take what another one built, if that is newer, for built from here. So
# whoever builds after another checkout did builds Loam's own crates anew; those of others, RocksDB first, stay.
claim_build_folder() {
    local folder=${CARGO_TARGET_DIR:-} here mark owner= lock
    [[ -n $folder && -d $folder ]] || return 0
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
    mark=$folder/.loam-checkout
    [[ ! -f $mark ]] || read -r owner <"$mark" || true
    [[ $owner != "$here" ]] || return 0
    # Not while the other one still builds: cargo holds this lock meanwhile.
    for lock in "$folder"/*/.cargo-lock; do
        [[ -f $lock ]] && have flock || continue
        flock --nonblock "$lock" true || say build "waiting: the checkout in ${owner:-another folder} is building in $folder" >&2
        flock "$lock" rm -rf "${lock%/*}"/.fingerprint/loam-*
    done
    rm -rf "$folder"/*/.fingerprint/loam-*
    printf '%s\n' "$here" >"$mark"
}

case ${1:-} in
install) install_all ;;
env)
    claim_build_folder
    locate
    [[ -z $path ]] || printf 'export LIBCLANG_PATH=%q\n' "$path"
    [[ -z $args ]] || printf 'export BINDGEN_EXTRA_CLANG_ARGS=%q\n' "$args"
    ;;
run)
    shift
    claim_build_folder
    locate
    [[ -z $path ]] || export LIBCLANG_PATH=$path
    [[ -z $args ]] || export BINDGEN_EXTRA_CLANG_ARGS=$args
    exec "$@"
    ;;
*) die "usage: deps.sh install | env | run COMMAND..." ;;
esac
