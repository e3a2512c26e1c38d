"""Whether what a demonstrator says can be copied, token by token, from what it has read.

A small model learns in minutes to copy and hardly ever to spell what stands nowhere as it must be said: `lilac` behind
a bracket and ` lilac,` in a sentence may be tokens that have nothing in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel

ARGUMENT = re.compile(r"\[\s*(.*?)\s*\]", re.DOTALL)
"""What an action is about, as in `click[ lilac ]`."""


def copyable_share(model: LanguageModel, episodes: Iterable[Episode]) -> float | None:
    """Return the share of arguments that can be copied from what was read before them in the same row.

    What the rules name, such as a button, needs no copying and does not count.

    Args:
        model: Its tokenizer decides, by the tokens that it writes for whole replies.
        episodes: Demonstrations with their tokens.

    Returns:
        A share in [0, 1]; None where no reply has an argument in brackets.
    """
    counts = [_counts(model, episode) for episode in episodes]
    total = sum(of_episode[1] for of_episode in counts)
    return sum(of_episode[0] for of_episode in counts) / total if total else None


def _counts(model: LanguageModel, episode: Episode) -> tuple[int, int]:
    """Return how many arguments of an episode can be copied, and how many there are."""
    copied = total = 0
    for turn in episode.turns:
        argument = ARGUMENT.search(turn.action)
        if argument is None or not argument[1] or argument[1] in episode.instructions:
            continue
        total += 1
        read = _joined(episode.token_ids[turn.row_start : turn.span[0]])
        copied += _joined(_argument_ids(model, turn.action, episode.token_ids[slice(*turn.span)])) in read
    return copied, total


def _argument_ids(model: LanguageModel, action: str, ids: list[int]) -> list[int]:
    """Return the tokens of a reply that spell its argument, and no part of the bracket before or behind it."""
    first, last = action.index("[") + 1, action.rindex("]")
    places, end = [], 0
    for number, token in enumerate(ids):
        text = str(model.tokenizer.decode([token]))
        end += len(text)
        if text.strip() and first <= end - len(text.lstrip()) < last:
            places.append(number)
    return ids[places[0] : places[-1] + 1] if places else []


def _joined(ids: Iterable[int]) -> str:
    return "".join(f" {token}," for token in ids)
