"""Instance 7 of a split is today what it was when it was recorded, and so are a thousand others."""

from __future__ import annotations

import pytest
from tests.envs.instances import cases, instances_hash, recorded_hashes

from turngym.envs import SPLITS, Split


def test_every_family_has_recorded_digests() -> None:
    recorded = recorded_hashes()
    assert {(family, split) for family, split, _ in cases()} == {(name, s) for name in recorded for s in SPLITS}
    assert all(len(set(by_split.values())) == len(SPLITS) for by_split in recorded.values())


@pytest.mark.parametrize(("family", "split", "number"), cases())
def test_instances_are_those_that_were_recorded(family: str, split: Split, number: int) -> None:
    assert instances_hash(family, split, number) == recorded_hashes()[family][split], (
        "an instance, its first observation or what chance brings in it has changed; nothing may change them"
    )
