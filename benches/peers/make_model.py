"""Writes one model of random weights, and eight adapters, in the forms that Loam and its peers read.

    python make_model.py FOLDER            the shape of Llama-3.2-1B; takes 5 GB of disk and a few minutes
    python make_model.py FOLDER --tiny     two narrow layers, to see in seconds that all engines agree

FOLDER then has model/ (safetensors, bf16), adapters/0 to 7 (PEFT, bf16, rank 16 on all seven linears),
and gguf/ (the same bits for llama.cpp: model.gguf, 0.gguf to 7.gguf).

The weights are seeded and of such a size that every layer counts: attention is sharp enough that a wrong rotation
shows, layers outweigh the tied embedding, and adapters move the answers.
"""

import argparse
import json
import math
import pathlib

import gguf
import torch
from safetensors.torch import save_file

LLAMA_1B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "torch_dtype": "bfloat16",
}
TINY = LLAMA_1B | {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2048,
    "bos_token_id": 2046,
    "eos_token_id": 2047,
}
ADAPTERS, RANK, ALPHA = 8, 16, 32

# Where a tensor of a layer is: in PyTorch's names, and in llama.cpp's.
LINEARS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def shapes(config):
    """Rows and columns of each linear."""
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    sizes = [(queries, hidden), (keys, hidden), (keys, hidden), (hidden, queries)]
    return dict(zip(LINEARS, sizes + [(inner, hidden), (inner, hidden), (hidden, inner)]))


def random(generator, shape, deviation):
    return (torch.randn(shape, generator=generator) * deviation).to(torch.bfloat16)


def make_weights(config):
    generator = torch.Generator().manual_seed(1)
    hidden = config["hidden_size"]
    weights = {"model.embed_tokens.weight": random(generator, (config["vocab_size"], hidden), 0.02)}
    for layer in range(config["num_hidden_layers"]):
        for name, (rows, columns) in shapes(config).items():
            # Queries and keys of deviation 1.5: attention looks at few positions, and which ones hangs on the rotation.
            gain = 1.5 if name in ("self_attn.q_proj", "self_attn.k_proj") else 1.0
            weights[f"model.layers.{layer}.{name}.weight"] = random(generator, (rows, columns), gain / columns**0.5)
        for name in NORMS:
            weights[f"model.layers.{layer}.{name}.weight"] = 1 + random(generator, (hidden,), 0.1)
    weights["model.norm.weight"] = 1 + random(generator, (hidden,), 0.1)
    return weights


def make_adapter(config, number):
    """Pairs whose deltas are about a sixth of what the linear itself says."""
    generator = torch.Generator().manual_seed(100 + number)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (rows, columns) in shapes(config).items():
            path = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{path}.lora_A.weight"] = random(generator, (RANK, columns), columns**-0.5)
            tensors[f"{path}.lora_B.weight"] = random(generator, (rows, RANK), 0.02)
    return tensors


def adapter_config():
    targets = [name.split(".")[1] for name in LINEARS]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": targets,
    }


def interleave(config, name, tensor):
    """Rows as llama.cpp wants them: it rotates neighbours, safetensors a head's first half with its second."""
    heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}
    if name not in heads:
        return tensor
    rows, columns = tensor.shape
    halves = tensor.reshape(config[heads[name]], 2, config["head_dim"] // 2, columns)
    return halves.transpose(1, 2).reshape(rows, columns).contiguous()


def rope_divisors(config):
    """What llama.cpp divides each frequency by; the `llama3` scaling is kept there as a tensor."""
    scaling, dim = config["rope_scaling"], config["head_dim"]
    low, high, factor = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["factor"]
    divisors = []
    for pair in range(dim // 2):
        wavelength = 2 * math.pi * config["rope_theta"] ** (2 * pair / dim)
        turns = scaling["original_max_position_embeddings"] / wavelength
        kept = min(max((turns - low) / (high - low), 0.0), 1.0)
        divisors.append(1 / ((1 - kept) / factor + kept))
    return torch.tensor(divisors)


def add(writer, name, tensor):
    """A matrix with the bits it has; llama.cpp takes vectors in f32 alone."""
    if tensor.dim() == 1:
        writer.add_tensor(name, tensor.float().numpy())
    else:
        writer.add_tensor(name, tensor.view(torch.uint8).numpy(), raw_dtype=gguf.GGMLQuantizationType.BF16)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gguf_model(path, config, weights):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    # Prompts are tokens: no tokenizer is needed.
    writer.add_tokenizer_model("no_vocab")
    add(writer, "token_embd.weight", weights["model.embed_tokens.weight"])
    add(writer, "output_norm.weight", weights["model.norm.weight"])
    add(writer, "rope_freqs.weight", rope_divisors(config))
    for layer in range(config["num_hidden_layers"]):
        for name, theirs in (LINEARS | NORMS).items():
            tensor = interleave(config, name, weights[f"model.layers.{layer}.{name}.weight"])
            add(writer, f"blk.{layer}.{theirs}.weight", tensor)
    finish(writer)


def write_gguf_adapter(path, config, tensors):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    for layer in range(config["num_hidden_layers"]):
        for name, theirs in LINEARS.items():
            path = f"base_model.model.model.layers.{layer}.{name}"
            add(writer, f"blk.{layer}.{theirs}.weight.lora_a", tensors[f"{path}.lora_A.weight"])
            rows = interleave(config, name, tensors[f"{path}.lora_B.weight"])
            add(writer, f"blk.{layer}.{theirs}.weight.lora_b", rows)
    finish(writer)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tiny", action="store_true", help="two narrow layers")
    arguments = parser.parse_args()
    config = TINY if arguments.tiny else LLAMA_1B
    for name in ["model", "gguf"] + [f"adapters/{number}" for number in range(ADAPTERS)]:
        (arguments.folder / name).mkdir(parents=True, exist_ok=True)

    weights = make_weights(config)
    model = arguments.folder / "model"
    (model / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    write_gguf_model(arguments.folder / "gguf/model.gguf", config, weights)
    for number in range(ADAPTERS):
        tensors = make_adapter(config, number)
        folder = arguments.folder / f"adapters/{number}"
        (folder / "adapter_config.json").write_text(json.dumps(adapter_config(), indent=2) + "\n")
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        write_gguf_adapter(arguments.folder / f"gguf/{number}.gguf", config, tensors)
    print(f"wrote {arguments.folder}")


if __name__ == "__main__":
    main()
