"""Secrets of addresses: what is taken out, what is put back, and what other texts and addresses keep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from turngym._errors import InputError
from turngym.credentials import VARIABLE, password_of, redacted, with_credentials, without_credentials

SECRET = "s3cret-KEY_9"
ADDRESSES = {
    f"http://operator:{SECRET}@127.0.0.1:3000": "http://127.0.0.1:3000",
    f"https://{SECRET}@host/path?x=1": "https://host/path?x=1",
    f"http://operator:{SECRET}@[::1]:3000/a": "http://[::1]:3000/a",
    f"http://:{SECRET}@host": "http://host",
    f"http://a@b:{SECRET}@host/": "http://host/",
    f"http://operator:{SECRET}/with/slash@host:3000/": "http://host:3000/",
    f"http://operator:a%20{SECRET}%2F@host": "http://host",
    f"postgres+psycopg://me:{SECRET}@db.host:5432/games": "postgres+psycopg://db.host:5432/games",
    f"HTTPS://Me:{SECRET}@Host": "HTTPS://Host",
    f"https://host/?key={SECRET}": "https://host/?key=***",
    f"https://host/?page=2&api_key={SECRET}&x=y#top": "https://host/?page=2&api_key=***&x=y#top",
    f"https://host/a?X-Amz-Signature={SECRET}": "https://host/a?X-Amz-Signature=***",
    f"https://host/#access_token={SECRET}": "https://host/#access_token=***",
    f"https://host/?api%5Fkey={SECRET}&auth[token]={SECRET}": "https://host/?api%5Fkey=***&auth[token]=***",
    f"https://host/?operatorkey={SECRET}&jwt={SECRET}": "https://host/?operatorkey=***&jwt=***",
    f"https://host/?pass={SECRET}&passphrase={SECRET}": "https://host/?pass=***&passphrase=***",
    f"see http://a:{SECRET}@one and http://b:{SECRET}@two": "see http://one and http://two",
}
HARMLESS = [
    "", "a text", "me@host", "user:password@host", "http://host", "http://host:3000/@user/page", "http://[::1]:80/a@b",
    "https://host/?keyword=shoes&keys=3&monkey=1&author=me&design=2",
    "https://host/?passage=4&pattern=5&compass=6", "https://host/?next=a@b", "key=value",
]  # fmt: skip


@pytest.mark.parametrize(("whole", "clean"), ADDRESSES.items())
def test_secrets_are_taken_out_and_put_back(whole: str, clean: str) -> None:
    assert without_credentials(whole) == clean == redacted(whole)
    assert with_credentials(clean) == whole
    assert without_credentials(clean) == clean and with_credentials(clean) == whole


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert without_credentials(text) == with_credentials(text) == redacted(text) == text
    assert os.environ[VARIABLE] == ""


def test_values_of_every_shape() -> None:
    whole = f"http://operator:{SECRET}@h"
    value: dict[str, Any] = {"a": [whole, 3, None], "b": {"c": (whole, True)}, "d": 2.5, "e": {whole}}
    clean = without_credentials(value)
    assert clean == {"a": ["http://h", 3, None], "b": {"c": ("http://h", True)}, "d": 2.5, "e": {whole}}
    assert with_credentials(clean) == value and value["a"][0] == whole


def test_the_last_secret_of_an_address_counts() -> None:
    for number in range(3):
        without_credentials(f"http://me:{SECRET}{number}@h")
    assert with_credentials("http://h") == f"http://me:{SECRET}2@h"


def test_passwords_are_decoded() -> None:
    assert password_of("http://operator:a%20key%2Fwith%3A%20signs@h") == "a key/with: signs"
    assert password_of("http://token@h") == password_of("http://h:80/") == password_of("") == ""


def test_messages_lose_every_known_secret() -> None:
    assert redacted(f"cannot log in with {SECRET}") == f"cannot log in with {SECRET}"
    without_credentials([f"http://me:{SECRET}%21@h", "http://me:abc@i", "https://h/?token=t0ken"])
    assert redacted(f"no {SECRET}%21, no {SECRET}!, no t0ken, but abc") == "no ***, no ***, no ***, but abc"
    assert str(InputError(f"http://you:{SECRET}@there refuses {SECRET}!")) == "http://there refuses ***"


def test_processes_that_are_started_know_them() -> None:
    whole = f"http://operator:{SECRET}@h"
    without_credentials(whole)
    program = "from turngym.credentials import with_credentials; print(with_credentials('http://h'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{whole}\n"


@pytest.mark.parametrize("text", ["{", "[]", '{"http://h": 3}'])
def test_a_variable_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ValueError, match=f"the environment variable {VARIABLE} must be a JSON object"):
        with_credentials("http://h")
    assert str(InputError("http://me:pass@h is none")) == "http://h is none"
    monkeypatch.setenv(VARIABLE, json.dumps({"http://h": "http://me@h"}))
    assert with_credentials("http://h") == "http://me@h"
