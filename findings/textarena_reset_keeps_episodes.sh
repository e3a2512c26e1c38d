#!/usr/bin/env bash
# textarena 0.7.4: after reset the first observation still holds all earlier episodes.
#
# An environment of textarena.make is reset and played again and again, as one of Gymnasium is. One would expect an
# observation to tell of the present episode: reset is documented as "Resets the environment to an initial state".
#
# What happens: the wrapper that make puts around every environment by default gathers the messages of a player into
# one text, and nothing empties it when an episode begins. The first observation of the second episode begins with the
# board, the moves and the end of the first one, that of the tenth with those of nine. The state inside is a new one.
#
# Why it matters: who trains or measures a language model on one environment object shows it solved boards of other
# instances in every prompt, fills the context, and pays for the tokens; scores then depend on the order of episodes.
# An environment made anew for every episode is free of it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check textarena==0.7.4

"$folder/bin/python" -I - << 'PYTHON'
import sys
from importlib.metadata import version

import textarena

GAMES = {"FrozenLake-v0-random": "[up]", "GuessTheNumber-v0": "[10]"}
EPISODES = 10


def first_observations(game, action, again):
    """Return the first observation of every episode, of one environment that is reset or of one made for each."""
    env, seen = textarena.make(game), []
    for seed in range(EPISODES):
        if not again:
            env = textarena.make(game)
        env.reset(num_players=1, seed=seed)
        seen.append(env.get_observation()[1])
        env.step(action)
        env.get_observation()
    return seen


failed = False
print(f"textarena {version('textarena')}, characters of the first observation, episodes 1, 2 and {EPISODES}")
for game, action in GAMES.items():
    anew, again = (first_observations(game, action, kind) for kind in (False, True))
    for kind, seen in (("made anew", anew), ("reset", again)):
        print(f"  {game:22} {kind:10} {len(seen[0]):6} {len(seen[1]):6} {len(seen[-1]):6}")
    same_start = anew[0] == again[0]
    # What the episode before began with, what came of it, and then what an environment made anew shows.
    holds_earlier = all(
        later.startswith(earlier) and later.endswith(fresh) and len(later) > len(earlier)
        for earlier, later, fresh in zip(again, again[1:], anew[1:])
    )
    print(f"  {game:22} earlier episodes stand in front: {holds_earlier}")
    failed = failed or not (same_start and holds_earlier)
if failed:
    sys.exit("the behaviour has changed")
PYTHON
