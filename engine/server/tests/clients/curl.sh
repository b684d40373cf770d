#!/bin/bash
# The server as curl sees it: curl.sh http://127.0.0.1:PORT
set -eu -o pipefail

readonly address=$1
adapters=$(cd "$(dirname "$0")/../../../testdata/golden/llama-gqa/adapters" && pwd)
readonly adapters
scratch=$(mktemp -d)
readonly scratch
trap 'rm -r "$scratch"' EXIT
broken=0

# check STATUS WORDS PATH [CURL'S ARGUMENTS]: the answer has this status, and its body these words.
check() {
    local status=$1 words=$2 path=$3 found
    shift 3
    found=$(curl -sS --max-time 60 -o "$scratch/body" -w '%{http_code}' "$@" "$address$path") || found="error $?"
    if [ "$found" = "$status" ] && { [ -z "$words" ] || grep -qF -- "$words" "$scratch/body"; }; then
        echo "holds: $path $* gives $status"
    else
        broken=$((broken + 1))
        echo "does not hold: $path $* gives $found; wanted were $status and: $words"
        head -c 2000 "$scratch/body"
        echo
    fi
}

# says WHAT TEXT WORDS: the text has these words.
says() {
    if grep -qF -- "$3" <<<"$2"; then
        echo "holds: $1 has: $3"
    else
        broken=$((broken + 1))
        echo "does not hold: $1 lacks: $3"
        head -c 2000 <<<"$2"
    fi
}

post() {
    check "$1" "$2" "$3" -H 'content-type: application/json' --data-binary "$4" "${@:5}"
}

readonly chat=/v1/chat/completions
readonly asked='"model": "tiny", "messages": [{"role": "user", "content": "What grows here?"}], "max_tokens": 8'

check 200 '' /health
check 200 '' /ping
check 200 '"version"' /version
check 200 '"parent":"tiny"' /v1/models
check 200 '"id":"clay"' /v1/models/clay
check 200 '"server_load"' /load
check 200 '# TYPE loam_' /metrics
check 404 'there is no page' /nothing
check 404 'model_not_found' /v1/models/sand

check 200 '"openapi"' /openapi.json
python3 -c 'import json, sys; json.load(open(sys.argv[1]))["paths"]["/v1/chat/completions"]["post"]' "$scratch/body"
echo "holds: it is JSON, and says how to chat"

stream=$(curl -sSN --max-time 60 -D "$scratch/head" "$address$chat" -H 'content-type: application/json' \
    -d "{$asked, \"stream\": true}")
says 'a stream' "$(head -n 1 <<<"$stream")" 'data: {"id":"chatcmpl-'
says 'the last of a stream' "$(grep . <<<"$stream" | tail -n 1)" 'data: [DONE]'
says 'the head of a stream' "$(tr 'A-Z' 'a-z' <"$scratch/head")" 'content-type: text/event-stream'
says 'the head of a stream' "$(tr 'A-Z' 'a-z' <"$scratch/head")" 'x-loam-receipt-id: '

post 200 '"finish_reason"' "$chat" "{$asked}"
post 200 '"finish_reason"' "$chat" "{$asked}" --http2-prior-knowledge
version=$(curl -sS --max-time 60 -o "$scratch/body" -w '%{http_version}' --http2-prior-knowledge "$address/health")
says 'the version of HTTP' "$version" 2

check 405 '/openapi.json' "$chat"
check 405 '/openapi.json' /v1/models -X DELETE
allowed=$(curl -sS --max-time 60 -o "$scratch/body" -D - "$address$chat" | tr 'A-Z' 'a-z')
says 'a wrong method' "$allowed" 'allow: post'

post 400 'not valid JSON' "$chat" '{'
post 400 'not valid JSON' "$chat" ''
post 400 'it can be an object' "$chat" '[1, 2]'
post 400 'not UTF-8' "$chat" @<(printf '{"model": "\xff\xfe"}')
post 400 '"param":"messages"' "$chat" '{"model": "tiny"}'
post 400 '"param":"messages' "$chat" '{"messages": [{"role": "user", "content": {"text": "an object"}}]}'
post 400 '"param":"messages' "$chat" \
    '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}'
post 400 '"param":"temprature"' "$chat" "{$asked, \"temprature\": 1}"
post 404 '"param":"model"' "$chat" '{"model": "sand", "messages": [{"role": "user", "content": "x"}]}'
post 400 'twice' "$chat" "{$asked, \"max_tokens\": 9}"

head -c $((2 << 20)) /dev/zero | tr '\0' x >"$scratch/large"
post 413 '"code":"request_too_large"' "$chat" @"$scratch/large"
# Not over HTTP/2: there the answer ends the stream before the body is sent, which curl before 8 takes for an error.
post 413 '"code":"request_too_large"' "$chat" @"$scratch/large" -H 'transfer-encoding: chunked'

post 200 '"tokens":[0,' /tokenize '{"model": "tiny", "prompt": "hello there"}'
tokens=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["tokens"][1:])' "$scratch/body")
post 200 '{"prompt":"hello there"}' /detokenize "{\"model\": \"tiny\", \"tokens\": $tokens}"

readonly load=/v1/load_lora_adapter unload=/v1/unload_lora_adapter
post 200 "Success: LoRA adapter 'silt' added successfully." "$load" \
    "{\"lora_name\": \"silt\", \"lora_path\": \"$adapters/rslora-r4\"}"
post 200 '"model":"silt"' "$chat" '{"model": "silt", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}'
post 409 'silt' "$load" "{\"lora_name\": \"silt\", \"lora_path\": \"$adapters/last-layer\"}"
post 400 '"param":"lora_path"' "$load" '{"lora_name": "peat"}'
post 400 'out of the folders' "$load" '{"lora_name": "peat", "lora_path": "/etc"}'
post 200 "Success: LoRA adapter 'silt' removed successfully." "$unload" '{"lora_name": "silt"}'
post 404 'silt' "$unload" '{"lora_name": "silt"}'
post 404 '"param":"model"' "$chat" '{"model": "silt", "messages": [{"role": "user", "content": "x"}]}'

[ "$broken" = 0 ] || { echo "$broken do not hold"; exit 1; }
