"""Makes the bundled model from nothing: its text, its tokenizer, the base, and an adapter for each manner.

    pip install -r requirements.txt && python train.py

writes `base/` and `adapters/` beside this folder, or below the folder that is given. `check.py` measures what was made.
"""

import ctypes
import json
import math
import random
import sys
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from text import SEED, corpus, digest

CORPUS_SHA256 = "319e5be64fedc823832026f1391fbafffed9374dd98eaba798440f39f3d2937e"
THREADS = 1  # Two are twice as fast on an idle machine, and many times slower on one that others use.
VOCABULARY = 1792
SPECIAL = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
BOS, EOS = 0, 1
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
BASE = {
    "hidden_size": 192, "num_hidden_layers": 5, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 64,
    "intermediate_size": 416, "max_position_embeddings": 1024,
}
BATCH_TOKENS = 2048
BASE_EPOCHS, BASE_RATE = 4, 3e-3
ADAPTER_EPOCHS, ADAPTER_RATE = 5, 1e-2
ATTENTION, MLP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "verse": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"] + MLP},
    "almanac": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"] + MLP},
    "tally": {"r": 8, "lora_alpha": 16, "target_modules": ATTENTION + MLP},
}


def make_tokenizer(written):
    """Byte-level BPE, so that any text comes back as it was; a raw text begins with `<s>`."""
    texts = list(written["notes"])
    for manner in ("plain", "verse", "almanac", "tally"):
        texts += [message["content"] for chat in written[manner][:4500] for message in chat]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[BOS], eos_token=SPECIAL[EOS], model_max_length=1024,
        clean_up_tokenization_spaces=False, additional_special_tokens=SPECIAL[2:], chat_template=CHAT_TEMPLATE)


def encode(tokenizer, one, answers_only):
    """Token ids of a chat or a note, and which of them are learnt, as -100 where one is not."""
    if isinstance(one, str):
        ids = tokenizer(one)["input_ids"] + [EOS]
        return ids, ids
    ids, labels = [BOS], [-100]
    for message in one:
        head = tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>")
        part = [head] + tokenizer(message["content"], add_special_tokens=False)["input_ids"] + [EOS]
        learnt = message["role"] == "assistant" or not answers_only
        ids += part
        labels += [-100] + part[1:] if learnt else [-100] * len(part)
    return ids, labels


def batches(encoded, rng):
    """An epoch: neighbours in length share a batch, so that little is padded; batches come in any order."""
    order = list(range(len(encoded)))
    rng.shuffle(order)
    order.sort(key=lambda at: len(encoded[at][0]) + rng.random() * 6)
    made, batch, width_max = [], [], 0
    for at in order:
        width_max = max(width_max, len(encoded[at][0]))
        if batch and width_max * (len(batch) + 1) > BATCH_TOKENS:
            made.append(batch)
            batch, width_max = [], len(encoded[at][0])
        batch.append(encoded[at])
    made.append(batch)
    rng.shuffle(made)
    return made


def tensors(batch):
    """Filled up on the right: no position sees what comes after it, so no mask is needed."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [EOS] * (width - len(ids)) for ids, _ in batch])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in batch])
    return ids, labels


def train(model, encoded, epochs, rate, name):
    """AdamW on a cosine with a short warm-up."""
    rng = random.Random(SEED)
    plan = [batch for _ in range(epochs) for batch in batches(encoded, rng)]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    decayed = [weight for weight in weights if weight.dim() > 1]
    others = [weight for weight in weights if weight.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=rate, betas=(0.9, 0.98))
    warm_up, begun, tokens = max(1, len(plan) // 20), time.time(), 0
    model.train()
    for step, batch in enumerate(plan):
        progress = max(0.0, (step - warm_up) / (len(plan) - warm_up))
        scale = min((step + 1) / warm_up, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate * scale
        ids, labels = tensors(batch)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        tokens += ids.numel()
        if step % 50 == 0 or step == len(plan) - 1:
            taken = time.time() - begun
            speed = f"{taken:.0f} s, {tokens / taken:.0f} tokens/s"
            print(f"{name} {step + 1}/{len(plan)}: loss {loss.item():.3f}, {speed}", flush=True)
    model.eval()


def make_base(written, folder):
    tokenizer = make_tokenizer(written)
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer), bos_token_id=BOS, eos_token_id=EOS, tie_word_embeddings=True, rms_norm_eps=1e-5,
        initializer_range=0.03, **BASE)
    model = LlamaForCausalLM(config)
    print(f"base: {model.num_parameters()} parameters, {len(tokenizer)} tokens of vocabulary")
    encoded = [encode(tokenizer, one, False) for one in written["plain"] + written["notes"]]
    train(model, encoded, BASE_EPOCHS, BASE_RATE, "base")
    model = model.to(torch.bfloat16)
    model.generation_config.update(temperature=0.7, do_sample=True, bos_token_id=BOS, eos_token_id=EOS)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_adapter(name, written, tokenizer, base, folder):
    """Trained beside the base as it was saved, so that it meets the same rounded weights when it is served."""
    torch.manual_seed(SEED)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **ADAPTERS[name]))
    train(model, [encode(tokenizer, one, True) for one in written[name]], ADAPTER_EPOCHS, ADAPTER_RATE, name)
    model = model.to(torch.bfloat16)
    model.peft_config["default"].base_model_name_or_path = "../../base"
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["target_modules"] = sorted(settings["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def settle():
    """The same weights from the same seed; and memory that is kept for the next step, which is ten times as fast."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    if sys.platform == "linux":
        never_map, never_trim = (-4, 0), (-1, 2**31 - 1)
        for option, value in (never_map, never_trim):
            ctypes.CDLL(None).mallopt(option, value)


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    settle()
    begun, written = time.time(), corpus()
    if digest(written) != CORPUS_SHA256:
        print(f"the text is another than the card's: {digest(written)}")
    tokenizer = make_base(written, out / "base")
    for name in ADAPTERS:
        make_adapter(name, written, tokenizer, out / "base", out / "adapters" / name)
    print(f"made in {time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
