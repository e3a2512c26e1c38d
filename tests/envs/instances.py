"""The first instances of every split of every registered environment, as one SHA-256 each, in `instances.json` beside
this file, and those of some families with other arguments.

A digest is over how episodes begin: observation, information, and what the generator of the environment draws next. No
instance may change, since runs, tables and papers name instances by split and index. Where a new environment is
registered, write its digests:

    python -m tests.envs.instances
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from turngym.envs import SPLITS, Split, env_ids, make_env
from turngym.strict_json import dumps

RECORDED = Path(__file__).with_name("instances.json")
REGISTERED, OTHERS = 1_000, 100
"""How many instances are digested, of a registered environment and of other families."""
FAMILIES: dict[str, list[dict[str, Any]]] = {
    "turngym/FrozenLake-v0": [
        {"size": 3, "corners": True},
        {"size": 2},
        {"size": 5, "frozen_probability": 0.4, "success_rate": 0.0, "view": "coordinates"},
        {"size": 16, "frozen_probability": 0.7},
        {"size": 7, "frozen_probability": 1.0, "action_budget": None},
    ],
    "turngym/Countdown-v0": [
        {"number_range": (1, 3), "target_range": (1, 9_999)},
        {"number_range": (100, 999)},
        {"num_numbers": 4, "number_range": (1, 9), "target_range": (24, 24)},
    ],
    "turngym/CountdownSteps-v0": [{"num_numbers": 4, "number_range": (7, 7)}],
    "turngym/Multiplication-v0": [{"digits": (5, 5)}, {"digits": (2, 1)}],
    "turngym/MultiplicationSteps-v0": [{"digits": (1, 4), "digit_order": "least_first"}],
}
"""Families that are not registered, by the environment whose arguments they change."""
Case = tuple[str, Split, int]
"""A family, a split of it, and how many of its instances are digested."""


def cases() -> list[Case]:
    """Return what is digested."""
    registered: list[Case] = [(env_id, split, REGISTERED) for env_id in env_ids() for split in SPLITS]
    others = [f"{env_id} {json.dumps(kwargs)}" for env_id, families in FAMILIES.items() for kwargs in families]
    return [*registered, *((family, split, OTHERS) for family in others for split in SPLITS)]


def instances_hash(family: str, split: Split, number: int) -> str:
    """Return the SHA-256 over the first instances of a split of a family, an id with or without arguments behind it."""
    env_id, _, kwargs = family.partition(" ")
    env = make_env(env_id, json.loads(kwargs or "{}"))
    digest = hashlib.sha256()
    for index in range(number):
        observation, info = env.reset(seed=index, options={"split": split, "index": index})
        digest.update(f"{dumps([observation, info, int(env.np_random.integers(2**63))])}\n".encode())
    env.close()
    return digest.hexdigest()


def all_hashes() -> dict[str, dict[str, str]]:
    """Return all digests, by family and split."""
    found: dict[str, dict[str, str]] = {}
    for family, split, number in cases():
        found.setdefault(family, {})[split] = instances_hash(family, split, number)
    return found


def recorded_hashes() -> dict[str, dict[str, str]]:
    """Return the digests that were written last."""
    hashes: dict[str, dict[str, str]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return hashes


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(all_hashes(), indent=2) + "\n", encoding="utf-8")
