"""`turngym bench`: tables of agents, whether figures of pages still come out, and what is paid for nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join

from rich.console import Console

from turngym.benchmarks.audit import EPISODES, audit, page, record, too_much
from turngym.benchmarks.page import write_files
from turngym.cli.errors import UsageError
from turngym.cli.evaluate import check_amounts
from turngym.cli.options import parse
from turngym.cli.terminal import TerminalProgress, make_console
from turngym.envs import env_ids
from turngym.envs.finding import check_env, resolve_env
from turngym.extras import install_command
from turngym.names import nearest
from turngym.strict_json import dumps

SUMMARIES = {
    "games": "environments x agents, beside the random floor and the optimum",
    "webshop": "agents in the shop, by catalogue and protocol",
    "check": "which figures of README.md and docs/ no longer come out",
    "audit": "what environments pay to players that do nothing of the task",
}


@dataclass(frozen=True)
class AuditOptions:
    """Let players that do nothing of the task play every environment, and say what they earn."""

    envs: list[str] = field(default_factory=list)
    """Which environments; those that come with turngym if none is named."""
    episodes: int = EPISODES
    """How many test instances of each, played once by every player."""
    out: Path | None = None
    """A folder for audit.md and audit.json."""


def run(words: Sequence[str]) -> int:
    """Run a part of the command and return its exit code.

    Raises:
        SystemExit: Help was asked for and given.
        UsageError: There is no such part.
    """
    parts: Mapping[str, Callable[[Sequence[str], Console], int]] = {
        "games": run_games, "webshop": run_webshop, "check": run_check, "audit": run_audit,
    }  # fmt: skip
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: turngym bench {{{','.join(parts)}}} [ARGUMENTS]; each has a --help of its own\n")
        width = max(map(len, parts))
        print("\n".join(f"  {name:<{width}}  {summary}" for name, summary in SUMMARIES.items()))
        raise SystemExit(0)
    if words[0] not in parts:
        raise UsageError(f"bench has no part {words[0]!r}{nearest(words[0], parts)}")
    return parts[words[0]](words[1:], make_console())


def run_games(words: Sequence[str], console: Console) -> int:
    """Measure agents in environments."""
    from turngym.cli import bench_games

    return bench_games.run(words, console)


def run_check(words: Sequence[str], console: Console) -> int:
    """Check the tables of pages."""
    from turngym.cli import bench_check

    return bench_check.run(words, console)


def run_webshop(words: Sequence[str], console: Console) -> int:
    """Measure agents in the shop, which needs packages of its own."""
    try:
        from turngym.cli import bench_webshop
    except ModuleNotFoundError as error:
        raise UsageError(f"bench webshop needs {error.name}: {install_command('webshop')}") from error
    return bench_webshop.run(words, console)


def run_audit(words: Sequence[str], console: Console) -> int:
    """Audit environments; the exit code is 1 where one pays what none should."""
    options = parse(AuditOptions, words, command="bench audit")
    check_amounts(episodes=options.episodes)
    ids = list(dict.fromkeys(map(resolve_env, options.envs))) or env_ids()
    for env_id in ids:
        check_env(env_id, {})
    with TerminalProgress(console) as progress:
        findings = audit(ids, options.episodes, progress)
    written = page(findings, join(["turngym", "bench", "audit", *words]))
    console.print(written, soft_wrap=True)
    if options.out is not None:
        write_files(options.out, {"audit.md": written, "audit.json": dumps(record(findings), indent=1) + "\n"})
    return int(bool(too_much(findings)))
