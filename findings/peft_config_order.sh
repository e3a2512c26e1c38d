#!/usr/bin/env bash
# peft 0.21.2: the same adapter, saved by two processes, is two different adapter_config.json.
#
# An adapter is two files, weights and settings. One would expect that equal adapters are equal files: save_pretrained
# of a model writes its config.json with sorted keys, safetensors has one layout for one set of tensors, and peft
# sorts the keys of adapter_config.json as well.
#
# What happens: the adapted layers are kept as a set of names, also where they were given as a list, and are written in
# the order in which that set is walked. Python draws it anew for every process (PYTHONHASHSEED), so the value of
# target_modules is the same names in another order. The documentation of target_modules says nothing of an order.
#
# Why it matters: who tells checkpoints apart by a digest of their files, or keeps them in a store addressed by content,
# sees another adapter after every restart, even where training goes on with the same bits.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check transformers==5.23.0 peft==0.21.2

cat > "$folder/save.py" << 'PYTHON'
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM

torch.manual_seed(0)
base = Qwen2ForCausalLM(Qwen2Config(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                                    num_attention_heads=2, num_key_value_heads=1))
layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
get_peft_model(base, LoraConfig(r=2, target_modules=layers)).save_pretrained(sys.argv[1])
PYTHON
for seed in 1 2 3; do
    PYTHONHASHSEED=$seed "$folder/bin/python" "$folder/save.py" "$folder/saved$seed"
done

"$folder/bin/python" -I - "$folder" << 'PYTHON'
import json
import sys
from importlib import metadata
from pathlib import Path

saved = [Path(sys.argv[1]) / f"saved{seed}" for seed in (1, 2, 3)]
texts = [(place / "adapter_config.json").read_bytes() for place in saved]
weights = [(place / "adapter_model.safetensors").read_bytes() for place in saved]
settings = [json.loads(text) for text in texts]
print(f"peft {metadata.version('peft')}")
print("Expected: three processes that save the same adapter write the same files.")
print("Seen:")
print(f"  different adapter_model.safetensors: {len({*weights})} of 3")
print(f"  different adapter_config.json:       {len({*texts})} of 3")
for one in settings:
    print(f"  target_modules: {', '.join(one['target_modules'])}")
names = {frozenset(one.pop("target_modules")) for one in settings}
told = len({*weights}) == 1 and len({*texts}) > 1 and len(names) == 1 and settings[0] == settings[1] == settings[2]
print("The surprise is there." if told else "This has changed.")
sys.exit(not told)
PYTHON
