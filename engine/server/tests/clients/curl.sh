#!/usr/bin/env bash
# curl alone: curl.sh http://HOST:PORT ADAPTERS_DIR
set -euo pipefail
url=$1 adapters=$2
code() { curl -s -o /dev/null -w '%{http_code}' "$@"; }
expect() { [[ $1 == "$2" ]] || { echo "curl: $3: $1, not $2" >&2; exit 1; }; }
message='"messages": [{"role": "user", "content": "What grows here?"}], "max_tokens": 4'

expect "$(code "$url/health")" 200 health
expect "$(code "$url/nothing")" 404 'a page that is not there'
expect "$(code "$url/v1/chat/completions")" 405 'a wrong method'
expect "$(code -d '{' "$url/v1/chat/completions")" 400 'broken JSON'
expect "$(head -c 40000000 /dev/zero | code --data-binary @- "$url/v1/completions")" 413 'too large a body'
expect "$(code --http2-prior-knowledge "$url/version")" 200 'HTTP/2 without TLS'
curl -sf "$url/openapi.json" | python3 -m json.tool >/dev/null
curl -sf "$url/v1/models" | grep -q '"id":"clay"'
curl -sf "$url/usage/1/checkpoint" | head -1 | grep -q /usage/1
curl -sf -d '{"prompt": "What grows"}' "$url/tokenize" | grep -q '"count"'
stream=$(curl -sfN -d "{\"model\": \"clay\", \"stream\": true, $message}" "$url/v1/chat/completions")
[[ $stream == 'data: {'*'data: [DONE]' ]]
said=$(curl -sf -d "{\"lora_name\": \"silt\", \"lora_path\": \"$adapters/rslora-r4\"}" "$url/v1/load_lora_adapter")
expect "$said" "Success: LoRA adapter 'silt' added successfully." load
said=$(curl -sf -d '{"lora_name": "silt"}' "$url/v1/unload_lora_adapter")
expect "$said" "Success: LoRA adapter 'silt' removed successfully." unload
echo 'curl is served'
