"""The names of everything in a run folder.

runs/<name>/
config.toml           the resolved configuration
config.used.toml      the same as the run went on with last, by which an edit of config.toml is known
run.lock              who writes to the folder at present
warm_start/           step-000300/: the clone and its optimizers, until base/ is there
base/                 the model before reinforcement learning: the reference policy of round 1
values.sqlite         the episodes of stage 1; absent where the objective does without
references/           round-2/: the policy as it was at the first reset, the reference from then on; where there
are resets
values-2.sqlite       the episodes of stage 1 of that reference
checkpoints/          step-000050/: policy, optimizer, the state of every component, copies of the value stores
metrics.jsonl         one line per check of the warm start, block of stage 1, optimizer step, alarm, reset and change
live.toml             settings that are to change while the run learns; written by the user, or by the page
live.echo.toml        what the run says of it
live.jsonl            what was taken of it, and at which step
served/               step-000050/: the weights that the server of `rollout.server` plays; absent without one
episodes/             the episodes of the step before every checkpoint, and of the test
credit/               train_000050.json: the values and advantages of the episodes of that step
result.json           scores of random, base and trained model on the test split, and the optimum
"""

from __future__ import annotations

from pathlib import Path

CONFIG_FILE, USED_CONFIG_FILE, LOCK_FILE = "config.toml", "config.used.toml", "run.lock"
METRICS_FILE, RESULT_FILE = "metrics.jsonl", "result.json"
WARM_START, BASE, REFERENCES, CHECKPOINTS, EPISODES = "warm_start", "base", "references", "checkpoints", "episodes"
CREDIT = "credit"
SERVED = "served"
LIVE_FILE, LIVE_ECHO_FILE, LIVE_CHANGES_FILE = "live.toml", "live.echo.toml", "live.jsonl"
POLICY, MANIFEST = "policy", "manifest.json"
"""In a checkpoint: the folder of the policy, and the list of all files."""


def reference_folder(folder: Path, number: int) -> Path:
    """Return where a run keeps the reference of a round, from 1."""
    return folder / BASE if number == 1 else folder / REFERENCES / f"round-{number}"


def store_name(number: int) -> str:
    """Return the name of the value store of a round, from 1, in the run folder and in checkpoints."""
    return "values.sqlite" if number == 1 else f"values-{number}.sqlite"
