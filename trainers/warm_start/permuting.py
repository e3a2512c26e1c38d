"""Demonstrations whose words are exchanged at random, so that nothing but copying helps to say them.

A clone may learn the words of its demonstrations by heart, and then cannot say others. In a demonstration whose words
are exchanged for others, everywhere alike, what is to be said can only be found where it was read.

Which words are exchanged is found in the demonstrations themselves, without knowledge of the game. A token stays as it
is if it holds anything but letters and marks at their edges; if it stands in half of the demonstrations or more, since
then it belongs to the game and not to an instance; or if a reply has it before anything that was read has, since then
it is not copied. The others change places with tokens of the same form alone: of the same spaces and marks.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from turngym.agents.episode import Episode

SAMPLE = 256
"""So many flawless demonstrations, or somewhat more, tell which tokens are exchanged."""
COMMON = 0.5
"""A token that stands in this share of the demonstrations belongs to the game."""
_WORD = re.compile(r"([^\w]*)[^\W\d_]+([^\w]*)")
"""Letters, with marks and spaces before and behind."""

Demonstrate = Callable[[float], list[Episode]]
"""From a mistake rate to a batch of demonstrations."""


def with_permuted(demonstrate: Demonstrate, share: float, tokenizer: Any, rng: np.random.Generator) -> Demonstrate:
    """Return a function that permutes the words of a share of the demonstrations.

    Args:
        demonstrate: Where the demonstrations come from; it is asked for some at once.
        share: The share, in [0, 1]. With 0, `demonstrate` is returned and nothing is asked or drawn.
        tokenizer: Tells the words of the tokens.
        rng: Draws which demonstrations are permuted, and how.
    """
    if share == 0.0:
        return demonstrate
    sample: list[Episode] = []
    while len(sample) < SAMPLE:
        sample += demonstrate(0.0)
    groups = exchangeable(sample, tokenizer)

    def permuting(mistake_rate: float) -> list[Episode]:
        episodes = demonstrate(mistake_rate)
        chosen = rng.random(len(episodes)) < share
        return [permuted(episode, groups, rng) if flag else episode
                for episode, flag in zip(episodes, chosen, strict=True)]  # fmt: skip

    return permuting


def exchangeable(episodes: Iterable[Episode], tokenizer: Any) -> list[list[int]]:
    """Return the tokens that are exchanged, in groups of one form, each in rising order.

    Args:
        episodes: Encoded demonstrations.
        tokenizer: Decodes single tokens.
    """
    count, standing, said_first = 0, Counter[int](), set[int]()
    for episode in episodes:
        count += 1
        standing.update(set(episode.token_ids))
        said_first |= _said_before_read(episode)
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    special = set(tokenizer.all_special_ids)
    for token in sorted(standing):
        word = _WORD.fullmatch(tokenizer.decode([token], clean_up_tokenization_spaces=False))
        if word and token not in special | said_first and standing[token] < COMMON * count:
            groups[word.groups()].append(token)
    return [group for group in groups.values() if len(group) > 1]


def _said_before_read(episode: Episode) -> set[int]:
    """Return the tokens that a reply has and nothing that the model sees before that reply."""
    said: set[int] = set()
    for turn in episode.turns:
        start, stop = turn.span
        said |= set(episode.token_ids[start:stop]) - set(episode.token_ids[turn.row_start : start])
    return said


def permuted(episode: Episode, groups: Iterable[list[int]], rng: np.random.Generator) -> Episode:
    """Return a demonstration whose tokens are exchanged, by a random permutation of each group.

    The stream is renamed alone, which is what is learned from; the texts stay as they were.
    """
    renamed: dict[int, int] = {}
    for group in groups:
        renamed.update(zip(group, rng.permutation(group).tolist(), strict=True))
    return replace(episode, token_ids=[renamed.get(token, token) for token in episode.token_ids])
