"""What a stage takes over from the information of an environment."""

from __future__ import annotations

import numpy as np
import pytest

from turngym.agents.hosting.stage import _measures


@pytest.mark.filterwarnings("error")
def test_measures_are_the_finite_real_numbers_that_not_every_environment_gives() -> None:
    info = {
        "whole": 3, "share": 0.5, "of numpy": np.float32(0.25), "count": np.int64(7), "potential": 0.5,
        "truth": True, "truth of numpy": np.True_, "text": "x", "nested": {"x": 1}, "infinite": float("inf"),
        "unknown": np.float64("nan"), "huge": 10**400, "complex": np.complex128(1 + 2j), "time": np.timedelta64(3, "s"),
    }  # fmt: skip
    assert _measures(info) == {"whole": 3.0, "share": 0.5, "of numpy": 0.25, "count": 7.0}
