#!/usr/bin/env bash
# What a machine with an NVIDIA GPU says of Loam: its numbers, then its speed. Runs from an unpacked bundle, which
# `make gpu-bundle` makes; the machine needs the driver, bash and coreutils, and for two stages what they name.
#
#   gpu-check [OPTION...] [STAGE...]     all stages where none is named, each in under eight minutes
#
#   probe         what the GPU can do at best
#   conformance   every operation against f64, and rows whose bits depend on nobody else
#   sanitizer     some of it under compute-sanitizer: memcheck, then racecheck
#   goldens       whole engines against Transformers and PEFT, in f32 and bf16
#   table         decode with adapters, for the shape of Llama-3-8B, beside what the probe found; where it was not run,
#                 its sections of read rates and GEMMs are
#   peers         our adapters' kernels beside those of vLLM and SGLang; needs python3 with PyTorch and Triton
#
#   --out DIR           where results go (./gpu-results): a .md to read, a .json to compare, a .log of all that was said,
#                       a .clocks.csv of the GPU's clocks, power and heat meanwhile
#   --case-limit S      seconds for each case, in place of each stage's own limit
#   --stage-limit S     seconds after which a stage begins no further case (450)
#
# Each case is a process with a limit of its own: one that hangs is ended and named, and the next begins. Results are
# written as they come. Settings of the GPU are read, never changed. Exit: 0 all passed, 1 something failed, 2 the GPU
# no longer ends what runs on it, 3 there is no GPU, 64 called wrongly.
set -euo pipefail

readonly here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
readonly all_stages=(probe conformance sanitizer goldens table peers)

# Of the whole enumeration, operations that write shared memory, count tickets or walk tables. The fast mode has kernels
# of its own in two places: in linear layers they are NVIDIA's, which are not ours to look into.
readonly sanitized=(deterministic::{linear,attention_decode,attention_prefill,attention_shared_pages}
    deterministic::{lora_uniform,lora_skewed,rope_store,add_rms_norm,sample_everything,log_probability_of}
    fast::attention_decode)

out=./gpu-results
case_limit=
stage_limit=450
stages=()
failed=()
# The process that runs, and, once one cannot be ended, its words.
child=
hung=
# What is true of all figures: device, driver, clocks, commit.
facts=
declare -A absorbed=()
# Files that this run's programs write figures into.
coming=()

say() { printf '%s\n' "$*" | tee -a "${log:-/dev/null}"; }

stop() {
    printf 'gpu-check: %s\n' "${@:2}" >&2
    exit "$1"
}

arguments() {
    while (($#)); do
        case $1 in
        --out) out=${2:?--out takes a folder} && shift 2 ;;
        --case-limit) case_limit=${2:?--case-limit takes seconds} && shift 2 ;;
        --stage-limit) stage_limit=${2:?--stage-limit takes seconds} && shift 2 ;;
        -h | --help) sed -n '2,/^set /{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" && exit ;;
        *)
            [[ " ${all_stages[*]} " == *" $1 "* ]] || stop 64 "there is no stage $1. The stages: ${all_stages[*]}"
            stages+=("$1") && shift
            ;;
        esac
    done
    ((${#stages[@]})) || stages=("${all_stages[@]}")
    [[ $case_limit$stage_limit =~ ^[0-9]+$ ]] || stop 64 "limits are whole seconds"
}

# ---- the machine -----------------------------------------------------------------------------------------------------

# The name that files carry: h100 of "NVIDIA H100 80GB HBM3", rtx-4090 of "NVIDIA GeForce RTX 4090".
machine() {
    local name=${1,,} words
    read -ra words <<<"${name//nvidia/}"
    [[ ${words[0]:-} == @(geforce|tesla|quadro) ]] && words=("${words[@]:1}")
    [[ ${words[0]:-} == rtx ]] && words[0]=rtx-${words[1]:-}
    name=${words[0]:-gpu}
    [[ $name == rtx-* ]] || name=${name%%-*}
    printf '%s\n' "${name//[^a-z0-9-]/}"
}

look_at_machine() {
    local queried=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit
    local found
    found=$(limited_output 30 nvidia-smi --query-gpu="$queried" --format=csv,noheader) && [[ -n $found ]] ||
        stop 3 "no GPU answers: nvidia-smi --query-gpu=$queried fails here." \
            "Run this on a machine with an NVIDIA GPU and its driver; nothing was measured."
    IFS=, read -r name driver clock clock_max clock_memory power <<<"${found%%$'\n'*}"
    commit=$(<"$here/COMMIT")
    facts="$name, driver$driver, SM clock$clock of$clock_max, memory$clock_memory, power limit$power, commit $commit"
}

# What the GPU was doing meanwhile, twice a second or so. Some driver takes a GPU down whenever nobody has it open, which
# costs each case seconds: this has it open until the end.
watch_machine() {
    local queried=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu
    nvidia-smi --query-gpu="$queried" --format=csv --loop-ms=500 >"$results.clocks.csv" 2>/dev/null </dev/null &
    watcher=$!
    trap 'kill "$watcher" 2>/dev/null || true' EXIT
}

# cuBLASLt is no part of the driver: PyTorch brings it, and so does a toolkit.
find_cublaslt() {
    local at packages
    packages=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))' 2>/dev/null || true)
    for at in "${CUBLASLT_PATH:-}" {"$packages"/nvidia/*/lib,/usr/local/cuda*/lib64}/libcublasLt.so.13; do
        [[ -f $at ]] || continue
        export CUBLASLT_PATH=$at LD_LIBRARY_PATH=${at%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
        say "cuBLASLt: $at"
        return
    done
    say "cuBLASLt is not here (CUBLASLT_PATH=FILE names it): no GEMM of it is measured, and figures have no roofs by it"
}

# ---- running ---------------------------------------------------------------------------------------------------------

# Runs a command for so many seconds at most. 124: it was ended; 125: it could not be, so that the GPU answers nobody.
limited() {
    local code=0 until=$((SECONDS + $1 + 15))
    timeout --kill-after=5 "$@" </dev/null &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        if ((SECONDS > until)); then
            hung="${*:2}"
            return 125
        fi
        sleep 0.05
    done
    wait "$child" || code=$?
    child=
    ((code != 137)) || code=124
    return "$code"
}

limited_output() { timeout --kill-after=5 "$@" </dev/null 2>/dev/null; }

# The stage's time begins now.
begin_stage() {
    until=$((SECONDS + stage_limit))
    passed=0 count=0 bad=() left=()
}

may_begin() { ((SECONDS < until)) && [[ -z $hung ]]; }

# Runs one case with what it says in the log. Tells how it ended in `ended`, which is empty where it passed.
run_case() {
    local limit=${case_limit:-$1} name=$2 rest=$((until + 20 - SECONDS)) code=0 from
    shift 2
    ((limit <= rest)) || limit=$rest
    from=$(wc -l <"$log")
    printf '\n---- %s\n' "$name" >>"$log"
    limited "$limit" "$@" >>"$log" 2>&1 || code=$?
    case $code in
    0) ended= && return ;;
    124) ended="ran past its limit of $limit s" ;;
    125) ended="ran past its limit of $limit s and does not end" ;;
    *)
        ended=$(tail -n +"$((from + 2))" "$log" | grep -A1 -E "$tells_why" | tail -n1 || true)
        ended="ended with $code${ended:+: ${ended:0:160}}"
        ;;
    esac
    printf '     %s\n' "$ended" >>"$log"
}
# What stands before, or in, the line that says why a program failed.
readonly tells_why='panicked at|^Error|^error|ERROR SUMMARY: [1-9]|RACECHECK SUMMARY: [1-9]'

# Runs cases of a stage until its time is up. Reads "limit name command" a line, tabs between.
run_cases() {
    local limit name command
    begin_stage
    while IFS=$'\t' read -r limit name command; do
        count=$((count + 1))
        if ! may_begin; then
            left+=("$name")
            continue
        fi
        run_case "$limit" "$name" bash -c "exec $command"
        keep "$name"
    done
}

# Counts a case by how it ended.
keep() {
    if [[ -z $ended ]]; then
        passed=$((passed + 1))
    else
        bad+=("$1 ($ended)")
        say "  FAILED $1: $ended"
    fi
}

# Says what of a stage's cases did not pass, in the results and at the end.
conclude() {
    local stage=$1 unit=$2 note="all passed"
    say "  $stage: $passed of $count passed"
    ((${#bad[@]} + ${#left[@]} == 0)) || note=
    ((${#bad[@]} == 0)) || note="failed: $(joined "${bad[@]}")"
    ((${#left[@]} == 0)) || note="${note:+$note; }not run: $(joined "${left[@]}")"
    ((count > 0)) || note="no case was found"
    figure "${stage}_passed" "$passed" "$unit" "$count" "$note"
    ((${#note} <= 600)) || note="${note:0:600} ... (all of it stands in the results)"
    ((passed == count && count > 0)) || failed+=("$stage: $note")
}

joined() {
    local text
    text=$(printf ', %s' "$@")
    printf '%s' "${text:2}"
}

# ---- results ---------------------------------------------------------------------------------------------------------

# Adds a figure: name, value or null, unit, roof or null, note.
figure() {
    local note=${5//[\"\\]/ }
    note=${note//[$'\001'-$'\037']/ }
    printf '{"figure":"%s","value":%s,"unit":"%s","roof":%s,"note":"%s"}\n' "${@:1:4}" "$note; $facts" >>"$results.json"
    render
}

# Adds the figures of a file, but for those of it that are there already; what is true of all ends each note.
absorb() {
    local file=$1 taken=${absorbed[$1]:-0} line
    [[ -f $file ]] || return 0
    while IFS= read -r line; do
        taken=$((taken + 1))
        if [[ $line =~ ^(.*\"note\":\"([^\"\\]|\\.)*)(\".*)$ ]]; then
            line="${BASH_REMATCH[1]}; $facts${BASH_REMATCH[3]}"
        fi
        printf '%s\n' "$line" >>"$results.json"
    done < <(tail -n +"$((taken + 1))" "$file")
    absorbed[$file]=$taken
    render
}

# A field of a line of results, as it stands there.
field() {
    local line=$1 name=$2
    if [[ $line =~ \"$name\":\"(([^\"\\]|\\.)*)\" ]] || [[ $line =~ \"$name\":([^,}]*) ]]; then
        printf '%s' "${BASH_REMATCH[1]}"
    fi
}

# A number with three digits that count.
number() {
    [[ $1 != null && -n $1 ]] || { printf '%s' "$2" && return; }
    local whole
    printf -v whole '%.6f' "$1"
    whole=${whole%.*}
    case ${#whole} in
    1) [[ $whole == 0 ]] && printf '%.4f' "$1" || printf '%.2f' "$1" ;;
    2 | 3) printf '%.1f' "$1" ;;
    *) printf '%.0f' "$1" ;;
    esac
}

# The figures so far, to read.
render() {
    local line note
    {
        printf '# %s, %s\n\n%s.\n\n' "$moment" "$name" "$facts"
        printf '| figure | value | unit | roof | note |\n|---|---:|---|---:|---|\n'
        while IFS= read -r line; do
            note=$(field "$line" note)
            note=${note%"; $facts"}
            printf '| %s | %s | %s | %s | %s |\n' "$(field "$line" figure)" \
                "$(number "$(field "$line" value)" 'not measured')" "$(field "$line" unit)" \
                "$(number "$(field "$line" roof)" '')" "${note//|/\\|}"
        done <"$results.json"
    } >"$results.md.new"
    mv -f "$results.md.new" "$results.md"
}

# ---- stages ----------------------------------------------------------------------------------------------------------

# Tests of a program that compute on the GPU, one a line, as cases of so many seconds.
tests_of() {
    local limit=$1 program=$2 name
    while read -r name; do
        printf '%s\t%s %s\t%q --exact %s\n' "$limit" "$program" "$name" "$here/bin/$program" "$name"
    done < <("$here/bin/$program" --list --format terse 2>>"$log" | sed -n 's/^\(\(invariance::\)\{0,1\}gpu::.*\): test$/\1/p')
}

stage_probe() {
    begin_stage
    rm -f "$out/probe.jsonl"
    coming+=("$out/probe.jsonl")
    run_case 290 gpu_probe "$here/bin/gpu_probe" --out "$out/probe.jsonl" \
        ${CUBLASLT_PATH:+--cublaslt "$CUBLASLT_PATH"}
    printf '%s\n' "$identity" >"$out/probe.of"
    absorb "$out/probe.jsonl"
    [[ -z $ended ]] || failed+=("probe: $ended; what it found before is in the results")
    [[ -s $out/probe.jsonl ]] || failed+=("probe: it found nothing: the log says why")
}

stage_conformance() {
    run_cases conformance < <(tests_of 90 conformance)
    conclude conformance tests
}

stage_sanitizer() {
    local tool test program
    # A refused call is the program's to judge, and one that only asks whether something goes is no error.
    local -A asked=([memcheck]="--report-api-errors no" [racecheck]="")
    program=$(PATH=$PATH:/usr/local/cuda/bin command -v compute-sanitizer || true)
    if [[ -z $program ]]; then
        figure sanitizer_passed null cases null "not measured: compute-sanitizer is not here"
        failed+=("sanitizer: compute-sanitizer is not here: put it on the PATH (it comes with a CUDA toolkit)")
        return
    fi
    run_cases sanitizer < <(
        for test in "${sanitized[@]}"; do
            for tool in memcheck racecheck; do
                printf '100\t%s %s\t%q --tool %s %s --error-exitcode 99 %q --exact gpu::%s\n' \
                    "$tool" "$test" "$program" "$tool" "${asked[$tool]}" "$here/bin/conformance" "$test"
            done
        done
    )
    conclude sanitizer cases
}

stage_goldens() {
    run_cases goldens < <(tests_of 120 whole)
    conclude goldens tests
}

# What the table is held against, of this GPU and commit. Where the probe was not run, its two sections that say it are.
find_roofs() {
    local section
    [[ -s $out/probe.jsonl && $(cat "$out/probe.of" 2>/dev/null) == "$identity" ]] && return
    : >"$out/probe.jsonl"
    coming+=("$out/probe.jsonl")
    printf '%s\n' "$identity" >"$out/probe.of"
    for section in 2 4; do
        run_case 100 "gpu_probe, section $section" "$here/bin/gpu_probe" --out "$out/section.jsonl" --only "$section" \
            ${CUBLASLT_PATH:+--cublaslt "$CUBLASLT_PATH"}
        [[ -z $ended ]] || failed+=("table: its roofs, section $section of the probe: $ended")
        # Of one that was ended the last line may be cut short.
        sed -n '/}$/p' "$out/section.jsonl" >>"$out/probe.jsonl" 2>/dev/null || true
        rm -f "$out/section.jsonl"
    done
    absorb "$out/probe.jsonl"
}

stage_table() {
    local case table=$out/table.jsonl bench=$here/bin/loam-gpu-bench
    begin_stage
    rm -f "$table"
    coming+=("$table")
    find_roofs
    for case in $("$bench" table --list); do
        count=$((count + 1))
        ended="not begun: the stage's time was up"
        ! may_begin ||
            run_case 110 "table $case" "$bench" table --case "$case" --probe "$out/probe.jsonl" --out "$table"
        [[ -z $ended ]] || "$bench" table --case "$case" --unmeasured "$ended" --out "$table" >>"$log" 2>&1 || true
        keep "$case"
        absorb "$table"
    done
    conclude table cases
}

stage_peers() {
    local rows=$out/lora.jsonl figures=$out/peers.jsonl peer
    begin_stage
    rm -f "$figures"
    if [[ ! -f $here/peers/files/VERSIONS ]]; then
        ended="this bundle has no files of theirs: make it where package registries can be reached"
    elif ! limited_output 60 python3 -c 'import torch, triton; assert torch.cuda.is_available()'; then
        ended="python3 has no PyTorch with CUDA and Triton: install them, or put another python3 first on the PATH"
    else
        run_case "$stage_limit" peers python3 "$here/peers/lora_kernels.py" --peers-dir "$here/peers/files" \
            --ours "$here/bin/loam-gpu-bench" --out "$rows" --limit-s $((stage_limit - 30)) --warm 8
        [[ -z $ended ]] || ended+="; run it again with the same --out: it goes on from there"
    fi
    [[ -z $ended ]] || failed+=("peers: $ended")
    if [[ -s $rows ]] && python3 "$here/peers/lora_figures.py" "$rows" >"$figures" 2>>"$log"; then
        absorb "$figures"
        return
    fi
    for peer in vllm sglang; do
        figure "lora_kernel_over_$peer" null x null "not measured: ${ended:-no case was measured}"
    done
}

# ---- the run ---------------------------------------------------------------------------------------------------------

begin() {
    look_at_machine
    mkdir -p "$out"
    out=$(cd "$out" && pwd -P)
    moment=$(date -u +%Y-%m-%d-%H%M)
    results=$out/$moment-$(machine "$name")-$commit
    log=$results.log
    identity="$name,$driver,$commit"
    : >>"$log" && : >>"$results.json"
    trap end_early INT TERM
    # Without a GPU the tests of the bundle skip nothing: they fail.
    export LOAM_TEST_GPU=required CARGO_MANIFEST_DIR=$here/engine RUST_BACKTRACE=0
    say "gpu-check: $facts"
    watch_machine
    find_cublaslt
}

end_early() {
    local file
    [[ -z $child ]] || kill "$child" 2>/dev/null || true
    for file in "${coming[@]}"; do absorb "$file"; done
    say "gpu-check: ended from outside; what was measured is in $results.json"
    exit 1
}

end() {
    local line
    render
    say ""
    say "results: $results.md and .json; all that was said: $log"
    if [[ -n $hung ]]; then
        say "gpu-check: the GPU no longer ends what runs on it: $hung" \
            "Nothing more was begun. Look at nvidia-smi and the kernel's log (dmesg), and give the machine back."
        exit 2
    fi
    ((${#failed[@]})) || { say "gpu-check: ${stages[*]}: all passed" && exit 0; }
    for line in "${failed[@]}"; do say "gpu-check: FAILED $line"; done
    say "gpu-check: one stage again: gpu-check --out $out STAGE"
    say "           one test by hand: CARGO_MANIFEST_DIR=$here/engine $here/bin/PROGRAM --exact NAME"
    exit 1
}

arguments "$@"
begin
for stage in "${stages[@]}"; do
    [[ -z $hung ]] || { failed+=("$stage: not begun") && continue; }
    say ""
    say "== $stage"
    began=$SECONDS
    case $stage in
    probe) stage_probe ;;
    conformance) stage_conformance ;;
    sanitizer) stage_sanitizer ;;
    goldens) stage_goldens ;;
    table) stage_table ;;
    peers) stage_peers ;;
    esac
    say "  $((SECONDS - began)) s"
done
end
