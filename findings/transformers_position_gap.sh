#!/usr/bin/env bash
# transformers 5.23.0: with a gap in position_ids, use_cache decides what a token sees.
#
# An old observation is cut out of a conversation, and what comes after it keeps its positions, so position_ids jump
# from 4 to 9. One would expect use_cache to be a matter of speed: the docstring of forward says of it only that keys
# and values are returned, and of position_ids only that they are indices of positions.
#
# What happens: without a cache and without an attention mask, every step of position_ids other than 1 is taken for
# the beginning of another packed sequence, and attention across it is blocked. With a cache, or with a mask of ones,
# it is not. The guide on padding-free training says that packed sequences can be told from position_ids; the
# docstrings of the models say neither that a step forward counts as well, nor that a cache decides.
#
# Why it matters: rollouts are sampled with a cache, and their log-probabilities are computed anew without one. For
# the same tokens at the same positions the two passes then belong to different distributions, and ratios between them
# mean nothing. A mask of ones beside position_ids avoids it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check transformers==5.23.0

"$folder/bin/python" -I - << 'PYTHON'
import sys

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    initializer_range=0.3,
)
model = LlamaForCausalLM(config).eval()
ids = torch.randint(64, (1, 12))
positions = torch.tensor([[0, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15]])
AFTER = slice(5, None)


@torch.no_grad()
def logprobs(part=slice(None), **options):
    """Log-probabilities of all tokens at the places after the gap."""
    output = model(ids[:, part], position_ids=positions[:, part], **options)
    return output.logits.log_softmax(-1)[0, -7:]


cache = model(ids[:, :5], position_ids=positions[:, :5], use_cache=True).past_key_values
sampled = logprobs(AFTER, past_key_values=cache, use_cache=True)
alone = logprobs(AFTER, use_cache=False)


def difference(one, other):
    return float((one - other).abs().max())


print(f"transformers {transformers.__version__}, torch {torch.__version__}")
print("Expected: after the gap, a whole pass gives the log-probabilities of sampling, whatever use_cache says.")
print("Seen, as the largest difference in nats:")
with_cache = difference(logprobs(use_cache=True), sampled)
with_mask = difference(logprobs(use_cache=False, attention_mask=torch.ones_like(ids)), sampled)
without = difference(logprobs(use_cache=False), sampled)
forgotten = difference(logprobs(use_cache=False), alone)
print(f"  use_cache=True, to sampling:                     {with_cache:.6f}")
print(f"  use_cache=False and a mask of ones, to sampling: {with_mask:.6f}")
print(f"  use_cache=False, to sampling:                    {without:.6f}")
print(f"  use_cache=False, to a pass over the tokens after the gap alone: {forgotten:.6f}")
as_told = max(with_cache, with_mask, forgotten) < 1e-4 and without > 0.1
print("The surprise is there." if as_told else "This has changed.")
sys.exit(not as_told)
PYTHON
