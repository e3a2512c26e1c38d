"""Play by a model on a server of its own, such as vLLM or SGLang: token ids and log-probabilities over HTTP.

connection.py    requests, repeated where that may help, and clear words where they fail
completions.py   replies as token ids with their log-probabilities
weights.py       new weights for a server that runs
asking.py        what agents that ask a server have in common: several requests at once, ended together
agent.py         the agent; the one file here that needs torch
"""

from turngym.agents.serving.completions import Completion, CompletionServer, ServedModel
from turngym.agents.serving.connection import (
    RefusedError,
    ServerConnection,
    ServerError,
    Terms,
)
from turngym.agents.serving.weights import UPDATES, WeightUpdate

__all__ = [
    "UPDATES",
    "Completion",
    "CompletionServer",
    "RefusedError",
    "ServedModel",
    "ServerConnection",
    "ServerError",
    "Terms",
    "WeightUpdate",
]
