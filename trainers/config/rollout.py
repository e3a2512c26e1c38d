"""The section `rollout`: who samples the policy's replies in stage 2, this process or a server."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

from turngym._errors import InputError
from turngym.addresses import check_address
from turngym.arguments import Index, Positive, Range
from turngym.trainers.config.section import Section

MAX_PARALLEL = 1024
"""Each request has a thread."""


@dataclass(frozen=True, kw_only=True)
class RolloutConfig(Section):
    """A server that plays the policy in stage 2, in place of this process.

    The server speaks OpenAI's completions with token ids and log-probabilities, as vLLM does; docs/models.md says what
    it must answer. The warm start, stage 1, validation and the test are played in this process all the same.
    """

    section: ClassVar[str] = "rollout"

    server: str = ""
    """Its address, such as http://127.0.0.1:8000; empty to play the policy in this process. A key that the server asks
    for is read from the environment variable TURNGYM_ROLLOUT_KEY."""
    model: str = ""
    """The name under which the server has the model; empty for the first that it lists."""
    update: Literal["vllm", "vllm-lora", "sglang", "none"] = "vllm"
    """How the server gets the weights before every step: "vllm" (whole models, vLLM with VLLM_SERVER_DEV_MODE=1),
    "vllm-lora" (the adapter of `lora.rank`, vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1), "sglang" (whole models), or
    "none", which leaves the server at the weights that it was started with."""
    weights: str = ""
    """Folder into which the weights are written, which the server must see by the same path; empty for `served` in the
    run folder."""
    parallel: Annotated[int, Range(low=1, high=MAX_PARALLEL)] = 64
    """Requests at once."""
    timeout: Positive = 300.0
    """Seconds that an answer, and the reading of new weights, may take."""
    retries: Index = 5
    """How often a request is repeated that found no server, a busy one (429) or a failing one (5xx), after pauses from
    0.5 to 15 seconds."""
    max_drift: Positive = 0.5
    """Largest 99th percentile of |log pi of the trainer - log pi of the server| over the tokens of a step, nats, beyond
    which the run ends rather than learn from what another policy has played."""
    importance_cap: Annotated[float, Range(low=1)] = 2.0
    """Upper bound of the importance weights pi of the trainer / pi of the server, one for each token, by which
    objectives that are policy gradients correct the drift; 1 only ever lowers a token's weight."""

    def check(self) -> None:
        """Check the address, and that what is set is read.

        Raises:
            ValueError: It is no address, or there is no server that a setting could be for.
        """
        if not self.server:
            for part in fields(self):
                if getattr(self, part.name) != part.default:
                    raise self.refuse(part.name, "is not read without rollout.server")
            return
        try:
            check_address(self.server)
        except InputError as error:
            raise InputError(f"rollout.server: {error}") from None
        if self.weights and self.update == "none":
            raise self.refuse("weights", "is not read with rollout.update 'none'")
