"""OpenAI's own client: openai_client.py http://127.0.0.1:PORT"""

import json
import sys
import time
import urllib.request

import openai

import checks

ADDRESS = sys.argv[1]
CLIENT = openai.OpenAI(base_url=ADDRESS + "/v1", api_key="none", max_retries=0, timeout=60)
QUESTION = [{"role": "user", "content": "What grows here?"}]


def ask(**more):
    """A chat at temperature 0, unless it says otherwise."""
    return CLIENT.chat.completions.create(
        **{"model": "tiny", "messages": QUESTION, "temperature": 0, "max_tokens": 24, **more}
    )


def text(**more):
    return ask(**more).choices[0].message.content


def refused(error, call, **more):
    """The refusal, which must be of this class, as the body has it."""
    try:
        call(**more)
    except error as refusal:
        return refusal.body
    raise AssertionError(f"{call.__name__} with {more} was not refused")


def get(path):
    with urllib.request.urlopen(ADDRESS + path, timeout=60) as answer:
        return answer.read()


def models():
    found = {model.id: model for model in CLIENT.models.list()}
    assert set(found) == {"tiny", "clay", "loess"}, found
    assert found["tiny"].parent is None
    assert found["clay"].parent == found["loess"].parent == "tiny"
    assert CLIENT.models.retrieve("clay").parent == "tiny"
    refused(openai.NotFoundError, CLIENT.models.retrieve, model="sand")


def chat():
    answer = ask()
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.model == "tiny"
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason == "length"
    usage = answer.usage
    assert usage.completion_tokens == 24
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert text() == choice.message.content, "temperature 0 says the same again"


def chat_as_a_stream():
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    deltas = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert len(deltas) > 8, "it comes piece by piece"
    assert "".join(deltas) == text()
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert reasons[-1] == "length" and not any(reasons[:-1]), reasons
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 24
    assert all(chunk.usage is None for chunk in chunks[:-1])
    bare = list(ask(stream=True))
    assert all(chunk.usage is None for chunk in bare), "usage is sent where it was asked for"


def several_answers():
    def both():
        answer = ask(n=2, temperature=1, seed=7)
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert answer.usage.completion_tokens <= 48
        return [choice.message.content for choice in answer.choices]

    first = both()
    assert first[0] != first[1], "two answers to one question"
    assert first == both(), "a seed repeats them"
    parts = {0: "", 1: ""}
    for chunk in ask(n=2, temperature=1, seed=7, stream=True):
        for choice in chunk.choices:
            parts[choice.index] += choice.delta.content or ""
    assert [parts[0], parts[1]] == first, "and so in a stream"


def stop():
    whole = text()
    end = next(letter for letter in whole[1:] if letter.isascii() and letter.isprintable() and letter != " ")
    answer = ask(stop=[end])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == whole[: whole.index(end)]
    streamed = "".join(c.delta.content or "" for chunk in ask(stop=end, stream=True) for c in chunk.choices)
    assert streamed == whole[: whole.index(end)], "not a letter of the stop text is sent"


def logprobs():
    special = {"skip_special_tokens": False}
    choice = ask(logprobs=True, top_logprobs=3, extra_body=special).choices[0]
    assert len(choice.logprobs.content) == 24
    for token in choice.logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob == token.logprob, "greedy takes the most probable"
        tops = [top.logprob for top in token.top_logprobs]
        assert tops == sorted(tops, reverse=True)
    spelt = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
    assert spelt.decode(errors="replace") == choice.message.content
    stream = ask(logprobs=True, top_logprobs=3, stream=True, extra_body=special)
    chunks = [choice for chunk in stream for choice in chunk.choices]
    streamed = [token for c in chunks if c.logprobs for token in c.logprobs.content]
    assert streamed == choice.logprobs.content
    body = refused(openai.BadRequestError, ask, top_logprobs=3)
    assert body["param"] == "top_logprobs", body


def logit_bias():
    first = ask(max_tokens=1, extra_body={"return_token_ids": True}).choices[0].token_ids[0]
    away = ask(max_tokens=1, logit_bias={str(first): -100}, extra_body={"return_token_ids": True})
    assert away.choices[0].token_ids[0] != first, "a token is kept out"
    to = ask(max_tokens=4, logit_bias={"265": 100}, extra_body={"return_token_ids": True})
    assert to.choices[0].token_ids == [265] * 4, "another is all there is"


def forms():
    def json_of(**form):
        choice = ask(max_tokens=450, **form).choices[0]
        assert choice.finish_reason == "stop", "a form that is whole ends the answer"
        return json.loads(choice.message.content)

    assert isinstance(json_of(response_format={"type": "json_object"}), dict)
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 8},
            "count": {"type": "integer", "minimum": 0, "maximum": 99},
            "kind": {"enum": ["tree", "herb"]},
            "parts": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        },
        "required": ["name", "count", "kind", "parts"],
        "additionalProperties": False,
    }
    for model in ["tiny", "clay"]:
        form = {"type": "json_schema", "json_schema": {"name": "plant", "schema": schema, "strict": True}}
        plant = json_of(model=model, response_format=form)
        assert set(plant) == {"name", "count", "kind", "parts"}, plant
        assert isinstance(plant["name"], str) and 1 <= len(plant["name"]) <= 8, plant
        assert type(plant["count"]) is int and 0 <= plant["count"] <= 99, plant
        assert plant["kind"] in ["tree", "herb"], plant
        assert len(plant["parts"]) <= 3 and all(type(part) is bool for part in plant["parts"]), plant
    wrong = {"type": "json_schema", "json_schema": {"name": "plant", "schema": {"type": "shrub"}}}
    body = refused(openai.BadRequestError, ask, response_format=wrong)
    assert body["param"] == "response_format", body


def completions():
    def complete(prompt, **more):
        usual = {"model": "tiny", "temperature": 0, "max_tokens": 9}
        return CLIENT.completions.create(**{**usual, "prompt": prompt, **more})

    both = complete(["What grows", "And where"])
    assert both.object == "text_completion" and [choice.index for choice in both.choices] == [0, 1]
    assert both.choices[0].text == complete("What grows").choices[0].text
    assert both.choices[1].text == complete("And where").choices[0].text
    assert both.usage.completion_tokens == 18
    echoed = complete("What grows", echo=True).choices[0].text
    assert echoed == "What grows" + both.choices[0].text
    parts = [choice.text for chunk in complete("What grows", stream=True) for choice in chunk.choices]
    assert "".join(parts) == both.choices[0].text
    scored = complete("What grows", logprobs=2).choices[0].logprobs
    assert len(scored.tokens) == len(scored.token_logprobs) == len(scored.text_offset) == 9
    # Beside the two most probable tokens stands the chosen one; at temperature 0 it is one of them.
    assert all(1 <= len(top) <= 2 for top in scored.top_logprobs)
    for wrong in [[], [[]], [[-1]], [100_000]]:
        body = refused(openai.BadRequestError, complete, prompt=wrong)
        assert body["param"] == "prompt" and body["message"], (wrong, body)
    # As harnesses ask that score a text: is each of its tokens the one that would have come?
    given = complete("What grows" + both.choices[0].text, echo=True, logprobs=1, max_tokens=1).choices[0].logprobs
    assert given.token_logprobs[0] is None and given.top_logprobs[0] is None
    for token, logprob, top in list(zip(given.tokens, given.token_logprobs, given.top_logprobs))[1:]:
        assert top[token] == logprob <= max(top.values()) and len(top) <= 2, (token, logprob, top)
    body = refused(openai.BadRequestError, complete, prompt="What", echo=True, logprobs=2)
    assert body["param"] == "logprobs", body


def adapters():
    base, clay, loess = text(), text(model="clay"), text(model="loess")
    assert len({base, clay, loess}) == 3, "each answers in its own way"

    def mixed(*adapters):
        return text(extra_body={"adapters": [{"name": name, "weight": weight} for name, weight in adapters]})

    assert mixed(("clay", 1)) == clay
    assert mixed(("clay", 0)) == base
    both = mixed(("clay", 1), ("loess", 1))
    assert both not in (base, clay, loess)
    assert mixed(("loess", 1), ("clay", 1)) == both, "their order is nothing"
    answer = ask(extra_body={"adapters": [{"name": "clay", "weight": 0.5}, {"name": "loess", "weight": 2}]})
    weights = sorted(adapter["weight_millionths"] for adapter in answer.loam["adapters"])
    assert weights == [500_000, 2_000_000], answer.loam
    assert text(extra_body={"adapter_id": "clay"}) == clay, "LoRAX's name for it"
    body = refused(openai.NotFoundError, ask, extra_body={"adapter_id": "sand"})
    assert "sand" in body["message"], body
    body = refused(openai.BadRequestError, ask, model="clay", extra_body={"adapter_id": "loess"})
    assert body["param"] == "adapter_id", body


def refusals():
    body = refused(openai.NotFoundError, ask, model="sand")
    assert body["param"] == "model" and body["code"] == "model_not_found" and "sand" in body["message"], body
    body = refused(openai.BadRequestError, ask, extra_body={"temprature": 1})
    assert body["param"] == "temprature" and "temprature" in body["message"], body
    tool = {"type": "function", "function": {"name": "water", "parameters": {"type": "object"}}}
    body = refused(openai.BadRequestError, ask, tools=[tool], tool_choice="required")
    assert body["param"] == "tool_choice", body
    assert text(tools=[tool], tool_choice="auto"), "tools that need not be called are taken"
    for field, value in [("temperature", -1), ("top_p", 2), ("n", 0), ("max_tokens", 1_000_000), ("seed", "x")]:
        body = refused(openai.BadRequestError, ask, **{field: value})
        assert body["param"] == field, (field, body)
    body = refused(openai.BadRequestError, ask, messages=[{"role": "user", "content": "long " * 2000}])
    assert body["message"], body


def receipts():
    nonce = "5a" * 32
    answer = ask(extra_headers={"x-loam-nonce": nonce})
    receipt = answer.loam["receipts"][0]["tlog_proof"]
    assert receipt.startswith("c2sp.org/tlog-proof@v1\nextra "), receipt
    assert "\nindex %d\n" % answer.loam["entries"][0] in receipt
    name = answer.loam["receipt_id"]
    again = get(f"/receipts/{name}").decode()
    assert again == receipt, (again, receipt)
    raw = CLIENT.chat.completions.with_raw_response.create(
        model="tiny", messages=QUESTION, max_tokens=2, n=2, extra_body={"loam": {"receipt": True}}
    )
    name = raw.headers["x-loam-receipt-id"]
    told = raw.parse().loam["receipts"]
    assert [receipt["index"] for receipt in told] == [0, 1]
    assert get(f"/receipts/{name}?choice=1").decode() == told[1]["tlog_proof"]
    chunks = list(ask(stream=True, extra_headers={"x-loam-nonce": nonce}))
    last = next(chunk for chunk in reversed(chunks) if getattr(chunk, "loam", None))
    assert last.loam["receipts"][0]["tlog_proof"].startswith("c2sp.org/tlog-proof@v1\n")
    body = refused(openai.BadRequestError, ask, extra_headers={"x-loam-nonce": "short"})
    assert body["param"] == "x-loam-nonce", body


def a_stream_that_is_closed():
    stream = ask(stream=True, n=8, temperature=1, max_tokens=450, extra_body={"ignore_eos": True})
    said = (choice for chunk in stream for choice in chunk.choices if choice.delta.content)
    for _ in range(16):
        next(said)
    assert (load := json.loads(get("/load")))["server_load"] > 0, load
    stream.close()
    until = time.monotonic() + 10
    while (load := json.loads(get("/load")))["server_load"] > 0:
        assert time.monotonic() < until, load
        time.sleep(0.02)


checks.run(
    models, chat, chat_as_a_stream, several_answers, stop, logprobs, logit_bias, forms, completions, adapters,
    refusals, receipts, a_stream_that_is_closed,
)  # fmt: skip
