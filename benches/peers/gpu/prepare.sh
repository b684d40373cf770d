#!/usr/bin/env bash
# Fetches the published vLLM and SGLang wheels and unpacks, into the folder given, only the Python (and JSON) files of
# their LoRA Triton kernels. Run where package registries can be reached; carry the folder to the GPU machine. Nothing is
# installed, nothing of theirs is written anywhere else, and the folder ignores itself in git.
#
#   prepare.sh DEST                download, check, unpack
#   prepare.sh --current DEST      whether DEST holds these versions
#   WHEELS=DIR prepare.sh DEST     use wheels that lie in DIR already
set -euo pipefail

readonly VLLM=0.33.0
readonly SGLANG=0.5.23
PYTHON=${PYTHON:-python3}

die() {
    printf 'prepare: %s\n' "$@" >&2
    exit 1
}

if [[ ${1:-} == --current ]]; then
    versions=${2:?which folder}/VERSIONS
    grep -qs "^vllm $VLLM " "$versions" && grep -qs "^sglang $SGLANG " "$versions"
    exit
fi
(($# == 1)) || die "usage: prepare.sh [--current] DEST"
dest=$1
if [[ -e $dest && -n $(ls -A "$dest" 2>/dev/null) && ! -e $dest/VERSIONS ]]; then
    die "$dest is not empty and was not made by this script: name another folder."
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wheels=${WHEELS:-$work}
if [[ -z ${WHEELS:-} ]]; then
    # Tags are given, so that the same files come whatever machine prepares them (only text is used).
    "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$wheels" \
        --python-version 3.12 --implementation cp --abi cp312 --abi abi3 --abi none \
        --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
        "vllm==$VLLM" "sglang==$SGLANG"
fi

"$PYTHON" - "$wheels" "$dest" "$VLLM" "$SGLANG" <<'PY'
import fnmatch, glob, hashlib, os, shutil, sys, zipfile

wheels, dest, vllm, sglang = sys.argv[1:]
WANT = {
    ("vllm", vllm): [
        "vllm/lora/ops/triton_ops/lora_shrink_op.py",
        "vllm/lora/ops/triton_ops/lora_expand_op.py",
        "vllm/lora/ops/triton_ops/lora_kernel_metadata.py",
        "vllm/lora/ops/triton_ops/kernel_utils.py",
        "vllm/lora/ops/triton_ops/utils.py",
    ],
    ("sglang", sglang): [
        "sglang/kernels/ops/lora/dense/chunked_sgmv_shrink.py",
        "sglang/kernels/ops/lora/dense/chunked_sgmv_expand.py",
        "sglang/kernels/ops/lora/dense/lora_tuning_config.py",
        "sglang/kernels/ops/lora/dense/csgmv_configs/*.json",
        "sglang/kernels/ops/lora/common/*.py",
        "sglang/srt/lora/dense/plan.py",
        "sglang/srt/lora/dense/runner.py",
        "sglang/srt/lora/dense/configs/*.json",
        "sglang/srt/lora/workspace.py",
    ],
}
for name in ("vllm", "sglang", "licences", "VERSIONS", ".gitignore"):
    path = os.path.join(dest, name)
    shutil.rmtree(path) if os.path.isdir(path) else os.path.exists(path) and os.remove(path)
os.makedirs(dest, exist_ok=True)
lines, total = [], 0
for (name, version), patterns in WANT.items():
    found = sorted(glob.glob(os.path.join(wheels, f"{name}-{version}-*.whl")))
    if not found:
        sys.exit(f"no wheel of {name} {version} in {wheels}")
    digest = hashlib.sha256()
    with open(found[0], "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    count = 0
    with zipfile.ZipFile(found[0]) as z:
        names = [n for n in z.namelist() if not n.endswith("/")]
        for pattern in patterns:
            hits = [n for n in names if fnmatch.fnmatchcase(n, pattern)]
            if not hits:
                print(f"warning: {name} {version} has no {pattern}", file=sys.stderr)
            for n in hits:
                out = os.path.join(dest, n)
                os.makedirs(os.path.dirname(out), exist_ok=True)
                data = z.read(n)
                with open(out, "wb") as f:
                    f.write(data)
                total, count = total + len(data), count + 1
        for n in names:
            if fnmatch.fnmatchcase(n, "*.dist-info/*LICENSE*"):
                out = os.path.join(dest, "licences", f"{name}-{os.path.basename(n)}")
                os.makedirs(os.path.dirname(out), exist_ok=True)
                with open(out, "wb") as f:
                    f.write(z.read(n))
    lines.append(f"{name} {version} {os.path.basename(found[0])} sha256:{digest.hexdigest()} files:{count}")
with open(os.path.join(dest, "VERSIONS"), "w") as f:
    f.write("\n".join(lines) + "\n")
with open(os.path.join(dest, ".gitignore"), "w") as f:
    f.write("*\n")
print("\n".join(lines))
print(f"{total / 1024:.0f} KiB in {dest}")
PY
