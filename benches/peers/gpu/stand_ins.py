"""Stand-ins for what the peers' kernel files import from the rest of their packages.

Their files are imported from a folder that prepare.sh filled; nothing of theirs is here. Platform, settings, logging,
registration of operators and record classes are written anew, as far as the kernels use them.
"""

import enum
import importlib
import importlib.util
import logging
import os
import sys
import types
import typing

import torch


def stub(name, **attrs):
    module = types.ModuleType(name)
    module.__dict__.update(attrs)
    sys.modules[name] = module
    parent, _, leaf = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], leaf, module)
    return module


def package(name, root):
    """A package whose submodules are found on disk but whose own __init__ never runs."""
    return stub(name, __path__=[os.path.join(root, *name.split("."))])


class Quiet(logging.LoggerAdapter):
    def warning_once(self, *a, **k):
        pass

    info_once = debug_once = warning_once


def capability():
    return torch.cuda.get_device_capability() if torch.cuda.is_available() else (0, 0)


class Platform:
    """What the kernels ask of the platform: is it CUDA, and which capability (as 90 or (9, 0))."""
    @staticmethod
    def _pair(c):
        return tuple(c) if isinstance(c, (tuple, list)) else divmod(int(c), 10)

    def is_cuda(self):
        return torch.cuda.is_available()

    is_cuda_alike = is_cuda

    def has_device_capability(self, c, device_id=0):
        return capability() >= self._pair(c)

    def is_device_capability(self, c, device_id=0):
        return capability() == self._pair(c)

    def __getattr__(self, name):
        if name.startswith("is_"):
            return lambda *a, **k: False
        raise AttributeError(name)


def stub_msgspec():
    """msgspec.Struct as far as frozen keyword-only records use it."""
    class Struct:
        def __init_subclass__(cls, **_):
            super().__init_subclass__()

        def __init__(self, **values):
            for name in typing.get_type_hints(type(self)):
                if name not in values and not hasattr(type(self), name):
                    raise TypeError(f"missing {name}")
            self.__dict__.update(values)

    stub("msgspec", Struct=Struct)


def stub_pydantic():
    """pydantic.BaseModel as far as nested records of scalars, enums, lists and dicts use it."""
    class Default:
        def __init__(self, factory):
            self.factory = factory

    def build(hint, value):
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            if value is None:
                return None
            return build(next(a for a in args if a is not type(None)), value) if type(None) in args else value
        if origin is list:
            return [build(args[0], v) for v in value]
        if isinstance(hint, type) and issubclass(hint, BaseModel):
            return value if isinstance(value, hint) else hint(**value)
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return hint(value)
        return value

    class BaseModel:
        def __init__(self, **values):
            hints = typing.get_type_hints(type(self))
            if values.keys() - hints.keys():
                raise ValueError(f"unknown keys {sorted(values.keys() - hints.keys())}")
            for name, hint in hints.items():
                if name in values:
                    value = build(hint, values[name])
                elif hasattr(type(self), name):
                    default = getattr(type(self), name)
                    value = default.factory() if isinstance(default, Default) else default
                else:
                    raise ValueError(f"missing {name}")
                setattr(self, name, value)

        @classmethod
        def model_validate(cls, value):
            return cls(**value)

        def model_dump(self):
            def plain(v):
                if isinstance(v, BaseModel):
                    return v.model_dump()
                return [plain(x) for x in v] if isinstance(v, list) else v
            return {name: plain(getattr(self, name)) for name in typing.get_type_hints(type(self))}

    stub("pydantic", BaseModel=BaseModel, ConfigDict=dict,
         Field=lambda default_factory: Default(default_factory),
         model_validator=lambda mode: lambda f: f)


def import_vllm(root):
    import triton
    import triton.language as tl
    for name in ("vllm", "vllm.lora", "vllm.lora.ops", "vllm.lora.ops.triton_ops"):
        package(name, root)
    stub("vllm.envs", VLLM_BATCH_INVARIANT=False, VLLM_LORA_ENABLE_DUAL_STREAM=False, VLLM_LORA_DISABLE_PDL=False,
         VLLM_TUNED_CONFIG_FOLDER=os.environ.get("VLLM_TUNED_CONFIG_FOLDER"))
    stub("vllm.logger", init_logger=lambda name: Quiet(logging.getLogger(name), {}))
    stub("vllm.platforms", current_platform=Platform())
    stub("vllm.triton_utils", tl=tl, triton=triton, HAS_TRITON=True)
    stub("vllm.utils")
    stub("vllm.utils.math_utils", next_power_of_2=lambda n: 1 << max(0, int(n) - 1).bit_length())
    # No operator is registered, so their modules fall back to the plain functions.
    stub("vllm.utils.torch_utils", direct_register_custom_op=lambda **_: None,
         async_tensor_h2d=lambda data, device=None, dtype=None, **_: torch.tensor(data, dtype=dtype).to(device))
    base = "vllm.lora.ops.triton_ops."
    return types.SimpleNamespace(
        shrink=importlib.import_module(base + "lora_shrink_op"),
        expand=importlib.import_module(base + "lora_expand_op"),
        meta=importlib.import_module(base + "lora_kernel_metadata").LoRAKernelMeta,
        utils=importlib.import_module(base + "utils"))


class Setting:
    def __init__(self, value):
        self.value = value

    def get(self):
        return self.value


class SglangEnvs:
    def __getattr__(self, name):
        value = os.environ.get(name)
        return Setting(value if name.endswith("_DIR") else value in ("1", "true", "True"))


def align_rows(ids, block, buckets, scratch=None, **_):
    """Rows sorted by adapter, each run padded to whole blocks; rows of no adapter come first. Plain torch, untimed."""
    ids = ids.reshape(-1).to(torch.int64).cpu()
    n = ids.numel()
    ids = torch.where((ids >= 0) & (ids < buckets), ids, torch.full_like(ids, -1))
    room = n * block if n < buckets + 1 else n + (buckets + 1) * (block - 1)
    room = (room + 3) // 4 * 4
    rows = torch.full((room,), n, dtype=torch.int32)
    owner = torch.full(((room + block - 1) // block,), -1, dtype=torch.int32)
    at = 0
    for bucket in range(-1, buckets):
        mine = torch.nonzero(ids == bucket).reshape(-1)
        if mine.numel():
            rows[at:at + mine.numel()] = mine.to(torch.int32)
            blocks = (mine.numel() + block - 1) // block
            owner[at // block:at // block + blocks] = bucket
            at += blocks * block
    device = scratch(1).device if scratch is not None else "cpu"
    return rows.to(device), owner.to(device), torch.tensor([at], dtype=torch.int32, device=device)


def import_sglang(root):
    """Stand-ins only; the families are imported one by one, so that one may fail and the other run."""
    for name in ("sglang", "sglang.kernels", "sglang.kernels.ops", "sglang.kernels.ops.lora", "sglang.kernels.jit",
                 "sglang.kernels.ops.lora.dense", "sglang.kernels.ops.lora.common", "sglang.kernels.ops.lora.moe",
                 "sglang.srt", "sglang.srt.lora", "sglang.srt.lora.dense"):
        package(name, root)
    stub("sglang.srt.environ", envs=SglangEnvs())
    stub("sglang.srt.utils", cached_triton_kernel=lambda key: lambda kernel: kernel,
         get_device_name=lambda *_: torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")
    stub("sglang.srt.lora.utils", LoRABatchInfo=object, Phase=enum.Enum(
        "Phase", {"DECODE": "decode", "PREFILL": "prefill"}, type=str),
        architecture_for_capability=lambda major: "sm90" if major == 9 else "sm100" if major >= 10 else "default")
    stub("sglang.kernels.jit.utils", is_arch_support_pdl=lambda: capability() >= (9, 0))
    stub("sglang.kernels.ops.lora.moe.virtual_experts", _align_block_size_jit=align_rows)
    if importlib.util.find_spec("msgspec") is None:
        stub_msgspec()
    if importlib.util.find_spec("pydantic") is None:
        stub_pydantic()
