"""Python's grpcio with generated stubs, reflection and health: python grpc_client.py HOST:PORT PROTO_DIR"""

import pathlib
import secrets
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from grpc_tools import protoc

address, protos = sys.argv[1], pathlib.Path(sys.argv[2])
channel = grpc.insecure_channel(address)

health = health_pb2_grpc.HealthStub(channel)
for service in ["", "loam.v1.Inference", "loam.v1.Ledger"]:
    said = health.Check(health_pb2.HealthCheckRequest(service=service))
    assert said.status == health_pb2.HealthCheckResponse.SERVING, service

made = tempfile.mkdtemp()
files = [str(path.relative_to(protos)) for path in protos.glob("loam/v1/*.proto")]
assert protoc.main(["protoc", f"-I{protos}", f"--python_out={made}", f"--grpc_python_out={made}", *files]) == 0
sys.path.insert(0, made)
from loam.v1 import adapters_pb2, adapters_pb2_grpc, inference_pb2, inference_pb2_grpc, ledger_pb2, ledger_pb2_grpc

inference = inference_pb2_grpc.InferenceStub(channel)
ledger = ledger_pb2_grpc.LedgerStub(channel)
adapters = adapters_pb2_grpc.AdaptersStub(channel)


def request(**more):
    ends = inference_pb2.Ends(max_tokens=6, ignore_eos=True)
    return inference_pb2.GenerateRequest(**{"text": "What grows here?", "ends": ends, **more})


asked = request(adapters=[{"name": "clay"}], nonce=secrets.token_bytes(32), receipt=True, logprobs=1)
events = list(inference.Generate(asked))
kinds = [event.WhichOneof("event") for event in events]
assert kinds[0] == "started" and kinds[-2:] == ["finished", "receipt"], kinds
tokens = [token for event in events if event.HasField("tokens") for token in event.tokens.tokens]
assert len(tokens) == 6 and all(len(token.top) == 1 for token in tokens)
name = events[0].started.receipt_id
again = ledger.Receipt(ledger_pb2.ReceiptRequest(receipt_id=name))
assert again.tlog_proof.startswith(b"c2sp.org/tlog-proof@v1\n")
entry = events[-2].finished.entry_index
assert ledger.InclusionProof(ledger_pb2.InclusionProofRequest(index=entry)).tlog_proof
assert ledger.Checkpoint(ledger_pb2.CheckpointRequest()).checkpoint
tail = list(ledger.Tail(ledger_pb2.TailRequest(first=entry, stop_at_end=True)))
assert tail[0].index == entry and tail[0].entry == ledger.Entry(ledger_pb2.EntryRequest(index=entry)).entry

chat = inference_pb2.Chat(messages=[{"role": "user", "content": "What grows here?"}])
ids = inference.Tokenize(inference_pb2.TokenizeRequest(text="What grows here?")).tokens
assert inference.Detokenize(inference_pb2.DetokenizeRequest(tokens=ids)).text.endswith("What grows here?")
for prompt in [{"chat": chat}, {"tokens": {"ids": ids}}]:
    other = request()
    other.MergeFrom(inference_pb2.GenerateRequest(**prompt))
    assert list(inference.Generate(other))

listed = {adapter.name: adapter for adapter in adapters.List(adapters_pb2.ListAdaptersRequest()).adapters}
assert set(listed) == {"clay", "loess"} and len(listed["clay"].generation) == 32


def refused(call, code, field=None):
    try:
        list(call())
    except grpc.RpcError as error:
        assert error.code() == code, error
        details = rpc_status.from_call(error).details if field else []
        violations = error_details_pb2.BadRequest()
        assert not field or any(
            it.Unpack(violations) and violations.field_violations[0].field == field for it in details), error
    else:
        raise AssertionError(f"{code} was expected")


code = grpc.StatusCode
refused(lambda: inference.Generate(request(nonce=b"short")), code.INVALID_ARGUMENT, "nonce")
refused(lambda: inference.Generate(request(adapters=[{"name": "sand"}])), code.NOT_FOUND, "model")
refused(lambda: inference.Generate(request(sampling={"temperature": -1})), code.INVALID_ARGUMENT, "temperature")
refused(lambda: inference.Generate(request(text="x" * (40 << 20))), code.RESOURCE_EXHAUSTED)
long = inference.Generate(request(ends={"max_tokens": 400, "ignore_eos": True}))
next(long)
long.cancel()

# With reflection alone: nothing of ours is known beforehand.
database = ProtoReflectionDescriptorDatabase(channel)
assert "loam.v1.Inference" in database.get_services()
pool = descriptor_pool.DescriptorPool(database)
method = pool.FindServiceByName("loam.v1.Server").FindMethodByName("Info")
question = message_factory.GetMessageClass(method.input_type)
answer = message_factory.GetMessageClass(method.output_type)
info = channel.unary_unary("/loam.v1.Server/Info", question.SerializeToString, answer.FromString)(question())
assert list(info.models) == ["tiny"] and info.ledger
print("grpcio", grpc.__version__, "is served")
