#!/usr/bin/env bash
# One folder, and one archive of it, that a machine with an NVIDIA GPU runs without Rust, make or this repository.
#
#   gpu-bundle.sh make        build it into .gpu/loam-gpu, and .gpu/loam-gpu-COMMIT.tar.gz
#   gpu-bundle.sh peers       fetch the peers' files alone, into .gpu/peers
#   gpu-bundle.sh size DIR    refuse a folder whose programs are larger than a bundle's may be
#
# It holds gpu-check (the script that runs everything), the probe, the tests that compute on a GPU as programs, the
# golden models that they need, loam-gpu-bench with the table, and the peers' kernels with what times them; PEERS=no
# leaves these out.
set -euo pipefail

readonly mib_max=40
readonly top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
readonly gpu=$top/.gpu
readonly bundle=$gpu/loam-gpu
# The selection is the whole one, so that nothing of other people's crates is compiled again, and RocksDB not at all.
readonly selection=(--release --workspace --locked --features loam-benches/cuda)

die() {
    printf 'gpu-bundle: %s\n' "$@" >&2
    exit 1
}

# The path of a program that cargo built, out of the lines in which it tells.
built() {
    local name=$1 path
    path=$(sed -n 's/.*"name":"'"$name"'".*"executable":"\([^"]*\)".*/\1/p' "$2" | tail -n1)
    [[ -x $path ]] || die "cargo built no program $name."
    printf '%s\n' "$path"
}

programs() {
    local told name
    told=$(mktemp)
    cargo build "${selection[@]}" --bin loam-gpu-bench --message-format=json-render-diagnostics >"$told"
    cargo test "${selection[@]}" --no-run --test conformance --test whole --message-format=json-render-diagnostics >>"$told"
    mkdir -p "$bundle/bin"
    for name in loam-gpu-bench conformance whole; do
        install -m755 --strip "$(built "$name" "$told")" "$bundle/bin/$name"
    done
    rm -f "$told"
    "$top/.tools/cuda.sh" probe "$bundle/bin/gpu_probe"
}

# Their files are taken out of published wheels, which are large, and kept beside the bundle for the next one.
peers() {
    local prepare=$top/benches/peers/gpu/prepare.sh
    if [[ ! -f $gpu/peers/VERSIONS ]] || ! "$prepare" --current "$gpu/peers"; then
        echo "gpu-bundle: fetching the wheels of vLLM and SGLang, for some files of them (half a gigabyte, once)"
        "$prepare" "$gpu/peers"
    fi
}

# Programs, stripped, and the archive that is carried each have at most so much; golden models come on top of the first.
size() {
    local bytes
    bytes=$(find "$1/bin" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%d", sum }')
    if ((bytes > mib_max << 20)); then
        find "$1/bin" -type f -printf '%s bin/%P\n' | sort -rn >&2
        die "programs of $((bytes >> 20)) MiB, and a bundle has at most $mib_max: these are they."
    fi
    echo "gpu-bundle: programs of $(((bytes + 1048575) >> 20)) MiB, of at most $mib_max"
}

archive() {
    local archive=$gpu/loam-gpu-$1.tar.gz bytes
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git -C "$top" log -1 --format=%ct)" \
        -C "$gpu" -c loam-gpu | gzip -9n >"$archive"
    bytes=$(wc -c <"$archive")
    ((bytes <= mib_max << 20)) || die "$archive has $((bytes >> 20)) MiB, and a bundle at most $mib_max."
    echo "gpu-bundle: $archive, $(((bytes + 1048575) >> 20)) MiB"
}

make_bundle() {
    local commit
    commit=$(git -C "$top" rev-parse --short HEAD)
    [[ -z $(git -C "$top" status --porcelain) ]] || commit+=-changed
    rm -rf "$bundle"
    mkdir -p "$bundle/peers"
    programs
    printf '%s\n' "$commit" >"$bundle/COMMIT"
    install -m755 "$top/.tools/gpu-check.sh" "$bundle/gpu-check"
    install -m644 "$top/LICENSE" "$bundle/"
    mkdir -p "$bundle/engine/testdata"
    cp -R "$top/engine/testdata/golden" "$bundle/engine/testdata/"
    rm -rf "$bundle"/engine/testdata/golden/*/special
    install -m644 "$top"/benches/peers/gpu/*.py "$bundle/peers/"
    if [[ ${PEERS:-yes} == no ]]; then
        echo "gpu-bundle: without the peers' files (PEERS=no): gpu-check peers will say so"
    elif peers; then
        cp -R "$gpu/peers" "$bundle/peers/files"
    else
        die "the peers' files could not be fetched (why stands above)." "Without them: make gpu-bundle PEERS=no"
    fi
    (cd "$bundle" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS)
    size "$bundle"
    archive "$commit"
}

case ${1:-} in
make) make_bundle ;;
peers) peers ;;
size) size "${2:?which folder}" ;;
*) die "usage: gpu-bundle.sh make | peers | size DIR" ;;
esac
