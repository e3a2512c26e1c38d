#!/usr/bin/env bash
# torch 2.13.0: the step that Muon takes on a linear map depends on whether its matrix is stored transposed.
#
# A layer from n to m features is stored as an m x n matrix by torch.nn.Linear, and as its transpose by Conv1D of
# transformers, of which GPT-2 consists. One would expect the same step of the same map from the same gradient:
# orthogonalisation does not care which way round a matrix is, and the documentation says that the adjusted rate makes
# updates of rectangular matrices consistent.
#
# What happens: by default the rate is multiplied by sqrt(max(1, rows / columns)) of the tensor as it is stored. That
# is outputs over inputs for Linear, and inputs over outputs for Conv1D. The documentation calls rows and columns
# "dimensions of the matrix", and its example picks every parameter of two dimensions. adjust_lr_fn="match_rms_adamw"
# is symmetric.
#
# Why it matters: in GPT-2 the layer that widens (768 to 3,072) moves half as far as it would as a Linear, and the one
# that narrows twice as far. A learning rate found with one family of policies is another one for the next.
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
from transformers.pytorch_utils import Conv1D

torch.manual_seed(0)


def distances(inputs, outputs, **options):
    """How far a step moves the same map, stored by Linear and by Conv1D, with the same gradient."""
    linear, transposed = torch.nn.Linear(inputs, outputs, bias=False), Conv1D(outputs, inputs)
    weight, gradient = linear.weight.detach().clone(), torch.randn(outputs, inputs)
    with torch.no_grad():
        transposed.weight.copy_(weight.T)
    linear.weight.grad, transposed.weight.grad = gradient.clone(), gradient.T.contiguous()
    torch.optim.Muon([linear.weight, transposed.weight], lr=0.02, weight_decay=0.0, **options).step()
    return tuple(float((moved.detach() - weight).norm()) for moved in (linear.weight, transposed.weight.T))


print(f"torch {torch.__version__}, transformers {transformers.__version__}")
print("Expected: one step of Muon moves the same map equally far, as Linear and as Conv1D.")
print("Seen, as the Frobenius norm of the change:")
ratios = {}
for name, options in {"by default": {}, "match_rms_adamw": {"adjust_lr_fn": "match_rms_adamw"}}.items():
    for inputs, outputs in ((192, 768), (768, 192)):
        linear, transposed = distances(inputs, outputs, **options)
        ratios[name, inputs] = linear / transposed
        print(f"  {name:15}  {inputs} to {outputs}:  Linear {linear:.4f}, Conv1D {transposed:.4f}")
told = {
    ("by default", 192): 2.0,
    ("by default", 768): 0.5,
    ("match_rms_adamw", 192): 1.0,
    ("match_rms_adamw", 768): 1.0,
}
as_told = all(abs(ratios[case] / ratio - 1) < 0.02 for case, ratio in told.items())
print("The surprise is there." if as_told else "This has changed.")
sys.exit(not as_told)
PYTHON
