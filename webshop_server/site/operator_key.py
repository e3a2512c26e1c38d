"""Whether the operator's key can be guessed by who reaches the site from elsewhere."""

from __future__ import annotations

import re

MIN_CHARS = 16
MIN_DISTINCT = 8
MIN_UNCOMMON = 10
"""How many characters must be left when words and rows that everybody tries are taken out."""
WORDS = (
    "password", "passwort", "passphrase", "operator", "turngym", "webshop", "secret", "admin", "letmein", "welcome",
    "changeme", "default", "testing", "master", "dragon", "monkey", "iloveyou", "example", "horse", "battery",
    "staple", "correct", "passw0rd", "p@ssw0rd", "trustno1", "sunshine", "princess", "football", "root", "user", "key",
    "test", "pass", "shop", "gym", "turn", "the", "localhost", "server", "host", "http", "www", "your", "this", "here",
    "insert", "please", "enter", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "spring", "summer", "autumn",
    "winter", "christmas", "superman", "batman", "troubador", "пароль", "my", "is",
)  # fmt: skip
ROWS = (
    "abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm", "yxcvbnm",
    "~!@#$%^&*()_+", "1q2w3e4r5t6y7u8i9o0p", "a1b2c3d4e5f6g7h8i9j0", "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "qazwsxedcrfvtgbyhnujm", "zaq12wsxcde34rfvbgt56yhn",
)  # fmt: skip
"""What is typed along the alphabet and the keyboard."""
_LIKE_LETTERS = str.maketrans("@$0134578", "asoieastb")
"""Letters that stand behind signs and digits, as in p@ssw0rd."""
_NUMBERS = re.compile(r"(?:19|20)\d\d|\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?")
"""Years, and addresses of machines."""
_RUN = 3
"""Successive characters of a row that count as one."""


def weakness(key: str) -> str:
    """Return why a key is too weak for a site that others reach, or nothing."""
    if len(key) < MIN_CHARS:
        return f"it has {len(key)} characters and needs {MIN_CHARS}"
    if len(set(key)) < MIN_DISTINCT:
        return f"it has {len(set(key))} different characters and needs {MIN_DISTINCT}"
    if key.isdigit():
        return "it is made of digits alone"
    if len(_uncommon(key)) < MIN_UNCOMMON:
        return "it is made of words, rows or repetitions that are tried first"
    return ""


def _uncommon(key: str) -> str:
    """Return a key without common words, years, rows of the alphabet or the keyboard, and repetitions."""
    rest = re.sub(r"(.{2,})(?=.*\1)", "", _NUMBERS.sub(" ", key.lower()))
    for row in (*ROWS, *(row[::-1] for row in ROWS)):
        for length in range(len(row), _RUN - 1, -1):
            for first in range(len(row) - length + 1):
                rest = rest.replace(row[first : first + length], " ")
    rest = rest.translate(_LIKE_LETTERS)
    for word in WORDS:
        rest = rest.replace(word, " ")
    return re.sub(r"(.)\1+", r"\1", rest).replace(" ", "")
