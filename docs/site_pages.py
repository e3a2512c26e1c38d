"""The pages of the documentation that are made from the code, so that they cannot fall behind it.

`site_hooks.py` gives them to MkDocs when the site is built; nothing of them is committed. A page is Markdown, named by
its place in the site. Needs the extras `train` and `webshop`.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

import gymnasium as gym
import numpy as np

from turngym.agents import instance_range, optimal_rate
from turngym.arguments import range_of
from turngym.envs import (
    Drawing,
    Drawn,
    RandomFloor,
    TextEnv,
    capabilities_of,
    env_class,
    env_ids,
    make_env,
    reward_range,
    turn_limit,
)
from turngym.envs.capabilities import METHODS
from turngym.envs.core import MAX_ACTION_CHARS
from turngym.envs.drawing import shown
from turngym.envs.finding import short_name
from turngym.trainers.config import ALGORITHMS, OBJECTIVE_CONFIGS, ObjectiveConfig, Section
from turngym.trainers.config.section import choices, setting_docs, setting_types
from turngym.trainers.config.train import KINDS
from turngym.trainers.live.settings import LIVE
from turngym.trainers.objectives import OBJECTIVES, Objective

ROOT = Path(__file__).parents[1]
INSTANCES = 32
"""Test instances over which the optimum and the random floor of an environment are averaged."""
MADE_AT_THE_END = ("Countdown", "Multiplication")
"""How the names of environments begin whose picture holds all that was made once an episode is over."""
PAPERS = "reference/objectives.md"
CONFIGURATION = "reference/configuration.md"
ENVIRONMENTS = "environments/index.md"
EXAMPLES = "examples.md"
PUBLIC = {
    "turngym": "Training and loading from three lines of Python.",
    "turngym.envs": "The contract of an environment, making and registering one, shaping, checks.",
    "turngym.agents": "Who plays, the record of play, and what it is worth.",
    "turngym.trainers": "Configuration, presets, and objectives of your own.",
    "turngym.trainers.memory": "How much memory a run needs, before a model is loaded.",
    "turngym.arguments": "Types that say which values an argument or a setting takes.",
}
"""The public modules, each with a line on what is in it. A module without `__all__` is shown as it is."""
FAMILIES = {
    "astarpo": "A\\*PO",
    "regression": "Relatives of A\\*PO",
    "policy_gradient": "Plain policy gradients",
    "clipped": "Clipped policy gradients",
    "ppo": "PPO",
    "imitation": "Imitation",
}
"""The families of objectives by the module that defines them, after which their page in `algorithms/` is named too."""
EXAMPLE_FILES = ("minimal_astarpo.py", "own_environment.py", "trl_grpo.py", "api_model.py", "notebook.ipynb")


@cache
def generated_pages() -> dict[str, str]:
    """Return every page that is made from the code: its Markdown by its place in the site."""
    pages = {page_of(env_id): environment_page(env_id) for env_id in env_ids()}
    pages[ENVIRONMENTS] = environments_page()
    pages[CONFIGURATION] = configuration_page()
    pages[PAPERS] = objectives_page()
    pages[EXAMPLES] = examples_page()
    pages |= {api_page_of(module): api_page(module, about) for module, about in PUBLIC.items()}
    return pages


def page_names() -> list[str]:
    """Return the places of these pages, without making any of them."""
    return [
        *map(page_of, env_ids()), ENVIRONMENTS, CONFIGURATION, PAPERS, EXAMPLES, *map(api_page_of, PUBLIC),
    ]  # fmt: skip


# Environments ---------------------------------------------------------------------------------------------------


def page_of(env_id: str) -> str:
    """Return the place of an environment's page."""
    return f"environments/{short_name(env_id)}.md"


def environments_page() -> str:
    """Return the list of the environments."""
    rows = [
        (f"[`{env_id}`]({short_name(env_id)}.md)", str(turn_limit(env_id)), first_sentence(env_class(env_id)))
        for env_id in env_ids()
    ]
    return "\n".join([
        "# Environments",
        "",
        ("Every page below is the docstring of the class, with the facts and a transcript that the package gives when "
         "this site is built. What agents reach in them is in [Results](../results.md)."),
        "",
        *table(("id", "turns", "task"), rows),
    ])  # fmt: skip


def environment_page(env_id: str) -> str:
    """Return the page of an environment: its facts, its documentation, and an episode of the oracle."""
    kind = env_class(env_id)
    assert kind is not None
    doc = inspect.cleandoc(kind.__doc__ or "")
    summary, _, rest = doc.partition("\n")
    instructions, transcript, drawings = oracle_episode(env_id)
    return "\n".join([
        f"# {short_name(env_id)}",
        "",
        summary,
        "",
        *picture(env_id, drawings),
        *table(("", ""), list(environment_facts(env_id, kind))),
        "",
        rest.strip(),
        "",
        "## The rules as the agent reads them",
        "",
        *fenced(textwrap.fill(instructions, 100, replace_whitespace=False)),
        "",
        "## An episode",
        "",
        f"The oracle on `gym.make({env_id!r}).reset(seed=0)`. Lines that begin with `>` are its actions.",
        "",
        *fenced(transcript),
    ])  # fmt: skip


def environment_facts(env_id: str, kind: type[Any]) -> Iterator[tuple[str, str]]:
    """Yield the facts of an environment as rows of two cells."""
    low, high = reward_range(env_id)
    kwargs = gym.spec(env_id).kwargs
    env = make_env(env_id)
    text_env = env.unwrapped
    assert isinstance(text_env, TextEnv)
    has = capabilities_of(kind)
    yield "id", f"`{env_id}`"
    yield "turn limit", str(turn_limit(env_id))
    yield "actions", f"text of at most {MAX_ACTION_CHARS:,} characters, see [Action Space](#action-space)"
    yield "return", f"{low:g} to {high:g}"
    yield "chance in play", "none" if text_env.deterministic else "yes"
    arguments = ", ".join(f"`{name}={value!r}`" for name, value in kwargs.items())
    yield "registered arguments", arguments or "none beyond the defaults"
    yield "offers", ", ".join(f"`{METHODS[name]}`" for name in METHODS if name in has)
    yield f"optimum, mean of the first {INSTANCES} test instances", optimum(env_id)
    yield f"random agent, the same {INSTANCES}", random_floor(text_env)
    env.close()


def optimum(env_id: str) -> str:
    """Return the mean success of the best agent in words, exact where it is a number."""
    rate = optimal_rate(env_id, instance_range("test", INSTANCES)).rate
    return "not known for all of them" if rate is None else f"{rate:.3f}, exact"


def random_floor(env: TextEnv) -> str:
    """Return the mean success of the random agent in words, exact where it is a number."""
    by_play = "known by play alone: `turngym evaluate random --env ...`"
    if not isinstance(env, RandomFloor):
        return by_play
    rates = []
    for index in range(INSTANCES):
        env.reset(seed=index, options={"split": "test", "index": index})
        rates.append(env.random_success())
    known = [rate for rate in rates if rate is not None]
    return f"{np.mean(known):.3g}, exact" if len(known) == len(rates) else by_play


class OracleEpisode(NamedTuple):
    """An episode of the oracle with seed 0."""

    rules: str
    """Those of the environment."""
    transcript: str
    """Observations and actions in order, and how it ended."""
    drawings: list[Drawing]  # [K + 1]
    """The picture before each action and after the last one; none of an environment that draws none."""


def oracle_episode(env_id: str) -> OracleEpisode:
    """Return an episode of the oracle of an environment, with seed 0."""
    env = make_env(env_id)
    observation, info = env.reset(seed=0)
    game: Any = env.unwrapped
    lines, total, over = [observation], 0.0, False
    drawings = [game.drawing()] if isinstance(game, Drawn) else []
    while not over:
        action = game.oracle_action()
        observation, reward, terminated, truncated, info = env.step(action)
        lines += ["", f"> {action}", "", observation]
        drawings += [game.drawing()] if isinstance(game, Drawn) else []
        total, over = total + float(reward), terminated or truncated
    lines += ["", f"Return {total:g}, success {str(bool(info['success'])).lower()}."]
    env.close()
    return OracleEpisode(game.instructions, "\n".join(lines), drawings)


def picture(env_id: str, drawings: Sequence[Drawing]) -> list[str]:
    """Return a picture of an episode as lines of Markdown, nothing without pictures.

    It is shown as `turngym view` shows it: an SVG as an image, a page in a frame without any right, so that its styles
    and its links stay its own.
    """
    if not drawings:
        return []
    at_end = short_name(env_id).startswith(MADE_AT_THE_END)
    drawing, when = (drawings[-1], "at its end") if at_end else (drawings[-2], "before its last action")
    styles = {
        "svg": "max-width: 100%",
        "html": "width: 100%; height: 29rem; border: .05rem solid var(--md-default-fg-color--lightest); "
        "resize: vertical",
    }
    seen = shown(drawing, style=styles[drawing.kind])
    full = ' style="width: 100%"' if drawing.kind == "html" else ""
    return [f"<figure{full}>", seen, f"<figcaption>The episode below, {when}.</figcaption>", "</figure>", ""]


# Configuration --------------------------------------------------------------------------------------------------


def configuration_page() -> str:
    """Return the reference of all settings, from the dataclasses of `turngym.trainers.config`."""
    lines = [
        "# Configuration",
        "",
        ("Every setting of a training, by section. On the command line a setting is `--section.name VALUE` (with `-` "
         "or `_` in names), in a file `[section]` and `name = value`, in Python `turngym.train(..., "
         'section={"name": value})`. A preset changes some of the defaults for its environment: `turngym train ENV '
         "--dry-run` prints what holds. Settings of the objective are in two parts: what all objectives have, and what "
         "the chosen one reads."),
        "",
        (f"While a run learns, its `live.toml` may change {', '.join(f'`{setting}`' for setting in LIVE)}: see "
         "[Live tuning](../training.md#live-tuning)."),
    ]  # fmt: skip
    for name, kind in KINDS.items():
        title = f"`[{name}]`" if name != "objective" else "`[objective]`: what all objectives have"
        lines += ["", f"## {title} {{ #{name} }}", "", paragraph(kind.__doc__), "", *settings_table(kind)]
    lines += ["", "## `[objective]`: by algorithm { #objectives }", ""]
    lines += ["`--algorithm NAME` chooses; a setting that the chosen one does not have is refused."]
    for algorithm, (objective, settings) in ALGORITHMS.items():
        values = ", ".join(f"`{key} = {toml(value)}`" for key, value in settings.items())
        lines += ["", f"`{algorithm}` is `{objective}` with {values}."]
    for name, kind in OBJECTIVE_CONFIGS.items():
        lines += ["", f"### `{name}` {{ #objective-{name} }}", "", paragraph(kind.__doc__), ""]
        lines += settings_table(kind, without=ObjectiveConfig) or ["No setting beyond those that all have."]
    return "\n".join(lines)


def settings_table(kind: type[Section], *, without: type[Section] | None = None) -> list[str]:
    """Return the table of the settings of a section.

    Args:
        kind: The class of the section.
        without: Settings that are the same in this class are left out.
    """
    docs, types = setting_docs(kind), setting_types(kind)
    base = {part.name: default_of(part) for part in fields(without)} if without else {}
    rows = [
        (f"`{part.name}`", type_words(types[part.name]), f"`{toml(default_of(part))}`", paragraph(docs[part.name]))
        for part in fields(kind)
        if part.name not in base or base[part.name] != default_of(part)
    ]
    return table(("setting", "takes", "default", ""), rows) if rows else []


def default_of(part: Field[Any]) -> Any:
    """Return the default of a field."""
    return part.default_factory() if part.default_factory is not MISSING else part.default


def type_words(hint: Any) -> str:
    """Return which values a setting takes, in words: "a whole number, at least 1, or none"."""
    plain = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    if get_origin(plain) in (Union, UnionType):
        (option,) = [option for option in get_args(plain) if option is not NoneType]
        return f"{type_words(option)}; or none"
    if words := choices(plain):
        return " or ".join(f"`{word}`" for word in words)
    if get_origin(plain) is list:
        inner = type_words(get_args(plain)[0]).removeprefix("a ").removeprefix("an ")
        return f"a list, each {inner}"
    names = {int: "a whole number", float: "a number", bool: "`true` or `false`", str: "a text"}
    name = names.get(plain, "a table" if get_origin(plain) is dict else str(plain))
    range_ = range_of(hint)
    return name if range_ is None else f"{name}, {range_}"


def toml(value: Any) -> str:
    """Return a default as it would stand in a file; `none` for one that is left out."""
    return "none" if value is None else json.dumps(value)


# Objectives -----------------------------------------------------------------------------------------------------


def objectives_page() -> str:
    """Return the objectives by family, with their sources and what they need."""
    lines = [
        "# Objectives and their papers",
        "",
        "`--algorithm NAME` takes each of these names, and " + ", ".join(f"`{name}`" for name in ALGORITHMS)
        + ". What to use when is in [Algorithms](../algorithms/index.md); the settings are in "
        "[Configuration](configuration.md#objectives).",
    ]  # fmt: skip
    for family, title in FAMILIES.items():
        members = [each for each in OBJECTIVES.values() if each.loss.__module__.rpartition(".")[2] == family]
        rows = [
            (f"[`{each.name}`](configuration.md#objective-{each.name})", paragraph(each.source), needs(each))
            for each in members
        ]
        lines += ["", f"## {title} {{ #{family} }}", "", *table(("name", "source", "needs"), rows)]
        lines += ["", f"What they compute, and when to take them: [{title}](../algorithms/{family}.md)."]
    return "\n".join(lines)


def needs(objective: Objective) -> str:
    """Return in words what an objective asks for."""
    config = objective.config()
    asked = {
        f"{config.group_size} episodes of each prompt": config.group_size > 1,
        "values": objective.needs_values,
        "the reference": objective.reads_reference(config),
        "a critic": objective.returns is not None,
        f"the filter {config.filter!r}": config.filter != "all",
    }
    return ", ".join(words for words, yes in asked.items() if yes) or "nothing more"


# Reference of the modules, examples -------------------------------------------------------------------------------


def api_page_of(module: str) -> str:
    """Return the place of the page of a module."""
    return f"reference/{module}.md"


def api_page(module: str, about: str) -> str:
    """Return the page of a module, whose docstrings mkdocstrings fills in: a heading for each public name."""
    names = getattr(import_module(module), "__all__", None)
    if names is None:
        return f"# `{module}`\n\n{about}\n\n::: {module}\n    options:\n      show_root_heading: false\n"
    blocks = [f"::: {origin_of(module, name)}" for name in sorted(names) if not name.startswith("__")]
    return "\n\n".join([f"# `{module}`", about, *blocks]) + "\n"


def origin_of(module: str, name: str) -> str:
    """Return where a public name is defined, so that its docstring is found."""
    value = getattr(import_module(module), name)
    home = getattr(value, "__module__", None)
    local = inspect.isclass(value) or inspect.isfunction(value)
    return f"{home if local and home else home_of_constant(module, name)}.{name}"


def home_of_constant(module: str, name: str) -> str:
    """Return the module from which a public module imports a constant, the module itself where it defines it."""
    for node in ast.walk(ast.parse(inspect.getsource(import_module(module)))):
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]:
            return node.module
    return module


def examples_page() -> str:
    """Return the examples, each with its code."""
    lines = ["# Examples", "", "They lie in `examples/` of a checkout, and the tests run all of them."]
    for name in EXAMPLE_FILES:
        path = ROOT / "examples" / name
        lines += ["", f"## {name}", ""]
        if path.suffix == ".py":
            lines += [f"`python examples/{name}`", "", *fenced(path.read_text(encoding="utf-8"), "python")]
        else:
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
                text = "".join(cell["source"])
                lines += [text, ""] if cell["cell_type"] == "markdown" else [*fenced(text, "python"), ""]
    return "\n".join(lines)


# Markdown -------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of Markdown."""
    marks = ["|".join(["", *(" --- " for _ in head), ""])]
    lines = ["|".join(["", *(f" {cell.replace('|', chr(92) + '|')} " for cell in row), ""]) for row in [head, *rows]]
    return [lines[0], *marks, *lines[1:]]


def fenced(text: str, language: str = "text") -> list[str]:
    """Return a block of code as lines of Markdown."""
    return [f"````{language}", *text.rstrip("\n").split("\n"), "````"]


def paragraph(text: str | None) -> str:
    """Return a docstring as one line of Markdown: outside of code, stars and angle brackets are what they are."""
    parts = re.split(r"(`[^`]*`)", " ".join((text or "").split()))
    return "".join(part if part.startswith("`") else part.replace("*", "\\*").replace("<", "&lt;") for part in parts)


def first_sentence(thing: Any) -> str:
    """Return the first line of a docstring."""
    return inspect.cleandoc(thing.__doc__ or "").partition("\n")[0]
