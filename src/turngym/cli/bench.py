"""`turngym bench`: tables of many agents in the shop, and what environments pay to those who do nothing of the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join
from typing import Annotated, Literal

from rich.console import Console
from tyro.conf import UseAppendAction

from turngym._durable import replacement
from turngym.benchmarks.audit import EPISODES, audit, page, record, too_much
from turngym.cli.errors import UsageError
from turngym.cli.evaluate import check_amounts
from turngym.cli.options import JsonObject, parse
from turngym.cli.terminal import TerminalProgress, make_console
from turngym.envs import env_ids
from turngym.envs.finding import check_env, resolve_env
from turngym.names import nearest
from turngym.strict_json import dumps

ProtocolName = Literal["fixed", "faithful", "gigpo", "original"]


@dataclass(frozen=True)
class WebShopOptions:
    """Measure agents in the shop, by catalogue and protocol; the same command goes on after an interruption."""

    agent: Annotated[list[str], UseAppendAction] = field(default_factory=list)
    """A run folder, which stands for its base and its last policy, a checkpoint folder, or a registered agent; it may
    be given several times. Runs that differ in their seeds alone share a row, and so do all of one --agent NAME=..."""
    scripted: list[str] = field(default_factory=lambda: ["random", "rule", "shopper", "oracle"])
    """Scripted agents that play as well: random, rule, shopper, shopper-details, oracle or a registered one."""
    decoding: list[Literal["sampled", "greedy"]] = field(default_factory=lambda: ["sampled", "greedy"])
    """How models choose their tokens; sampled is at their own temperature."""
    protocols: list[ProtocolName] = field(default_factory=lambda: ["fixed", "faithful", "gigpo", "original"])
    """By which protocols."""
    num_products: list[int] = field(default_factory=list)
    """Sizes of generated catalogues; 1000 if neither this nor a catalogue is named."""
    catalogue: list[Path] = field(default_factory=list)
    """Catalogue files, or folders with the files of the original."""
    index: list[Path] = field(default_factory=list)
    """Saved indexes over these catalogues, in the same order."""
    env_kwargs: JsonObject = field(default_factory=dict)
    """Further arguments of the environment at every protocol, as a JSON object such as '{"max_episode_steps": 30}'."""
    split: Literal["train", "validation", "test"] = "test"
    """Which goals."""
    episodes: int | None = None
    """How many goals, each played once by every run; all of the split unless given."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Seeds of the agents' chance; those that do not draw play with the first alone."""
    slots: int = 128
    """Episodes played at once."""
    out: Path = Path("runs/bench_webshop")
    """The folder of cells, page (webshop.md), figures (webshop.csv, webshop.json) and picture (webshop.png)."""


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
    """Run a part of the command and return its exit code."""
    parts: Mapping[str, Callable[[Sequence[str], Console], int]] = {"webshop": run_webshop, "audit": run_audit}
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: turngym bench {{{','.join(parts)}}} [ARGUMENTS]; each has a --help of its own")
        return 0
    if words[0] not in parts:
        raise UsageError(f"bench has no part {words[0]!r}{nearest(words[0], parts)}")
    return parts[words[0]](words[1:], make_console())


def run_webshop(words: Sequence[str], console: Console) -> int:
    """Play what was not played yet, and write the table; the exit code is 1 where an episode ended in an error."""
    options = parse(WebShopOptions, words, command="bench webshop")
    check_webshop(options)
    from turngym.benchmarks import webshop  # needs the packages of the shop
    from turngym.cli.bench_players import find_players
    from turngym.cli.bench_tables import stand_table

    stands = webshop.stands(options.catalogue, options.index, options.num_products, options.protocols,
                            options.env_kwargs)  # fmt: skip
    players = find_players(options.scripted, options.agent, options.decoding, options.slots)
    if not players:
        raise UsageError("nobody plays: name scripted agents with --scripted, or others with --agent")
    for stand in stands:
        for presentation in {dumps(player.presentation): player.presentation for player in players}.values():
            check_env(stand.env_id, {**stand.arguments, **presentation})
    cells = list(webshop.plan(stands, players, seeds=options.seeds, split=options.split,
                              episodes=options.episodes or 0, slots=options.slots))  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    with TerminalProgress(console) as progress:
        try:
            results = webshop.play_cells(cells, options.out, progress)
        except KeyboardInterrupt:
            console.print(f"{options.out} holds the cells that were played; the same command goes on.", soft_wrap=True)
            raise
    notes = webshop.write_report(options.out, results, join(["turngym", "bench", "webshop", *words]))
    for rows in webshop.by_stand(webshop.rows_of(results)).values():
        console.print(stand_table(rows))
        console.print(webshop.ceiling_note(rows), soft_wrap=True)
        console.print()
    errors = webshop.error_notes(results)
    files = ", ".join(sorted(path.name for path in options.out.glob("webshop.*")))
    for note in (*webshop.repeated(results), *errors, *webshop.left_over(options.out, cells), *notes):
        console.print(note, soft_wrap=True)
    console.print(f"{options.out}: {files}", soft_wrap=True)
    return int(bool(errors))


def check_webshop(options: WebShopOptions) -> None:
    """Check amounts, and that lists hold what goes together.

    Raises:
        UsageError: They do not.
    """
    check_amounts(slots=options.slots, **({} if options.episodes is None else {"episodes": options.episodes}))
    for seed in options.seeds:
        check_amounts(seed=seed)
    for name in ("protocols", "decoding", "seeds"):
        if not getattr(options, name):
            raise UsageError(f"--{name} needs a value")
    if options.index and len(options.index) != len(options.catalogue):
        raise UsageError(f"--index needs one for each --catalogue, {len(options.catalogue)} in the same order, got "
                         f"{len(options.index)}")  # fmt: skip


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
        keep(options.out, {"audit.md": written, "audit.json": dumps(record(findings), indent=1) + "\n"})
    return int(bool(too_much(findings)))


def keep(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts to files of a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with replacement(folder / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
