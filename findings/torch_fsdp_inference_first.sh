#!/usr/bin/env bash
# torch 2.13.0, FSDP2: a model that is first evaluated in inference mode cannot be trained in the same process.
#
# A common order is: shard the model, measure it as it is, then train. torch.inference_mode is what its documentation
# names for evaluation, as a faster no_grad, and a plain module can be trained after it. One would expect the same of a
# module that fully_shard was called with.
#
# What happens: the first pass allocates the tensors into which layers are gathered, and they are used again in every
# later pass. In inference mode they become inference tensors for good. The next pass outside of it, with or without
# gradients, raises a RuntimeError about an in-place update of an inference tensor. It needs a layer that is sharded by
# itself and gives its memory back after the pass, as every layer but the outermost module does by default. After a
# first pass in no_grad all is well, also where later ones are in inference mode.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.3.5

cat > "$folder/train.py" << 'PYTHON'
import sys

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo")
ROWS = torch.ones(2, 8)


def model(sharded):
    layers = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    if sharded:
        for layer in layers:
            fully_shard(layer)
        fully_shard(layers)
    return layers


def trained_after(first, *, sharded=True):
    network = model(sharded)
    with first():
        network(ROWS)
    try:
        network(ROWS).sum().backward()
    except RuntimeError as error:
        return f"RuntimeError: {str(error).splitlines()[0]}"
    return "trains"


def both():
    network = model(True)
    with torch.no_grad():
        network(ROWS)
    with torch.inference_mode():
        network(ROWS)
    network(ROWS).sum().backward()
    return "trains"


seen = {
    "plain module, inference_mode first": trained_after(torch.inference_mode, sharded=False),
    "sharded, no_grad first": trained_after(torch.no_grad),
    "sharded, inference_mode first": trained_after(torch.inference_mode),
    "sharded, no_grad and then inference_mode": both(),
}
told = [*seen.values()]
there = told[0] == told[1] == told[3] == "trains" and "nference" in told[2] and told[2].startswith("RuntimeError")
if dist.get_rank() == 0:
    print(f"torch {torch.__version__.partition('+')[0]}")
    print("Expected: all of these train.")
    print("Seen:")
    for name, what in seen.items():
        print(f"  {name}: {what}")
    print("The surprise is there." if there else "This has changed.")
dist.destroy_process_group()
sys.exit(not there)
PYTHON
OMP_NUM_THREADS=1 "$folder/bin/python" -I -m torch.distributed.run --standalone --nproc-per-node 2 "$folder/train.py"
