"""Keys that everybody tries are told from those that nobody guesses."""

from __future__ import annotations

from secrets import token_hex, token_urlsafe
from uuid import uuid4

import pytest

from turngym.webshop_server.site import weakness


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("a", "it has 1 characters and needs 16"),
        ("secret", "it has 6 characters"),
        ("x9$kQ2!mZ7#pL4w", "it has 15 characters"),
        ("a" * 40, "it has 1 different characters and needs 8"),
        ("abababababababab", "2 different characters"),
        ("passwordpassword", "different characters"),
        ("operatorpassword", "words"),
        ("1234567890abcdefgh", "words"),
        ("qwertyuiopasdfghjkl", "words"),
        ("9876543210zyxwvuts", "words"),
        ("TurngymWebshopPassword123", "words"),
        ("correcthorsebatterystaple", "words"),
        ("abc123!?abc123!?abc123!?", "repetitions"),
        ("aaaabbbbccccddddeeeeffffgggghhhh", "words"),
        ("31415926535897932384", "digits"),
        ("1q2w3e4r5t6y7u8i", "rows"),
        ("zaq12wsxcde34rfv", "rows"),
        ("!@#$%^&*()_+{}|:", "rows"),
        ("Tr0ub4dor&3Tr0ub4dor&3", "repetitions"),
        ("s3cr3t-P@ssw0rd-2026", "words"),
        ("http://127.0.0.1:3000", "words"),
        ("your-secret-key-here", "words"),
    ],
)
def test_a_weak_key_is_told_why(key: str, reason: str) -> None:
    assert reason in weakness(key)


def test_drawn_keys_are_strong() -> None:
    for _ in range(300):
        assert [weakness(key) for key in (token_urlsafe(16), token_hex(16), str(uuid4()))] == ["", "", ""]
    assert weakness("magpie-tundra-Vexing-41-lamp") == ""
