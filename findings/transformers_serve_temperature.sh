#!/usr/bin/env bash
# transformers 5.23.0: `transformers serve` answers greedily at temperature 1, whatever the seed.
#
# A chat completion is asked for with temperature 1.0 and six different seeds. In OpenAI's protocol a temperature above 0
# means sampling, at 1.0 from the model's own distribution, and other servers of the protocol do so. One would expect
# several different answers from a model with random weights.
#
# What happens: all six answers are the same, those of temperature 0. The temperature is written into the generation
# configuration, whose do_sample stays what the model's own configuration says, which is false where it says nothing.
# Only temperature 0 touches do_sample, to switch it off. With the field generation_config of that server, set to
# {"do_sample": true}, the same request gives different answers.
#
# Why it matters: pass@k, best of k, and every estimate that needs several tries at a game have no spread: k tries are one
# try. Nothing in the answer says so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check transformers==5.23.0 fastapi==0.165.0 \
    uvicorn==0.54.0 accelerate==1.15.0 openai==3.57.0 python-multipart==0.0.34 httpx==0.28.1

cat > "$folder/model.py" << 'PYTHON'
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

backend = Tokenizer(models.BPE())
backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
backend.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
backend.train_from_iterator(
    [], trainers.BpeTrainer(vocab_size=300, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False)
)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<end>")
tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
torch.manual_seed(0)
Qwen2ForCausalLM(
    Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )
).save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
PYTHON
"$folder/venv/bin/python" -I "$folder/model.py" "$folder/model" > /dev/null 2>&1

cat > "$folder/ask.py" << 'PYTHON'
import json
import socket
import subprocess
import sys
import time
import urllib.request

model, program = sys.argv[1:]
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
url = f"http://127.0.0.1:{port}"
words = [program, "serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ask(**more):
    body = {"model": model, "messages": [{"role": "user", "content": "up"}], "max_tokens": 8, **more}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


try:
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5)
            break
        except OSError:
            time.sleep(0.5)
    greedy = ask(temperature=0)
    warm = [ask(temperature=1.0, seed=seed) for seed in range(6)]
    told = [ask(temperature=1.0, seed=seed, generation_config='{"do_sample": true}') for seed in range(6)]
finally:
    server.terminate()
    server.wait()
print("Expected: six seeds at temperature 1 give several different answers.")
print("Seen:")
print(f"  different answers at temperature 1.0:                                  {len(set(warm))}")
print(f"  of them equal to the answer at temperature 0:                          {sum(one == greedy for one in warm)}")
print(f"  different answers with generation_config do_sample true beside it:     {len(set(told))}")
as_told = set(warm) == {greedy} and len(set(told)) > 2
print("The surprise is there." if as_told else "This has changed.")
sys.exit(not as_told)
PYTHON
"$folder/venv/bin/python" -I -c 'import transformers; print("transformers", transformers.__version__)'
"$folder/venv/bin/python" -I "$folder/ask.py" "$folder/model" "$folder/venv/bin/transformers"
