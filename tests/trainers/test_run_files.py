"""The names in a run folder: of the files of each round, and of everything that a finished run leaves."""

from __future__ import annotations

from pathlib import Path

from turngym.trainers.run_files import reference_folder, store_name


def test_the_first_round_has_the_base_and_later_rounds_have_numbers() -> None:
    folder = Path("runs") / "lake"
    assert reference_folder(folder, 1) == folder / "base"
    assert reference_folder(folder, 3) == folder / "references" / "round-3"
    assert [store_name(number) for number in (1, 2, 10)] == ["values.sqlite", "values-2.sqlite", "values-10.sqlite"]
