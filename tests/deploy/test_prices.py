"""What a rented machine costs a second, and cards that nobody rents out."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from deploy.prices import CPU_PRICE, GPU_PRICES, LIST_DATE, MEMORY_PRICE, Machine

from turngym._errors import InputError


def test_the_price_is_that_of_card_cores_and_memory() -> None:
    machine = Machine(gpu="l4", cpu=3.0, memory=10)
    assert machine.gpu == "L4"
    assert machine.price == pytest.approx(GPU_PRICES["L4"] + 3 * CPU_PRICE + 10 * MEMORY_PRICE)
    assert Machine(gpu="none", cpu=3.0, memory=10).price == pytest.approx(3 * CPU_PRICE + 10 * MEMORY_PRICE)


def test_a_price_that_is_given_is_that_of_the_whole_machine() -> None:
    machine = Machine(gpu="H100", price_per_hour=7.2)
    assert machine.price == pytest.approx(0.002)
    assert "$7.2000 an hour, as given" in str(machine)


def test_the_list_says_of_when_it_is_and_who_is_to_check_it() -> None:
    assert date.fromisoformat(LIST_DATE).year >= 2026
    assert f"by the list of {LIST_DATE}, which is for you to check" in str(Machine())


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"gpu": "H10"}, "there is no GPU 'H10' with a known price; did you mean 'H100'?"),
        ({"gpu": "L4:8"}, "there is no GPU 'L4:8' with a known price; did you mean 'L4'?"),
        ({"gpu": ""}, "there is no GPU '' with a known price; choose from T4, "),
        ({"cpu": 0.0}, "--cpu takes cores, above 0 and at most 64, not 0"),
        ({"cpu": float("nan")}, "--cpu takes cores, above 0 and at most 64, not nan"),
        ({"memory": -1}, "--memory takes GiB, 1 to 512, not -1"),
        ({"price_per_hour": 0.0}, "--price-per-hour takes dollars above 0, not 0"),
        ({"price_per_hour": float("inf")}, "--price-per-hour takes dollars above 0, not inf"),
    ],
)
def test_what_cannot_be_rented_is_a_sentence(named: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        Machine(**named)  # type: ignore[arg-type]


def test_there_is_one_table() -> None:
    folder = Path(__file__).parents[2] / "deploy"
    holding = [path.name for path in folder.glob("*.py") if str(GPU_PRICES["H100"]) in path.read_text("utf-8")]
    assert holding == ["prices.py"]
