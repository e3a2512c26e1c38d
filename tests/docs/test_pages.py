"""The pages that are made from the code, and what the pages by hand say of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import gymnasium as gym
import pytest
from tests.cli.tiny_run import TINY
from tests.docs.blocks import ROOT, blocks, commands, is_concrete

import site_pages
from turngym.arguments import Count, Positive, Range, Share
from turngym.cli import main
from turngym.envs import env_ids, turn_limit
from turngym.trainers.config import ALGORITHMS, OBJECTIVE_CONFIGS
from turngym.trainers.config.section import setting_docs
from turngym.trainers.config.train import KINDS
from turngym.trainers.launch import checking
from turngym.trainers.monitoring.alarms import FIGURE, Thresholds
from turngym.trainers.objectives import OBJECTIVES
from turngym.webshop_server.catalogue import open_catalogue

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NAV = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]


def cell(text: str) -> str:
    """Return a docstring as it stands in a table."""
    return site_pages.paragraph(text).replace("|", r"\|")


def test_every_page_has_its_place_in_the_navigation() -> None:
    places = re.findall(r"[\w./*]+\.md$", NAV, re.MULTILINE)
    assert len(places) == len(set(places))
    assert {path.relative_to(DOCS).as_posix() for path in PAGES} | {*site_pages.page_names()} <= {*places}
    results = {f"benchmarks/results/{path.name}" for path in (ROOT / "benchmarks" / "results").glob("*.md")}
    assert results <= {*places}


# Environments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", env_ids())
def test_the_page_of_an_environment(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_pages, "INSTANCES", 2)
    page = site_pages.environment_page(env_id)
    headings = re.findall(r"^## (.*)", page, re.MULTILINE)
    assert headings[0] == "Description" and headings[-2:] == ["The rules as the agent reads them", "An episode"]
    assert {"Action Space", "Observation Space", "Rewards", "Episode End"} <= {*headings}
    assert f"| turn limit | {turn_limit(env_id)} |" in page
    assert "\n".join(site_pages.picture(env_id, site_pages.oracle_episode(env_id).drawings)) in page
    assert "Return " in page.splitlines()[-2] and "> " in page.partition("## An episode")[2]


class Figure(HTMLParser):
    """The elements of a picture, each with its attributes."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.elements: dict[str, dict[str, str | None]] = {}
        self.feed("\n".join(lines))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] = dict(attrs)


@pytest.mark.parametrize("env_id", env_ids())
def test_the_picture_of_an_environment_is_whole_in_itself(env_id: str) -> None:
    drawings = site_pages.oracle_episode(env_id).drawings
    lines = site_pages.picture(env_id, drawings)
    assert lines == site_pages.picture(env_id, site_pages.oracle_episode(env_id).drawings)
    assert "" not in lines[:-1] and lines[-1] == ""  # Markdown would end the element at an empty line
    elements = Figure(lines).elements
    if "img" in elements:
        address, words = elements["img"]["src"] or "", elements["img"]["alt"]
        source = unquote(address.removeprefix("data:image/svg+xml;charset=utf-8,"))
        assert address.startswith("data:") and source.startswith("<svg ")
        assert [one.words for one in drawings if one.source == source] == [words]
    else:
        frame = elements["iframe"]
        source = frame["srcdoc"] or ""
        assert frame["sandbox"] == "" and "src" not in frame and "<style" not in "".join(lines)
        assert source == drawings[-2].source and "Buy Now" in source
    assert not re.search(r"<script|<link|@import|url\(|\b(src|href)=\"?(https?:|//|/static)", source)
    assert re.findall(r"https?://[^\s\"]*", source) in ([], ["http://www.w3.org/2000/svg"])


def test_a_picture_is_of_what_was_made_or_of_the_way() -> None:
    def seen(name: str) -> str:
        lines = site_pages.picture(f"turngym/{name}-v0", site_pages.oracle_episode(f"turngym/{name}-v0").drawings)
        return f"{Figure(lines).elements['img']['alt']} {lines[-3]}"

    assert re.search(r": you at row \d .* 10 moves\. .*before its last action", seen("FrozenLake8x8"))
    assert re.search(r"Solved\. .*at its end", seen("CountdownSteps"))
    assert re.search(r"is right\. .*at its end", seen("Multiplication"))
    assert site_pages.picture("turngym/FrozenLake-v0", []) == []


def test_the_transcript_is_what_the_environment_says() -> None:
    rules, transcript, _ = site_pages.oracle_episode("turngym/FrozenLake-v0")
    env: Any = gym.make("turngym/FrozenLake-v0")
    observation, _ = env.reset(seed=0)
    assert rules == env.unwrapped.instructions
    assert transcript.startswith(f"{observation}\n\n> {env.unwrapped.oracle_action()}\n")
    assert transcript.endswith("Return 1, success true.")


def test_the_optimum_and_the_floor_are_told_where_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_pages, "INSTANCES", 4)
    lake = site_pages.environment_page("turngym/FrozenLake-v0")
    assert "| optimum, mean of the first 4 test instances | 1.000, exact |" in lake
    assert re.search(r"\| random agent, the same 4 \| 0\.\d+, exact \|", lake)
    assert "known by play alone" in site_pages.environment_page("turngym/WebShop-v0")


# Configuration and objectives -------------------------------------------------------------------------------------


def test_every_setting_is_on_the_page_with_its_docstring() -> None:
    page = site_pages.configuration_page()
    for kind in [*KINDS.values(), *OBJECTIVE_CONFIGS.values()]:
        for part in fields(kind):
            assert f"| `{part.name}` |" in page
            assert cell(setting_docs(kind)[part.name]) in page
    anchors = re.findall(r"\{ #([\w-]+) \}", page)
    assert len(anchors) == len(set(anchors)) == len(KINDS) + len(OBJECTIVE_CONFIGS) + 1


def test_an_objective_shows_what_differs_from_all() -> None:
    page = site_pages.configuration_page()
    of_grpo = page.partition("#objective-grpo }")[2].partition("\n###")[0]
    assert "| `group_size` | a whole number, at least 1 | `4` |" in of_grpo
    assert "| `kl_coef` | a number, at least 0 | `0.001` |" in of_grpo and "filter_share" not in of_grpo


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Count, "a whole number, at least 1"),
        (Share, "a number, in [0, 1]"),
        (Positive | None, "a number, above 0; or none"),
        (Literal["token", "turn"], "`token` or `turn`"),
        (bool, "`true` or `false`"),
        (list[str], "a list, each text"),
        (list[Positive], "a list, each number, above 0"),
        (dict[str, Any], "a table"),
        (Annotated[int, Range(low=1, high=8)], "a whole number, in [1, 8]"),
    ],
)
def test_a_type_in_words(hint: Any, words: str) -> None:
    assert site_pages.type_words(hint) == words


def test_every_objective_is_listed_once_with_its_source() -> None:
    page = site_pages.objectives_page()
    for objective in OBJECTIVES.values():
        if objective.loss.__module__.startswith("turngym."):
            assert page.count(f"| [`{objective.name}`](") == 1
            assert cell(objective.source) in page


def test_stars_are_stars_outside_of_code() -> None:
    assert site_pages.paragraph("V* of `a * b`\n  and <x>") == r"V\* of `a * b` and &lt;x>"
    assert site_pages.table(("a",), [("`x | y`",)])[-1] == r"| `x \| y` |"


# What pages by hand say -------------------------------------------------------------------------------------------


def section(family: str, title: str) -> str:
    """Return a section of the page of a family of objectives."""
    page = (DOCS / "algorithms" / f"{family}.md").read_text("utf-8")
    assert f"\n## {title}\n" in page
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def listed(family: str) -> list[str]:
    """Return the names of a family's table of objectives."""
    return re.findall(r"^\| `(\w+)` \|", section(family, "Objectives"), re.MULTILINE)


def test_every_objective_is_on_the_page_of_its_family_alone() -> None:
    families = {family: listed(family) for family in site_pages.FAMILIES}
    own = [each for each in OBJECTIVES.values() if each.loss.__module__.startswith("turngym.")]
    homes = {each.name: each.loss.__module__.rpartition(".")[2] for each in own}
    homes |= {name: homes[objective] for name, (objective, _) in ALGORITHMS.items()}
    assert sorted(name for names in families.values() for name in names) == sorted(homes)
    assert {name: family for family, names in families.items() for name in names} == homes


@pytest.mark.parametrize("family", site_pages.FAMILIES)
def test_the_page_of_a_family(family: str) -> None:
    text = section(family, "Objectives")
    assert f"(../reference/objectives.md#{family})" in text
    assert f"{{ #{family} }}" in (page := site_pages.objectives_page()) and f"(../algorithms/{family}.md)" in page
    for name in {*listed(family)} - {*ALGORITHMS}:
        assert [paper for paper in re.findall(r"arXiv:[\d.]*\d", OBJECTIVES[name].source) if paper not in text] == []
    path = DOCS / "algorithms" / f"{family}.md"
    assert [words[0] for words in commands(path)] == ["train"] and "$$" in path.read_text("utf-8")


@pytest.mark.parametrize("family", site_pages.FAMILIES)
def test_settings_of_a_family_have_the_defaults_that_its_page_says(family: str) -> None:
    said: dict[str, dict[str, str]] = {}
    for setting, cell in re.findall(r"^\| `(\w+)` \| (.*?) \|", section(family, "Settings that matter"), re.MULTILINE):
        general, *others = cell.split("; ")
        said[setting] = {"": general}
        for value, *names in (re.findall(r"`([^`]*)`", other) for other in others):
            said[setting] |= dict.fromkeys(names, f"`{value}`")
    read = dict.fromkeys(said, 0)
    for name in listed(family):
        objective, settings = ALGORITHMS.get(name, (name, {}))
        parts = {part.name: part for part in fields(OBJECTIVE_CONFIGS[objective])}
        for setting in said.keys() & parts.keys():
            value = site_pages.toml(settings.get(setting, site_pages.default_of(parts[setting])))
            assert said[setting].get(name, said[setting][""]) in (f"`{value}`", value), (name, setting)
            read[setting] += 1
    assert read and all(read.values())


def test_every_alarm_is_explained_with_its_threshold() -> None:
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    rows = {row.split("|")[1].strip(): row for row in page.splitlines() if row.startswith("| `")}
    assert {f"`{kind}`" for kind in FIGURE} == {*rows}
    limits = Thresholds()
    assert f"| {limits.std_steps} steps |" in rows["`reward_std`"]
    assert f"{limits.grad_norm_ratio:g} times" in rows["`grad_norm`"]
    assert f"| {f'{limits.kl_tax:g}'[1:]} |" in rows["`kl_tax`"]
    assert f"below {f'{limits.validation_success:g}'[1:]} | {limits.validations} " in rows["`validation`"]
    assert f"| {limits.empty_steps} steps |" in rows["`empty_steps`"]
    assert f"{f'{limits.drift:g}'[1:]} nats" in rows["`drift`"]
    for kind in ("`cut_episodes`", "`cut_replies`"):
        assert f"| {f'{limits.cut_share:g}'[1:]} | {limits.cut_steps} steps |" in rows[kind]
    assert f"{len(FIGURE)} alarms" in page.replace("nine", "9")


VARIANTS = {
    "all": [
        "--algorithm", "astarpo_lambda", "--evaluation.validate-every", "1", "--monitors.retrieval-every", "1",
        "--values.explorer-temperatures", "2.0", "--curriculum.levels", '[{"success_rate": 0.5}]',
        "--shaping.potential-weight", "0.5", "--shaping.automatic-weight", "0.5", "--learning.reset-every", "1",
    ],
    "cloned": [
        "--algorithm", "gvpo", "--objective.filter", "mixed", "--warm-start.enabled", "true",
        "--warm-start.course-steps", "2", "--warm-start.max-corrections", "0",
    ],
    "critic": ["--algorithm", "ppo"],
}  # fmt: skip
"""Options with which tiny runs measure what there is to measure."""


def page_keys() -> dict[str, set[str]]:
    """Return the keys that the page on runs explains, by the phases that its headings name."""
    text = (DOCS / "reading_a_run.md").read_text("utf-8")
    keys: dict[str, set[str]] = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        cells = re.findall(r"^\| (`[^|]*`) \|", body, re.MULTILINE)
        for phase in re.findall(r"`(\w+)`", title):
            keys[phase] = {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}
    return keys


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_logged_number_is_explained(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    assert main(["train", "FrozenLake", "--preset", "tiny.toml", "--run.name", "tiny", *VARIANTS[variant]]) == 0
    explained, phases = page_keys(), set()
    for line in map(json.loads, Path("runs/tiny/metrics.jsonl").read_text().splitlines()):
        phase = line.pop("phase")
        phases.add(phase)
        assert line.keys() <= explained[phase], phase
    assert "learning" in phases and (variant != "all" or {"values", "alarm", "reset"} <= phases)
    known = blocks(DOCS / "reading_a_run.md", "python")[0].replace("runs/mine", "runs/tiny")
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(known, "reading_a_run.md", "exec", dont_inherit=True), {})  # noqa: S102 - a page of this repository
    assert len(said.getvalue().splitlines()) == 2


def test_a_key_that_is_not_explained_would_be_found() -> None:
    assert {"warm_start", "values", "learning", "alarm", "reset", "branch"} <= page_keys().keys()
    assert "not_measured" not in page_keys()["learning"] and "entropy" in page_keys()["learning"]


# Commands and programs of the pages -------------------------------------------------------------------------------


TRAIN = [
    pytest.param(words, id=f"{page.stem}: {' '.join(words)[:60]}")
    for page in PAGES
    for words in commands(page)
    if words[:1] == ["train"] and is_concrete(words) and not {"--resume", "--replay"} & {*words}
]


@pytest.mark.parametrize("words", TRAIN)
def test_a_training_that_is_named_would_begin(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checking, "check_run", lambda *_, **__: None)  # which builds the model, as the README does
    assert main([*words, "--dry-run"]) == 0, capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The catalogue of the page about catalogues, in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my_shop"
    folder.mkdir()
    one_file, *files = blocks(DOCS / "catalogue.md", "json")
    (tmp_path / "list.json").write_text(one_file, encoding="utf-8")
    (table,) = blocks(DOCS / "catalogue.md", "csv")
    (tmp_path / "table.csv").write_text(table, encoding="utf-8")
    for name, text in zip(("items", "attributes", "people"), files, strict=True):
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def test_the_catalogue_of_the_page_can_be_sold(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rapidfuzz", reason="the extra webshop is not installed")
    table, listed = (open_catalogue(str(shop.parent / name)) for name in ("table.csv", "list.json"))
    assert [product.title for product in table.values()] == ["Linen shirt", "Stool, oak", "Candle"]
    assert all(product.synthetic for product in [*table.values(), *listed.values()]) and len(listed) == 1
    ran = 0
    for words in commands(DOCS / "catalogue.md"):
        expanded = [str(path) for word in words for path in (sorted(shop.parent.glob(word)) if "*" in word else [word])]
        if words[:2] == ["webshop", "serve"] or words[0] == "play":  # which wait for somebody
            continue
        assert main(expanded) == 0, capsys.readouterr().err
        ran += 1
    assert ran == 7
    (program,) = blocks(DOCS / "catalogue.md", "python")
    exec(compile(program, "catalogue.md", "exec", dont_inherit=True), {})  # noqa: S102 - a page of this repository
    printed = capsys.readouterr().out
    assert "These files can be used as they are." in printed and "Find me a" in printed.splitlines()[-1]


def test_the_programs_of_the_pages_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rapidfuzz", reason="the extra webshop is not installed")
    monkeypatch.chdir(tmp_path)
    programs = [blocks(DOCS / "quick_start.md", "python")[0], *blocks(DOCS / "from_webshop.md", "python")]
    for program in programs:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(program, "page", "exec", dont_inherit=True), {})  # noqa: S102 - a page of this repository
        assert said.getvalue().strip()
    assert os.listdir() == []  # noqa: PTH208


def test_the_commands_of_the_quick_start_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands(DOCS / "quick_start.md"):
        if words[0] in ("evaluate", "rollout") and "runs/first" not in words:
            assert main(words) == 0, capsys.readouterr().err
    assert len(Path("oracle.jsonl").read_text().splitlines()) == 3
