"""`loam.v1` as gRPC's own compiler makes it of the `.proto` files."""

import importlib
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[4] / "proto"
SERVICES = ["inference", "adapters", "ledger", "server"]


def compiled():
    """The modules of messages, then those of stubs."""
    with tempfile.TemporaryDirectory() as folder:
        own = Path(grpc_tools.__file__).parent / "_proto"
        files = [str(PROTO / "loam" / "v1" / f"{name}.proto") for name in SERVICES]
        made = ["protoc", f"-I{PROTO}", f"-I{own}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files]
        assert protoc.main(made) == 0
        sys.path.insert(0, folder)
        modules = [importlib.import_module(f"loam.v1.{name}_pb2{end}") for end in ["", "_grpc"] for name in SERVICES]
        sys.path.remove(folder)
    return modules[:4], modules[4:]


MESSAGES, STUBS = compiled()


def over(channel):
    """A stub of each service, in the order of their names above."""
    return [getattr(stubs, f"{name.capitalize()}Stub")(channel) for name, stubs in zip(SERVICES, STUBS)]
