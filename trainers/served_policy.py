"""The policy on a server: its weights before every step, and what to do about a server that plays a little otherwise.

Sampler and trainer compute the same probabilities with other kernels, in other precisions and batches, or the server is
some steps behind. The trainer scores every sampled token once more before it learns, so the drift is known in every
step: the 99th percentile of |log pi of the trainer - log pi of the server| ends the run beyond `rollout.max_drift`.
Below it the objectives are served by their kind:

* A policy gradient is an expectation over the sampler. Its tokens are weighted by min(pi of the trainer / pi of the
  server, `rollout.importance_cap`), and its own ratios, such as the clipped one of PPO, begin at the trainer's
  probabilities (decoupled as in arXiv:2110.00641).
* Regressions, A*PO among them, square a residual whose log pi is the trainer's own. With V* as the value it is 0 at the
  optimum whoever has sampled, so no weight belongs into the loss: the sampler decides only where the residual is made
  small. Other values, which are means over what was sampled, move by as little as the sampler does, and so does the
  gradient of `astarpo_turn`, which is unbiased for any value on policy alone; `max_drift` bounds that. OAPL and REBEL
  compare with the sampler, and so with the server's probabilities.
* Imitation follows the episodes that were played, whoever played them.

Reference: Yao et al., Your Efficient RL Framework Secretly Brings You Off-Policy RL Training, 2025,
https://fengyao.notion.site/off-policy-rl (truncated importance weights per token).
Shapes: B episodes, N sampled tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turngym._durable import remove, remove_unfinished
from turngym._errors import WorkError
from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.scoring import token_batches
from turngym.agents.serving import UPDATES, CompletionServer, ServerConnection, WeightUpdate
from turngym.agents.serving.agent import ServedAgent
from turngym.trainers import ranks
from turngym.trainers.batches import batch_logprobs
from turngym.trainers.checkpoints.models import save_model
from turngym.trainers.config import RolloutConfig
from turngym.trainers.objectives import Objective, TrainingBatch

STEPS = "step-*"
"""The folders of weights."""


class DriftError(WorkError):
    """The server plays another policy than the trainer's; the message has the figure and what to look at."""


def connect(config: RolloutConfig) -> CompletionServer:
    """Return the server of a configuration.

    Raises:
        ServerError: It does not answer, or has no such model.
    """
    connection = ServerConnection(config.server, timeout=config.timeout, retries=config.retries)
    return CompletionServer(connection, config.model)


class ServedPolicy:
    """Lets a server play the policy.

    Args:
        config: The section `rollout`, with a server.
        folder: Where the weights are written that the server reads; that of the configuration comes first.
    """

    def __init__(self, config: RolloutConfig, folder: Path) -> None:
        self.config = config
        self.folder = (Path(config.weights) if config.weights else folder).absolute()
        self.version = 0
        """Optimizer steps behind the weights that the server has; where none are sent, of those it began with."""
        self._update: WeightUpdate | None = None

    @contextmanager
    def agent(self, policy: LanguageModel, *, slots: int, max_reply_tokens: int) -> Iterator[ServedAgent]:
        """Give an agent that plays by the server, for as long as the block lasts.

        Args:
            policy: What the server plays; its tokenizer and chat format are used, its weights only by `send`.
            slots: Episodes played at once.
            max_reply_tokens: Longest reply, in tokens.

        Raises:
            ServerError: The server does not answer, or its model sees too few tokens at once.
        """
        server = connect(self.config)
        agent = ServedAgent(
            policy, server, parallel=min(self.config.parallel, slots), slots=slots, max_reply_tokens=max_reply_tokens
        )
        with agent:
            self._update = UPDATES[self.config.update](server) if self.config.update in UPDATES else None
            yield agent

    def send(self, policy: LanguageModel, step: int) -> int:
        """Make the server play the policy as it is now; return how many optimizer steps its weights have seen.

        The weights are in a folder that is whole before the server hears of it. Older ones are deleted once it has read
        the new ones.

        Args:
            policy: The policy.
            step: How many optimizer steps it has seen.

        Raises:
            ServerError: The server does not take the weights.
        """
        if self._update is None:
            return self.version
        update, target = self._update, self.folder / f"step-{step:06d}"

        def prepare() -> None:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.folder, STEPS)

        def send() -> None:
            update(target, step)
            for older in self.folder.glob(STEPS):
                if older != target:
                    remove(older)

        ranks.once(prepare)
        with ranks.replacement(target) as unfinished:
            save_model(policy, unfinished)
        ranks.once(send)
        self.version = step
        return step

    @torch.no_grad()
    def correct(
        self,
        batch: TrainingBatch,
        episodes: Sequence[Episode],
        policy: LanguageModel,
        objective: Objective,
        *,
        temperature: float,
        tokens_per_microbatch: int,
    ) -> tuple[TrainingBatch, dict[str, Any]]:
        """Measure how far the server's probabilities are from the trainer's, and weigh the tokens where that helps.

        Args:
            batch: The episodes of a step as tensors.
            episodes: The same episodes, each with a sampled token.
            policy: The policy, before it learns from them.
            objective: The objective; the module says what is done for which.
            temperature: The sampling temperature.
            tokens_per_microbatch: Most padded tokens of a forward pass.

        Returns:
            batch: The batch; for a policy gradient with the trainer's log-probabilities in place of the server's, and
                with `importance_N`.
            numbers: `logprob_drift`, `logprob_drift_p50` and `logprob_drift_p99`: the largest |log pi of the trainer -
                log pi of the server| and its quantiles, nats; for a policy gradient `importance_mean`, the mean of the
                weights before they are capped (1 on average where the drift is noise), and `importance_capped`, the
                share of tokens whose weight is.

        Raises:
            DriftError: The 99th percentile is above `rollout.max_drift`.
        """
        parts = list(token_batches(episodes, tokens_per_microbatch, batch.old_logp_N.device))
        logp_N = batch_logprobs(policy, batch, parts, temperature)
        gap_N = logp_N - batch.old_logp_N
        drift_N = gap_N.abs().double().cpu().numpy()
        numbers = {"logprob_drift": float(drift_N.max())}
        numbers |= {f"logprob_drift_p{q}": float(np.percentile(drift_N, q)) for q in (50, 99)}
        if not numbers["logprob_drift_p99"] <= self.config.max_drift:
            raise self._refusal(numbers["logprob_drift_p99"], temperature)
        if not objective.policy_gradient:
            return batch, numbers
        ratio_N = gap_N.exp()
        capped_N = ratio_N > self.config.importance_cap
        numbers |= {"importance_mean": _mean(ratio_N), "importance_capped": _mean(capped_N)}
        weight_N = ratio_N.clamp(max=self.config.importance_cap)
        return replace(batch, logp_N=logp_N, old_logp_N=logp_N, importance_N=weight_N), numbers

    def _refusal(self, drift: float, temperature: float) -> DriftError:
        means = "" if temperature == 1 else (", that it tells log-probabilities at the sampling temperature (vLLM: "
                                             "--logprobs-mode processed_logprobs)")  # fmt: skip
        behind = ("; with rollout.update 'none' it stays at the weights that it was started with"
                  if self._update is None else "")  # fmt: skip
        return DriftError(
            f"the server at {self.config.server} plays another policy than the one that learns: for one token in 100 "
            f"their log-probabilities differ by more than {drift:.3g} nats, and rollout.max_drift is "
            f"{self.config.max_drift:g}{behind}. See that it serves this model in a like precision{means}, and that it "
            f"takes the weights of every step; then go on with --resume"
        )


def _mean(x_N: Tensor) -> float:
    return float(x_N.double().mean())
