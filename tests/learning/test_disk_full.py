"""A disk that is full at any moment ends a run in one sentence; with room made, it goes on to the same bits.

The disk is a file system in memory of so many kilobytes, which takes the rights of the administrator.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TINY = """
[env]
kwargs = {size = 2}
[model]
hidden_size = 16
layers = 1
heads = 2
copying = false
max_reply_tokens = 4
[warm_start]
success_low = 0.0
success_high = 1.0
check_episodes = 4
course_steps = 10
batch_size = 4
[values]
instances = 8
samples = 4
extra_samples = 2
[learning]
steps = 3
batch_size = 8
[evaluation]
episodes = 4
[run]
checkpoint_every = 1
"""
ROOM = 8192
SIZES = (40, 330, 460, 560, 760)
"""Kilobytes: full before and in the warm start, at the first checkpoint, and at later ones."""
WEIGHTS = "checkpoints/step-000003/policy/model.safetensors"


def mounted(*words: str) -> bool:
    """Run a command about file systems and return whether it was allowed."""
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk whose size can be changed."""
    place = tmp_path / "disk"
    place.mkdir()
    if not mounted("mount", "-t", "tmpfs", "-o", f"size={ROOM}k", "tmpfs", str(place)):
        pytest.skip("a file system of a given size takes the rights of the administrator")
    yield place
    mounted("umount", "-l", str(place))


def main(place: Path) -> None:
    """Train on the disk at each size, go on with room, and print the exit codes and whether the bits are the same."""
    from turngym.cli import main as turngym
    from turngym.trainers.run_files import CONFIG_FILE

    preset = place / "tiny.toml"
    preset.write_text(TINY)
    begin = ["train", "FrozenLake", "--preset", str(preset), "--run.root", str(place)]
    assert turngym([*begin, "--run.name", "alone"]) == 0
    whole = (place / "alone" / WEIGHTS).read_bytes()
    subprocess.run(["rm", "-r", str(place / "alone")], check=True)
    for size in SIZES:
        run = place / str(size)
        mounted("mount", "-o", f"remount,size={size}k", str(place))
        print(f"# {size}", file=sys.stderr)
        code = turngym([*begin, "--run.name", run.name])
        mounted("mount", "-o", f"remount,size={ROOM}k", str(place))
        again = ["--resume", str(run)] if (run / CONFIG_FILE).is_file() else [*begin[1:], "--run.name", run.name]
        print("@", size, code, turngym(["train", *again]), (run / WEIGHTS).read_bytes() == whole)
        subprocess.run(["rm", "-r", str(run)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_full_disk_costs_a_sentence_and_nothing_else(disk: Path) -> None:
    program = subprocess.run(
        [sys.executable, __file__, str(disk)], capture_output=True, text=True, check=False, timeout=250,
        env={**os.environ, "TMPDIR": str(disk.parent)},
    )  # fmt: skip
    assert program.returncode == 0, program.stderr
    ends = [line.split()[1:] for line in program.stdout.splitlines() if line.startswith("@ ")]
    assert ends == [[str(size), "1", "0", "True"] for size in SIZES]
    said = re.split(r"^# \d+\n", program.stderr, flags=re.MULTILINE)[1:]
    for size, lines in zip(SIZES, said, strict=True):
        assert re.fullmatch(r"turngym: .*the disk is full; make room and try again.*\n", lines), lines
        again = f"continue with: turngym train --resume {shlex.quote(str(disk / str(size)))}"
        assert again in lines or size == SIZES[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
