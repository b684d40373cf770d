#!/usr/bin/env bash
# The pinned CUDA compiler, for those who build the `cuda` feature. Nothing else needs it.
#
#   cuda.sh install      fetch it into the user's cache if it is not there; prints where it lies
#   cuda.sh folder       print where it lies, or would
#   cuda.sh probe FILE   compile kernels/cuda/gpu_probe.cu into a program that needs a driver and nothing else
#
# LOAM_CUDA=DIR names another folder, such as a toolkit that is installed: what counts is DIR/bin/nvcc.
set -euo pipefail

readonly version=13.0.88
readonly here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
readonly pinned=$here/cuda-$version.txt
readonly folder=${LOAM_CUDA:-${XDG_CACHE_HOME:-$HOME/.cache}/loam/cuda-$version}

die() {
    printf 'cuda: %s\n' "$@" >&2
    exit 1
}

# Each line of the list says what was installed, so a changed list is another toolchain.
is_there() { [[ -x $folder/bin/nvcc ]] && { [[ -n ${LOAM_CUDA:-} ]] || cmp -s "$pinned" "$folder/pinned.txt"; }; }

# The wheels share one folder, nvidia/cu13, which has the form of a toolkit. It is moved to its place whole: a broken
# download leaves nothing.
install() {
    if is_there; then
        echo "cuda: $("$folder/bin/nvcc" --version | sed -n 's/.*release.*, //p') in $folder"
        return
    fi
    [[ -z ${LOAM_CUDA:-} ]] || die "LOAM_CUDA=$LOAM_CUDA has no bin/nvcc: correct it, or unset it to have a compiler fetched."
    [[ $(uname -s -m) == 'Linux x86_64' ]] || die "the pinned compiler is for Linux on x86_64." \
        "Elsewhere install CUDA 13.0 and say where with LOAM_CUDA=DIR."
    python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is missing: it fetches the compiler." \
        "Install it (Debian: python3-pip), or CUDA 13.0 and say where with LOAM_CUDA=DIR."
    echo "cuda: fetching the pinned compiler (109 MB) into $folder"
    mkdir -p "$(dirname "$folder")"
    fresh=$(mktemp -d "$folder.fresh.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps \
        --only-binary=:all: --require-hashes --target "$fresh/wheels" --requirement "$pinned" >&2 ||
        die "the wheels could not be fetched (pip says why above)." "Or install CUDA 13.0 and say where with LOAM_CUDA=DIR."
    local toolkit=$fresh/wheels/nvidia/cu13
    [[ -x $toolkit/bin/nvcc ]] || die "the wheels hold no nvidia/cu13/bin/nvcc: they changed their form."
    # A toolkit's libraries lie in lib64, where nvcc looks; a wheel's in lib.
    [[ -e $toolkit/lib64 ]] || ln -s lib "$toolkit/lib64"
    cp "$pinned" "$toolkit/pinned.txt"
    rm -rf "$folder"
    mv "$toolkit" "$folder"
    echo "cuda: $("$folder/bin/nvcc" --version | sed -n 's/.*release.*, //p') in $folder"
}

probe() {
    is_there || die "no CUDA compiler: make cuda-toolchain fetches it."
    mkdir -p "$(dirname "$1")"
    "$folder/bin/nvcc" -std=c++20 -O3 -Werror all-warnings -Xcompiler -Wall,-Wextra \
        -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
        -cudart static -Xlinker -s \
        -o "$1" "$here/../kernels/cuda/gpu_probe.cu"
    echo "cuda: $1 ($(wc -c <"$1") bytes) needs the driver and the system's C++ library; it has the limit of five minutes"
}

case ${1:-} in
install) install ;;
folder) echo "$folder" ;;
probe) probe "${2:?where the program goes}" ;;
*) die "usage: cuda.sh install | folder | probe FILE" ;;
esac
