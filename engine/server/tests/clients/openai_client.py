"""The official openai package against a running server: python openai_client.py http://HOST:PORT"""

import json
import secrets
import sys
import urllib.request

import openai

url = sys.argv[1]
client = openai.OpenAI(base_url=url + "/v1", api_key="not needed here", max_retries=0)
ask = [{"role": "user", "content": "What grows here?"}]


def chat(**more):
    return client.chat.completions.create(**{"model": "clay", "messages": ask, "max_tokens": 8, "temperature": 0, **more})


models = {model.id: model for model in client.models.list()}
assert set(models) == {"tiny", "clay", "loess"}, models
assert models["clay"].parent == "tiny" and models["tiny"].parent is None

whole = chat(logprobs=True, top_logprobs=2)
choice = whole.choices[0]
assert whole.usage.completion_tokens == 8 and choice.finish_reason == "length"
assert len(choice.logprobs.content) == 8 and all(len(it.top_logprobs) == 2 for it in choice.logprobs.content)
assert chat(model="tiny").choices[0].message.content != choice.message.content, "an adapter answers otherwise"

chunks = list(chat(stream=True, stream_options={"include_usage": True}))
pieces = [it.delta.content or "" for chunk in chunks for it in chunk.choices]
assert "".join(pieces) == choice.message.content, "the same answer in pieces"
assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].usage.completion_tokens == 8

several = chat(n=2, seed=7, temperature=1.0)
assert [it.index for it in several.choices] == [0, 1]
assert chat(n=2, seed=7, temperature=1.0).choices[1].message.content == several.choices[1].message.content

schema = {"type": "object", "properties": {"depth": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["depth"],
          "additionalProperties": False}
form = {"type": "json_schema", "json_schema": {"name": "sowing", "schema": schema}}
answer = json.loads(chat(response_format=form, max_tokens=64).choices[0].message.content)
assert set(answer) == {"depth"} and answer["depth"] in range(10), answer

mixed = chat(model="tiny", extra_body={"adapters": [{"name": "clay", "weight": 0.5}, {"name": "loess"}]})
assert mixed.choices[0].message.content
lorax = chat(model="tiny", extra_body={"adapter_id": "clay"})
assert lorax.choices[0].message.content == choice.message.content, "LoRAX's name for it"

texts = client.completions.create(model="tiny", prompt=["What grows", "And when"], max_tokens=3)
assert [it.index for it in texts.choices] == [0, 1] and texts.usage.completion_tokens == 6

nonce = secrets.token_hex(32)
proven = chat(extra_headers={"x-loam-nonce": nonce})
receipt = proven.loam["receipts"][0]["tlog_proof"]
with urllib.request.urlopen(f"{url}/receipts/{proven.loam['receipt_id']}") as again:
    assert again.read().decode().splitlines()[:2] == receipt.splitlines()[:2]
assert receipt.startswith("c2sp.org/tlog-proof@v1\n")


def refused(kind, field, **more):
    try:
        chat(**more)
    except kind as error:
        assert error.param == field, error
    else:
        raise AssertionError(f"{more} was not refused")


refused(openai.NotFoundError, "model", model="sand")
refused(openai.BadRequestError, "temprature", extra_body={"temprature": 1})
refused(openai.BadRequestError, "tool_choice", tool_choice="required",
        tools=[{"type": "function", "function": {"name": "dig", "parameters": {}}}])
refused(openai.BadRequestError, "max_tokens", max_tokens=1_000_000)
print("openai", openai.__version__, "is served")
