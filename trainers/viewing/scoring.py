"""How much likelier the policy has made what it said: log-ratios of sampled tokens to the reference."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch

from turngym._errors import InputError
from turngym.agents.episode import read_episodes
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.trainers.launch.run_folder import known_config
from turngym.trainers.launch.training import load_agent
from turngym.trainers.run_files import BASE
from turngym.trainers.viewing.episodes import episode_files


@torch.no_grad()
def log_ratios(folder: Path, episodes: int) -> dict[tuple[str, int], list[float]]:
    """Return log pi - log pi_ref of every sampled token of the episodes that are shown, nats.

    pi is what sampled, as it was recorded; the reference is the base of the run, the model before learning.

    Args:
        folder: The run's.
        episodes: Most episodes of each file.

    Returns:
        By file and place in it, in the order of the tokens.

    Raises:
        InputError: The run has no base.
    """
    if not (folder / BASE).is_dir():
        raise InputError(f"{folder} has no base to compare with")
    config = known_config(folder)
    model = load_agent(folder / BASE).model
    found: dict[tuple[str, int], list[float]] = {}
    for path in episode_files(folder):
        some = list(islice(read_episodes(path), episodes))
        for batch in token_batches(some, config.learning.tokens_per_microbatch, model.device):
            logp_N = sampled_logprobs(model, batch, config.learning.temperature).double().cpu()
            for place, member in enumerate(batch.members):
                told = [logprob for turn in some[member].turns for logprob in turn.logprobs]
                own = logp_N[batch.episode_N.cpu() == place].tolist()
                if len(told) == len(own):
                    found[path.stem, member] = [one - other for one, other in zip(told, own, strict=True)]
    return found
