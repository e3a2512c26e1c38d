"""The error about input: other errors about values become one, with the same message."""

from __future__ import annotations

import pytest

from turngym._errors import InputError, input_errors


def test_a_value_error_becomes_an_input_error() -> None:
    with pytest.raises(InputError, match=r"^too small$") as caught, input_errors():
        raise ValueError("too small")
    assert isinstance(caught.value.__cause__, ValueError)


def test_input_errors_and_all_others_pass() -> None:
    for error in (InputError("unknown"), KeyError("key")):
        with pytest.raises(type(error)) as caught, input_errors():
            raise error
        assert caught.value is error
