"""From what a user names for a table to those who play: scripted agents, and the models of runs and checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from turngym._errors import input_errors
from turngym.agents.api import PREFIX
from turngym.agents.base import Agent
from turngym.agents.models.hub import fetch_model, is_hub_name
from turngym.agents.registry import AGENTS
from turngym.benchmarks.cells import ORACLE, SCRIPTED, Player, Stand
from turngym.cli.agents import SLOTS_PER_REQUEST, AgentOptions, NamedAgent, able_agents, find_agent, names_agent
from turngym.cli.api import ApiOptions, api_agent, api_settings, is_api_agent
from turngym.cli.errors import UsageError
from turngym.cli.models import import_trained
from turngym.names import nearest
from turngym.trainers.config import TrainConfig
from turngym.trainers.launch.policies import policy_folder, weights_digest
from turngym.trainers.run_files import BASE, CHECKPOINTS, CONFIG_FILE

NEVER_DRAW = ("rule", "shopper", "oracle")
"""Agents that play alike with every seed."""
NOT_THE_RECIPE = ("run", "evaluation", "monitors")
"""The sections of a configuration that do not change what is learned."""


def find_players(
    scripted: Sequence[str],
    named: Sequence[str],
    decodings: Sequence[str],
    slots: int,
    *,
    api: ApiOptions | None = None,
    max_reply_tokens: int | None = None,
) -> list[Player]:
    """Return all who shall play, scripted agents first, those of one row next to each other.

    Args:
        scripted: Names of scripted agents.
        named: Names of agents, run folders, checkpoint folders, models of the hub and models behind servers, each with
            a label before "=" or without.
        decodings: How models choose tokens: "sampled", "greedy" or both.
        slots: Episodes played at once.
        api: How models behind servers are asked.
        max_reply_tokens: Their longest reply.

    Raises:
        UsageError: A name means nothing, or runs that were trained differently would share a row.
    """
    known = [text for text in named if text in SCRIPTED or names_agent(text)]
    players = sorted((scripted_player(name) for name in (*scripted, *known)), key=lambda player: player.name == ORACLE)
    recipes: dict[str, tuple[str, Any]] = {}
    for text in named:
        if text in known:
            continue
        label, place = label_and_place(text)
        if is_api_agent(place):
            players += [api_player(label, place, decoding, api or ApiOptions(), max_reply_tokens)
                        for decoding in decodings]  # fmt: skip
            continue
        for name, weights in models_of(place, label):
            model = find_agent(str(weights))
            if not label:
                check_recipe(recipes, name, place, model.config)
            import_trained("turngym.trainers.launch.training")
            players += [model_player(name, weights, model, decoding, slots) for decoding in decodings]
    rows: dict[str, list[Player]] = {}
    for player in players:
        row = rows.setdefault(player.name, [])
        if player.identity not in [other.identity for other in row]:  # runs may share their base
            row.append(player)
    return [player for row in rows.values() for player in row]


def label_and_place(text: str) -> tuple[str, str]:
    """Return the label of an agent, empty without one, and its name, folder or address behind that."""
    if text.startswith(PREFIX) or f"={PREFIX}" in text:
        place = text[text.index(PREFIX) :]
        return text.removesuffix(place).removesuffix("="), place
    label, _, place = ("", "", text) if Path(text).is_dir() else text.rpartition("=")
    return label, place


def api_player(label: str, name: str, decoding: str, api: ApiOptions, max_reply_tokens: int | None) -> Player:
    """Return a model behind a server as a player.

    Args:
        label: How to call it; empty for its own name.
        name: The agent, `openai:MODEL`.
        decoding: "sampled", at the temperature of the server, or "greedy".
        api: How it is asked.
        max_reply_tokens: Its longest reply.

    Raises:
        UsageError: An option is out of range.
    """
    settings = api_settings(name, api, temperature=0.0 if decoding == "greedy" else None,
                            max_reply_tokens=max_reply_tokens)  # fmt: skip
    return Player(name=f"{label or name}, {decoding}", identity=settings.identity(),
                  make=lambda _: api_agent(settings, api), draws=decoding == "sampled",
                  most_slots=SLOTS_PER_REQUEST * settings.parallel)  # fmt: skip


def scripted_player(name: str) -> Player:
    """Return a scripted player by the name of its row.

    Raises:
        UsageError: There is none.
    """
    agent, arguments = SCRIPTED.get(name, (name, {}))
    if agent not in AGENTS:
        raise UsageError(f"there is no scripted agent {name!r}{nearest(name, {**SCRIPTED, **AGENTS}, most=0)}")
    found = find_agent(agent, arguments=arguments)

    def able(stand: Stand) -> bool:
        return agent in able_agents(stand.env_id, stand.arguments)

    return Player(name=name, identity={"agent": agent, "arguments": arguments},
                  make=lambda slots: found.make(AgentOptions(), slots), draws=agent not in NEVER_DRAW,
                  able=able)  # fmt: skip


def models_of(place: str, label: str) -> Iterator[tuple[str, Path]]:
    """Yield the rows that a folder stands for, and their weights: of a run its base and its last policy.

    Raises:
        UsageError: There is no such folder, or it holds no weights.
    """
    folder = Path(place)
    if is_hub_name(place):
        import_trained("huggingface_hub")
        with input_errors():
            yield label or place, policy_folder(fetch_model(place).folder)
        return
    if not folder.is_dir():
        known = {**SCRIPTED, **AGENTS}
        raise UsageError(f"there is no agent {place!r}: neither {', '.join(known)} nor a folder with a run or a "
                         f"checkpoint, nor module:Class, nor {PREFIX}MODEL{nearest(place, known, most=0)}")  # fmt: skip
    weights = policy_folder(folder)
    if (folder / CONFIG_FILE).is_file() and (folder / BASE).is_dir():
        name = label or re.sub(r"-seed\d+$", "", folder.resolve().name)
        yield f"{name}, base", folder / BASE
        yield f"{name}, trained", weights
    else:
        yield label or name_of_checkpoint(folder.resolve()), weights


def name_of_checkpoint(folder: Path) -> str:
    """Return how to call a checkpoint: by its run too, where it is in one."""
    if folder.parent.name == CHECKPOINTS:
        return f"{folder.parents[1].name} {folder.name}"
    return folder.name


def check_recipe(recipes: dict[str, tuple[str, Any]], name: str, place: str, config: TrainConfig | None) -> None:
    """Check that runs which share a row differ in their seeds alone.

    Raises:
        UsageError: They do not.
    """
    recipe = None if config is None else {section: value for section, value in asdict(config).items()
                                          if section not in NOT_THE_RECIPE}  # fmt: skip
    other, known = recipes.setdefault(name, (place, recipe))
    if known != recipe or (recipe is None and other != place):
        raise UsageError(f"{other} and {place} would share the row {name!r}, but are not known to be runs of one "
                         f"recipe; give them names, as in --agent NAME={place}")  # fmt: skip


def model_player(name: str, weights: Path, model: NamedAgent, decoding: str, slots: int) -> Player:
    """Return a model as a player, by its own limits and temperature."""
    assert model.decoding is not None
    options = AgentOptions(greedy=decoding == "greedy")
    trained_in = model.config.env if model.config else None
    identity = {"weights": weights_digest(weights), "tokens": decoding, **asdict(model.decoding), "slots": slots}
    return Player(
        name=f"{name}, {decoding}", identity=identity, make=partial(_load, model, options),
        trained_in=(trained_in.id, trained_in.kwargs) if trained_in else None, draws=decoding == "sampled",
    )  # fmt: skip


def _load(model: NamedAgent, options: AgentOptions, slots: int) -> Agent:
    return model.make(options, slots)
