"""Stored episodes as another shaping of the rewards would have paid them.

The store has the reward of every turn as it was paid, with the potential of its state and whether the reply could be
used. That is enough for another weight of the potential and another cost per turn; for other penalties as long as
replies that the game refuses and those without an action cost the same, since a stored turn does not tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from turngym._errors import InputError
from turngym.envs.shaping import plain_term, potential_gains
from turngym.trainers.config import ShapingConfig
from turngym.trainers.shaping import plain_amounts
from turngym.trainers.stage_one.store_rows import StoredTurn


def repaid(turns: Iterable[StoredTurn], paid: ShapingConfig, shaping: ShapingConfig) -> Iterator[StoredTurn]:
    """Yield turns with the rewards of another shaping.

    Args:
        turns: Whole episodes one after the other, as `ValueStore.turns` yields them.
        paid: The shaping that they were paid by.
        shaping: The other one, of the same potential.

    Raises:
        InputError: It has penalties of two sizes, or had them, and a reply was not usable.
    """
    weight = shaping.potential_weight - paid.potential_weight
    for _, episode in groupby(turns, lambda turn: (turn.behaviour, turn.instance, turn.sample)):
        played = list(episode)
        gains = potential_gains([turn.potential for turn in played])
        for turn, gain in zip(played, gains, strict=True):
            yield replace(turn, reward=turn.reward + weight * gain + _plain(turn, shaping) - _plain(turn, paid))


def _plain(turn: StoredTurn, shaping: ShapingConfig) -> float:
    if not turn.valid and shaping.invalid_penalty != shaping.format_penalty:
        raise InputError(
            "the stored episodes of stage 1 do not tell replies that the game refuses from those without an action, so "
            "they cannot be valued with penalties of two sizes: shaping.invalid_penalty and shaping.format_penalty "
            "must be the same, at the start and now"
        )
    return plain_term(valid=turn.valid, well_formed=True, **plain_amounts(shaping))
