"""Stubs that gRPC's own compiler made: grpc_client.py http://127.0.0.1:PORT"""

import sys
import threading
import time
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import checks
import merkle
import stubs

ADAPTERS = Path(__file__).resolve().parents[3] / "testdata" / "golden" / "llama-gqa" / "adapters"
CODE = grpc.StatusCode

inference, adapters, ledger, server = stubs.MESSAGES
CHANNEL = grpc.insecure_channel(sys.argv[1].removeprefix("http://"))
INFERENCE, NAMES, LEDGER, SERVER = stubs.over(CHANNEL)


class Told:
    """What a stream came to."""

    def __init__(self, events):
        self.events = list(events)
        of = lambda kind: [getattr(e, kind) for e in self.events if e.WhichOneof("event") == kind]  # noqa: E731
        self.started, self.finished, self.receipts, self.prompt = map(of, ["started", "finished", "receipt", "prompt"])
        self.tokens = [token for part in of("tokens") for token in part.tokens]
        self.ids = [token.id for token in self.tokens]
        self.text = "".join(part.text for part in of("tokens"))


def request(max_tokens=12, **more):
    ends = inference.Ends(max_tokens=max_tokens, ignore_eos=True)
    greedy = inference.Sampling(temperature=0)
    prompt = {} if {"tokens", "chat"} & set(more) else {"text": "What grows here?"}
    return inference.GenerateRequest(**{"ends": ends, "sampling": greedy, **prompt, **more})


def ask(**more):
    return Told(INFERENCE.Generate(request(**more), timeout=60))


def refused(code, call, message, field=None):
    """The refusal, which has this code and, where one is named, says which field is wrong."""
    try:
        answer = call(message, timeout=60)
        if not hasattr(answer, "DESCRIPTOR"):
            list(answer)
    except grpc.RpcError as error:
        assert error.code() == code, error
        assert error.details(), "it says why"
        if field is not None:
            fields = [violation.field for violation in details(error, error_details_pb2.BadRequest).field_violations]
            assert fields == [field], (field, fields, error)
        return error
    raise AssertionError(f"{message} was not refused")


def details(error, kind):
    found = kind()
    packed = [detail for detail in rpc_status.from_call(error).details if detail.Is(kind.DESCRIPTOR)]
    assert len(packed) == 1, error
    packed[0].Unpack(found)
    return found


def settles():
    """Waits until nothing runs any more."""
    until = time.monotonic() + 10
    while (load := SERVER.Load(server.LoadRequest(), timeout=60)).running + load.waiting > 0:
        assert time.monotonic() < until, load
        time.sleep(0.02)


def usage():
    """The log that requests are recorded in, once all of it is signed."""
    settles()
    until = time.monotonic() + 10
    while True:
        logs = LEDGER.Logs(ledger.LogsRequest(), timeout=60).logs
        log = next(log for log in logs if log.log == "usage/1")
        if log.signed_size == log.size > 0:
            return log
        assert time.monotonic() < until, log
        time.sleep(0.05)


def a_text():
    told = ask()
    assert len(told.started) == 1 and len(told.started[0].receipt_id) == 32
    assert len(told.ids) == 12 and told.text
    [end] = told.finished
    assert end.reason == inference.FINISH_REASON_LENGTH and end.usage.emitted == 12
    assert end.usage.prefilled + end.usage.reused >= len(told.started[0].prompt_tokens)
    assert end.HasField("entry_index")
    assert ask().ids == told.ids, "temperature 0 says the same again"
    assert not any(token.HasField("logprob") for token in told.tokens), "nobody asked for them"


def tokens():
    asked = INFERENCE.Tokenize(inference.TokenizeRequest(text="What grows here?"), timeout=60).tokens
    told = ask(tokens=inference.TokenIds(ids=asked))
    assert told.started[0].prompt_tokens == asked
    assert told.ids == ask().ids


def a_chat():
    chat = inference.Chat(messages=[inference.ChatMessage(role="user", content="What grows here?")])
    told = ask(chat=chat)
    rendered = INFERENCE.Tokenize(inference.TokenizeRequest(chat=chat), timeout=60).tokens
    assert told.started[0].prompt_tokens == rendered
    assert told.ids != ask().ids


def both_ways():
    text = "Clay, loess; 12 caf\u00e9s \U0001f343"
    asked = inference.TokenizeRequest(text=text, no_special_tokens=True)
    told = INFERENCE.Tokenize(asked, timeout=60)
    assert told.max_model_len == 512
    back = INFERENCE.Detokenize(inference.DetokenizeRequest(tokens=told.tokens), timeout=60)
    assert back.text == text
    begun = INFERENCE.Tokenize(inference.TokenizeRequest(text=text), timeout=60).tokens
    assert list(begun)[1:] == list(told.tokens), "a special token goes before"
    refused(CODE.INVALID_ARGUMENT, INFERENCE.Detokenize, inference.DetokenizeRequest(tokens=[9999]), "tokens")


def logprobs():
    told = ask(logprobs=3, prompt_logprobs=True)
    for token in told.tokens:
        assert token.logprob <= 0 and token.rank == 0 and len(token.top) == 3
        assert token.top[0].id == token.id and token.top[0].logprob == token.logprob
    [prompt] = told.prompt
    assert [token.id for token in prompt.tokens] == list(told.started[0].prompt_tokens)[1:]


def several_answers():
    told = ask(n=3, sampling=inference.Sampling(temperature=1, seed=5))
    assert sorted(end.choice for end in told.finished) == [0, 1, 2]
    parts = {0: [], 1: [], 2: []}
    for event in told.events:
        parts[event.tokens.choice] += [token.id for token in event.tokens.tokens]
    assert len({tuple(part) for part in parts.values()}) == 3


def stops():
    whole = ask()
    ends = inference.Ends(max_tokens=12, ignore_eos=True, stop_token_ids=[whole.ids[3]])
    told = ask(ends=ends)
    assert told.ids == whole.ids[: whole.ids.index(whole.ids[3]) + 1]
    assert told.finished[0].reason in (inference.FINISH_REASON_STOP, inference.FINISH_REASON_STOP_SEQUENCE)
    told = ask(max_tokens=64, form=inference.Form(choice=inference.Choices(texts=["clay", "loess"])))
    assert told.text in ("clay", "loess"), told.text


def mixed_adapters():
    def mix(**weights):
        return ask(adapters=[inference.AdapterUse(name=name, weight=weight) for name, weight in weights.items()])

    answers = [ask(), mix(clay=1), mix(loess=1), mix(clay=1, loess=1)]
    assert len({tuple(told.ids) for told in answers}) == 4
    assert mix(clay=0).ids == answers[0].ids
    assert [it.weight_millionths for it in mix(clay=0.5).started[0].adapters] == [500_000]


def a_receipt():
    told = ask(nonce=b"\x5a" * 32, receipt=True)
    [receipt] = told.receipts
    assert receipt.tlog_proof.startswith(b"c2sp.org/tlog-proof@v1\n")
    asked = ledger.ReceiptRequest(receipt_id=told.started[0].receipt_id)
    assert LEDGER.Receipt(asked, timeout=60).tlog_proof == receipt.tlog_proof
    proof = merkle.Proof(receipt.tlog_proof)
    assert proof.index == told.finished[0].entry_index
    entry = LEDGER.Entry(ledger.EntryRequest(index=proof.index), timeout=60).entry
    assert merkle.root_of(entry, proof) == proof.checkpoint.root, "the entry is in the tree"
    made_up = ledger.ReceiptRequest(receipt_id=b"\x07" * 32)
    refused(CODE.NOT_FOUND, LEDGER.Receipt, made_up)


def a_call_that_is_cancelled():
    call = INFERENCE.Generate(request(max_tokens=450, n=16))
    for _ in range(32):
        next(call)
    assert SERVER.Load(server.LoadRequest(), timeout=60).running > 0
    call.cancel()
    try:
        list(call)
    except grpc.RpcError as error:
        assert error.code() == CODE.CANCELLED, error
    settles()


def a_call_whose_time_runs_out():
    began = time.monotonic()
    try:
        told = Told(INFERENCE.Generate(request(max_tokens=490, n=128), timeout=0.2))
        reasons = {end.reason for end in told.finished}
        assert inference.FINISH_REASON_DEADLINE in reasons, reasons
    except grpc.RpcError as error:
        assert error.code() == CODE.DEADLINE_EXCEEDED, error
    assert time.monotonic() - began < 5
    settles()


def refusals():
    asked = INFERENCE.Generate
    refused(CODE.INVALID_ARGUMENT, asked, inference.GenerateRequest(), "prompt")
    refused(CODE.INVALID_ARGUMENT, asked, request(nonce=b"short"), "nonce")
    refused(CODE.INVALID_ARGUMENT, asked, request(n=1000), "n")
    refused(CODE.INVALID_ARGUMENT, asked, request(sampling=inference.Sampling(temperature=-1)), "temperature")
    refused(CODE.INVALID_ARGUMENT, asked, request(form=inference.Form(json_schema="{")), "json_schema")
    error = refused(CODE.NOT_FOUND, asked, request(adapters=[inference.AdapterUse(name="sand")]))
    assert "sand" in error.details(), error
    unknown = CHANNEL.unary_unary("/loam.v1.Server/Nothing", server.InfoRequest.SerializeToString, None)
    assert refused_with(unknown, server.InfoRequest()) == CODE.UNIMPLEMENTED
    unknown = CHANNEL.unary_unary("/loam.v1.Nothing/Info", server.InfoRequest.SerializeToString, None)
    error = refused(CODE.UNIMPLEMENTED, unknown, server.InfoRequest())
    assert "http2" not in error.details(), ("a gRPC call gets a gRPC status, not a page", error)


def messages_that_are_too_large():
    refused(CODE.RESOURCE_EXHAUSTED, INFERENCE.Generate, request(text="x" * (2 << 20)))
    large = adapters.GetAdapterRequest(name="x" * (65 << 10))
    assert refused_with(NAMES.Get, large) in (CODE.RESOURCE_EXHAUSTED, CODE.OUT_OF_RANGE)
    large = inference.TokenizeRequest(text="x" * (2 << 20))
    assert refused_with(INFERENCE.Tokenize, large) in (CODE.RESOURCE_EXHAUSTED, CODE.OUT_OF_RANGE)
    assert ask().ids, "and the connection lives"


def refused_with(call, message):
    try:
        call(message, timeout=60)
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError("it was not refused")


def names():
    def expected(**what):
        return adapters.Expected(**what)

    def load(name, folder, **more):
        return adapters.LoadAdapterRequest(name=name, source=str(ADAPTERS / folder), **more)

    watched, changes = NAMES.Watch(adapters.WatchAdaptersRequest(), timeout=60), []
    first = next(watched)
    assert [adapter.name for adapter in first.changed] == ["clay", "loess"], first
    listener = threading.Thread(target=hear, args=(watched, changes), daemon=True)
    listener.start()
    silt = NAMES.Load(load("silt", "rslora-r4", expected=expected(nothing=True)), timeout=60)
    assert silt.name == "silt" and len(silt.generation) == 32
    assert NAMES.Get(adapters.GetAdapterRequest(name="silt"), timeout=60).generation == silt.generation
    refused(CODE.FAILED_PRECONDITION, NAMES.Load, load("silt", "last-layer", expected=expected(nothing=True)))
    other = expected(generation=b"\x07" * 32)
    refused(CODE.FAILED_PRECONDITION, NAMES.Load, load("silt", "last-layer", expected=other))
    newer = NAMES.Load(load("silt", "last-layer", expected=expected(generation=silt.generation)), timeout=60)
    assert newer.generation != silt.generation, "the name stands for something else"
    found = [adapter.name for adapter in NAMES.List(adapters.ListAdaptersRequest(), timeout=60).adapters]
    assert found == ["clay", "loess", "silt"], found
    page = NAMES.List(adapters.ListAdaptersRequest(page_size=2), timeout=60)
    assert page.next_after == "loess", page
    page = NAMES.List(adapters.ListAdaptersRequest(page_size=2, after=page.next_after), timeout=60)
    assert [adapter.name for adapter in page.adapters] == ["silt"] and page.next_after == ""
    assert NAMES.Pin(adapters.PinAdapterRequest(name="silt", pinned=True), timeout=60).pinned
    assert not NAMES.Pin(adapters.PinAdapterRequest(name="silt", pinned=False), timeout=60).pinned
    assert ask(adapters=[inference.AdapterUse(name="silt")]).ids
    stale = adapters.UnloadAdapterRequest(name="silt", expected=expected(generation=silt.generation))
    refused(CODE.FAILED_PRECONDITION, NAMES.Unload, stale)
    time.sleep(0.5)
    NAMES.Unload(adapters.UnloadAdapterRequest(name="silt"), timeout=60)
    refused(CODE.NOT_FOUND, NAMES.Get, adapters.GetAdapterRequest(name="silt"))
    outside = adapters.LoadAdapterRequest(name="peat", source=str(ADAPTERS.parent / "special" / "dora"))
    refused(CODE.INVALID_ARGUMENT, NAMES.Load, outside)
    listener.join(10)
    assert not listener.is_alive(), ("the watcher heard of both", changes)
    watched.cancel()
    generations = [it.generation for change in changes for it in change.changed if it.name == "silt"]
    assert newer.generation in generations, "the watcher saw it come"
    assert "silt" in changes[-1].gone, "and go"


def hear(watched, changes):
    for change in watched:
        changes.append(change)
        if change.gone:
            return


def logs():
    ask()
    named = LEDGER.Logs(ledger.LogsRequest(), timeout=60)
    assert [log.log for log in named.logs] == ["records", "usage/1"], named
    assert all(log.verifier_key.startswith(f"{named.name}/{log.log}+") for log in named.logs), named
    assert not any(log.frozen for log in named.logs)
    refused(CODE.NOT_FOUND, LEDGER.Checkpoint, ledger.CheckpointRequest(log="usage/9"))


def proofs():
    log = usage()
    newest = LEDGER.Checkpoint(ledger.CheckpointRequest(log="usage/1"), timeout=60).checkpoint
    head = merkle.Checkpoint(newest)
    assert head.size == log.signed_size and head.origin == log.verifier_key.split("+")[0]
    for index in {0, head.size // 2, head.size - 1}:
        entry = LEDGER.Entry(ledger.EntryRequest(index=index), timeout=60).entry
        found = LEDGER.InclusionProof(ledger.InclusionProofRequest(index=index), timeout=60).tlog_proof
        proof = merkle.Proof(found)
        assert proof.index == index and proof.checkpoint.root == merkle.root_of(entry, proof), index
    ask()
    later = merkle.Checkpoint(LEDGER.Checkpoint(ledger.CheckpointRequest(size=usage().size), timeout=60).checkpoint)
    assert later.size > head.size
    asked = ledger.ConsistencyProofRequest(old_size=head.size, new_size=later.size)
    path = list(LEDGER.ConsistencyProof(asked, timeout=60).path)
    assert merkle.grew(head, later, path), "the later tree holds the earlier"
    assert not merkle.grew(head, later, [b"\x07" * 32, *path[1:]])
    beyond = ledger.EntryRequest(index=1 << 40)
    refused(CODE.NOT_FOUND, LEDGER.Entry, beyond)


def entries_as_they_come():
    size = usage().size
    tail = list(LEDGER.Tail(ledger.TailRequest(first=0, stop_at_end=True), timeout=60))
    assert [entry.index for entry in tail] == list(range(len(tail))) and len(tail) >= size
    entry = LEDGER.Entry(ledger.EntryRequest(index=size - 1), timeout=60).entry
    assert tail[size - 1].entry == entry
    live = LEDGER.Tail(ledger.TailRequest(first=len(tail)), timeout=60)
    ask()
    assert next(live).index == len(tail), "what is recorded later comes by itself"
    live.cancel()


def rows():
    told = ask()
    size = usage().size

    def of(scope, first=0, count=0):
        asked = ledger.RowsRequest(first=first, count=count, scope=scope)
        return [row for message in LEDGER.Rows(asked, timeout=60) for row in message.rows]

    own = of(ledger.SCOPE_UNSPECIFIED)
    opened = [row.open for row in own if row.WhichOneof("row") == "open"]
    assert any(told.started[0].receipt_id in row.row for row in opened), "one's own request is among them"
    assert of(ledger.SCOPE_PUBLIC) == [], "nobody's rows are the public's"
    last = of(ledger.SCOPE_UNSPECIFIED, told.finished[0].entry_index, 1)
    assert 0 < len(last) < len(own) and size > told.finished[0].entry_index


def erased():
    told = ask(receipt=True)
    name = told.started[0].receipt_id
    refused(CODE.INVALID_ARGUMENT, LEDGER.Erase, ledger.EraseRequest(receipt_id=name, reason=9), "reason")
    LEDGER.Erase(ledger.EraseRequest(receipt_id=name, reason=1), timeout=60)
    refused(CODE.NOT_FOUND, LEDGER.Receipt, ledger.ReceiptRequest(receipt_id=name))


def the_server():
    info = SERVER.Info(server.InfoRequest(), timeout=60)
    assert list(info.models) == ["tiny"] and len(info.base) == 32
    assert (info.dtype, info.max_model_len, info.vocabulary, info.delivery) == ("f32", 512, 512, "recorded"), info
    assert info.version and info.device and info.ledger and info.max_loras >= 1
    load = SERVER.Load(server.LoadRequest(), timeout=60)
    assert load.kv_pages > 0 and load.page_tokens > 0 and not load.draining
    assert load.kv_pages_used <= load.kv_pages and load.adapters_resident <= load.adapters_resident_max
    assert load.ledger_free_bytes > load.ledger_reserve_bytes == 1 << 20, load


checks.run(
    a_text, tokens, a_chat, both_ways, logprobs, several_answers, stops, mixed_adapters, a_receipt,
    a_call_that_is_cancelled, a_call_whose_time_runs_out, refusals, messages_that_are_too_large, names, logs, proofs,
    entries_as_they_come, rows, erased, the_server,
)  # fmt: skip
