"""gRPC without any stubs: the server itself says what it can be asked. reflection.py http://127.0.0.1:PORT"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import checks

CHANNEL = grpc.insecure_channel(sys.argv[1].removeprefix("http://"))
SERVICES = ["Adapters", "Inference", "Ledger", "Server"]


class Newer(ProtoReflectionDescriptorDatabase):
    """Over `v1`, which has the messages of `v1alpha`: newer tools ask this, older ones and Python's own the other."""

    def __init__(self, channel):
        super().__init__(channel)
        self._stub.ServerReflectionInfo = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )


def services(database):
    found = set(database.get_services())
    assert found >= {f"loam.v1.{name}" for name in SERVICES} | {"grpc.health.v1.Health"}, found


def an_answer(database):
    method = DescriptorPool(database).FindServiceByName("loam.v1.Inference").FindMethodByName("Generate")
    asked, told = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = CHANNEL.unary_stream(
        "/loam.v1.Inference/Generate", request_serializer=asked.SerializeToString, response_deserializer=told.FromString
    )
    request = asked(text="What grows here?", sampling={"temperature": 0}, ends={"max_tokens": 8, "ignore_eos": True})
    events = list(call(request, timeout=60))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started" and kinds[-1] == "finished" and set(kinds[1:-1]) == {"tokens"}, kinds
    assert sum(len(event.tokens.tokens) for event in events) == 8
    assert "".join(event.tokens.text for event in events)


def every_message(database):
    pool = DescriptorPool(database)
    methods = [method for name in SERVICES for method in pool.FindServiceByName(f"loam.v1.{name}").methods]
    for method in methods:
        assert GetMessageClass(method.input_type)().ByteSize() == 0, method.full_name
    assert len(methods) >= 22, [method.name for method in methods]


def newer():
    for check in [services, an_answer, every_message]:
        check(Newer(CHANNEL))


def older():
    for check in [services, an_answer, every_message]:
        check(ProtoReflectionDescriptorDatabase(CHANNEL))


def health():
    stub = health_pb2_grpc.HealthStub(CHANNEL)
    for name in ["", *(f"loam.v1.{name}" for name in SERVICES)]:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, (name, answer)
    first = next(iter(stub.Watch(health_pb2.HealthCheckRequest(service="loam.v1.Inference"), timeout=60)))
    assert first.status == health_pb2.HealthCheckResponse.SERVING, first
    try:
        stub.Check(health_pb2.HealthCheckRequest(service="loam.v1.Nothing"), timeout=60)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
    else:
        raise AssertionError("a service that there is not has no health")


checks.run(newer, older, health)
