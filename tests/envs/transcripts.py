"""Transcripts of every registered environment, as one SHA-256 each, in `transcripts.json` beside this file.

A transcript is what an environment says to scripted and hostile replies on a few instances of every split. Where a game
is meant to say something else than before, write the hashes anew, and say in the change log what play is now:

    python -m tests.envs.transcripts
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from turngym.envs import SPLITS, Oracle, Rule, Sampling, TextEnv, env_ids, make_env
from turngym.envs.testing import Policy, noise_policy, oracle_policy, play, random_policy
from turngym.strict_json import dumps

RECORDED = Path(__file__).with_name("transcripts.json")
INDICES = (0, 7)
DIGITS = 9
"""Of a number in a transcript: the last bits may be the processor's."""


def transcript_hash(env_id: str) -> str:
    """Return the SHA-256 of the transcript of an environment."""
    digest = hashlib.sha256()
    for line in _transcript(env_id):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _transcript(env_id: str) -> Iterator[str]:
    env: Any = make_env(env_id)
    yield env.unwrapped.instructions
    for split in SPLITS:
        for index in INDICES:
            for seed, policy in enumerate(_policies(env.unwrapped)):
                for moment in play(env, policy, seed=seed, split=split, index=index):
                    yield dumps(_rounded(vars(moment)))
    env.close()


def _policies(env: TextEnv) -> list[Policy]:
    scripted: list[Policy] = [oracle_policy] if isinstance(env, Oracle) else []
    if isinstance(env, Rule):
        scripted.append(lambda inside: inside.rule_action() if isinstance(inside, Rule) else "")
    if isinstance(env, Sampling):
        scripted.append(random_policy(1))
    return [*scripted, noise_policy(2)]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    return {name: _rounded(item) for name, item in value.items()} if isinstance(value, dict) else value


def all_hashes() -> dict[str, str]:
    """Return the hash of every registered environment by its id."""
    return {env_id: transcript_hash(env_id) for env_id in env_ids()}


def recorded_hashes() -> dict[str, str]:
    """Return the hashes that were written last."""
    hashes: dict[str, str] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return hashes


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(all_hashes(), indent=2) + "\n", encoding="utf-8")
