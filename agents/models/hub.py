"""Models by their names on the Hugging Face hub: which texts are such names, and the folder of one in the hub's cache.

The library of the hub does the work, so its cache, its offline switch and its tokens are those of every other program.
What this module adds: only files that are read are fetched, a model that is not whole is never used, a network that
does not answer is not waited for, and whatever goes wrong is one sentence that says what to do.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import shlex
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turngym._deadline import call_within
from turngym._errors import InputWarning
from turngym.agents.models.decoding import DECODING_FILE
from turngym.agents.models.errors import CheckpointError, reason_of
from turngym.credentials import HIDDEN, redacted

_PART = r"\w(?:[\w.-]{0,94}\w)?"
_NAME = re.compile(rf"(?!.*(?:--|\.\.|\.git\Z)){_PART}/{_PART}", re.ASCII)
_REVISION = re.compile(r"(?![-/])(?!.*(?:\.\.|//|@\{))[^\s\x00-\x1f\x7f~^:?*\[\\]+(?<![/.])")
"""What git allows as the name of a branch or tag; the cache makes a path of it."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKEN = re.compile(r"(?<=Bearer )[^\s'\"]+|\bhf_[A-Za-z0-9]{16,}")

_SETTINGS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "adapter_config.json", "turngym_base.json", DECODING_FILE,
)  # fmt: skip
"""Small files that are read where a model has them; the last two are our own. Our checksums are not needed, since
the library checks what the hub delivers."""
_TEMPLATES = "additional_chat_templates/"
_VOCABULARIES = (
    "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
"""What a tokenizer is made of where there is no tokenizer.json."""
_SAFE = ("model.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")

ANSWER_TIME = 10.0
"""How long the hub may take to connect and to answer, each, seconds."""
ASKING_TIME = 20.0
"""How long the whole question may take, seconds: looking up the hub's address and trying all its machines as well."""
LISTING_TIME = 60.0
"""How long the list of files may take once the hub has answered, seconds; the library tries six times."""


@dataclass(frozen=True)
class HubModel:
    """A model of the hub on this machine."""

    folder: Path
    """The snapshot in the hub's cache, whole."""
    commit: str
    """The commit that it is of, 40 hexadecimal digits; a run that records it gets the same weights again."""


@dataclass(frozen=True)
class _Kept:
    """What the cache holds of a revision."""

    model: HubModel
    names: Collection[str]
    """All files of the commit where the cache knows them; otherwise those that it holds."""
    missing: list[str]


def is_hub_name(path: str) -> bool:
    """Return whether a text can only be a name on the hub, `organization/name`, and not a folder.

    Whatever exists by that name wins. A name without a slash is never one, although the hub has a few, so that a
    mistyped folder is told as such; nor is a path that begins with `/`, `./`, `../` or `~`. A folder of runs that does
    not exist, `runs/mine`, may be a name: what `fetch_model` says of it tells both.
    """
    return bool(_NAME.fullmatch(path)) and not os.path.lexists(path)


def fetch_model(name: str, revision: str = "", *, allow_pickle: bool = False) -> HubModel:
    """Return a model of the hub, fetched unless the hub's cache holds it.

    Configuration, tokenizer, chat template and safetensors are fetched, or an adapter in their place, and nothing else:
    no code, and pickles only on request. A commit that the cache holds needs no network. For a branch or a tag the hub
    is asked which commit it is now; where it does not answer, the commit of the last time is used, with a warning
    unless `HF_HUB_OFFLINE` is set.

    Args:
        name: The name, `organization/name`.
        revision: A branch, a tag or a commit; empty for the main branch.
        allow_pickle: Fetch weights that are stored as pickles if there are no safetensors.

    Raises:
        CheckpointError: There is no such model or revision, it may not be read, it is neither in the cache nor to be
            had, only a part of it is, it holds nothing that can be loaded, or an architecture that cannot be played,
            whose weights are not fetched; the message says what to do.
    """
    if not _NAME.fullmatch(name):
        raise CheckpointError(f"{name!r} is no name of a model on the hub, such as Qwen/Qwen2.5-0.5B-Instruct")
    if revision and not _REVISION.fullmatch(revision):
        raise CheckpointError(f"{revision!r} is no revision of {name}: name a branch, a tag or a commit")
    with _quiet():
        return _fetch(name, revision, allow_pickle=allow_pickle)


def _fetch(name: str, revision: str, *, allow_pickle: bool) -> HubModel:
    kept = _kept(name, revision, allow_pickle=allow_pickle)
    if kept and not kept.missing and kept.model.commit == revision:
        return kept.model
    try:
        commit, names = _ask(name, revision)
    except Exception as error:
        from huggingface_hub.errors import OfflineModeIsEnabled, RevisionNotFoundError

        if kept and kept.missing == [_SAFE[0]]:
            _check_format(f"the model {name} at the commit {kept.model.commit}", kept.names, allow_pickle=allow_pickle)
        if kept is None or kept.missing or isinstance(error, RevisionNotFoundError):
            raise CheckpointError(_refusal(name, revision, error, kept)) from error
        if not isinstance(error, OfflineModeIsEnabled):
            said = (f"the hub gives no answer about {name} ({_reason(error)}), so the commit that its cache holds is "
                    f"used, {kept.model.commit}")  # fmt: skip
            warnings.warn(InputWarning(redacted(said)), stacklevel=3)
        return kept.model
    _check_usable(f"the model {name} at the commit {commit}", names, allow_pickle=allow_pickle)
    try:
        return _download(name, revision, names, allow_pickle=allow_pickle)
    except CheckpointError:
        raise
    except Exception as error:  # networks, servers and disks fail as they like
        raise CheckpointError(_interruption(name, revision, error)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own reports off the terminal: what is wrong is told in a sentence."""
    from huggingface_hub.utils import logging as reports

    verbosity = reports.get_verbosity()
    if verbosity == logging.WARNING:  # otherwise the user has asked for more or less
        reports.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        reports.set_verbosity(verbosity)


def _kept(name: str, revision: str, *, allow_pickle: bool) -> _Kept | None:
    """Return what the cache holds, without any network; None for nothing."""
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:  # without patterns the library would ask for files that are never fetched
        found = Path(snapshot_download(name, revision=revision or None, local_files_only=True, allow_patterns=[]))
        held = any(found.iterdir()) and _COMMIT.fullmatch(found.name)
    except (OSError, ValueError):  # there is none, or its reference is damaged
        return None
    if not held:
        return None
    try:
        names = {file.path for file in get_cached_repo_tree(name, revision=found.name)}
    except CachedRepoTreeNotFoundError:  # other programs fetch file by file
        names = {file.relative_to(found).as_posix() for file in found.rglob("*")}
    return _Kept(HubModel(found, found.name), names, _missing(found, _wanted(names, allow_pickle=allow_pickle)))


def _ask(name: str, revision: str) -> tuple[str, set[str]]:
    """Return the commit that a revision is now, and the names of its files.

    `snapshot_download` would ask the same without any limit of time, or six times over half a minute.
    """
    from huggingface_hub import HfApi

    info = call_within(ASKING_TIME, HfApi().model_info, name, revision=revision or None, timeout=ANSWER_TIME)
    return str(info.sha), {file.rfilename for file in info.siblings or ()}


def _download(name: str, revision: str, names: Collection[str], *, allow_pickle: bool) -> HubModel:
    from huggingface_hub import snapshot_download

    from turngym.agents.models.playable import check_folder

    def fetch(at: str, files: Collection[str]) -> Path:
        patterns = [glob.escape(file) for file in files]
        bar = _progress_bar(shown=bool(files))
        return Path(snapshot_download(name, revision=at or None, allow_patterns=patterns, tqdm_class=bar))

    # The library would wait for the list of files without any limit; it keeps the list, and for a file it has limits.
    commit = call_within(LISTING_TIME, fetch, revision, ()).name
    wanted = _wanted(names, allow_pickle=allow_pickle)
    check_folder(fetch(commit, [file for file in wanted if file in _SETTINGS]))
    folder = fetch(commit, wanted)
    if shards := [file for file in _shards(folder, wanted) if file in names]:
        fetch(commit, shards)
    if missing := _missing(folder, wanted):
        raise CheckpointError(f"the model {name} at the commit {folder.name} is not whole on the hub, "
                              f"{_listed(missing)} is missing: name another revision")  # fmt: skip
    return HubModel(folder, folder.name)


def _progress_bar(*, shown: bool) -> type[Any]:
    """Return the library's progress bar, shown on a terminal alone, or nowhere; it would show one of them anywhere."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = kwargs.get("disable") if shown else True  # None asks for a terminal
            super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    return Bar


def _wanted(names: Collection[str], *, allow_pickle: bool) -> list[str]:
    """Return which files of a model are needed, those of an index excepted, whether it has them or not.

    Args:
        names: The files that it has.
        allow_pickle: Whether pickles do, in want of safetensors.
    """
    needed = [file for file in names if file in _SETTINGS]
    needed += [file for file in names if file.startswith(_TEMPLATES) and file.endswith(".jinja")]
    if "tokenizer.json" not in names:
        needed += [file for file in names if file in _VOCABULARIES] or ["tokenizer.json"]
    if _ADAPTER[0] in names:
        return sorted({*needed, *_ADAPTER})
    weights = next((file for file in (*_SAFE, *_PICKLED * allow_pickle) if file in names), _SAFE[0])
    return sorted({*needed, "config.json", weights})


def _shards(folder: Path, wanted: Collection[str]) -> list[str]:
    """Return the files that an index of weights names, if there is one and they are of its kind."""
    for index in (_SAFE[1], _PICKLED[1]):
        if index in wanted:
            try:
                named = set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values())
                return sorted(file for file in named if file.endswith(Path(index.removesuffix(".index.json")).suffix))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):  # told where the model is loaded
                return []
    return []


def _missing(folder: Path, wanted: Collection[str]) -> list[str]:
    """Return which files are not in a folder, of those that are wanted and those of their index."""
    return [file for file in (*wanted, *_shards(folder, wanted)) if not (folder / file).is_file()]


def _check_usable(what: str, names: Collection[str], *, allow_pickle: bool) -> None:
    """Check that a model on the hub has the files that are needed, before any of them is fetched.

    Raises:
        CheckpointError: It has not.
    """
    missing = [file for file in _wanted(names, allow_pickle=allow_pickle) if file not in names]
    if missing == [_SAFE[0]]:
        _check_format(what, names, allow_pickle=allow_pickle)
    if missing:
        raise CheckpointError(f"{what} cannot be loaded, since it has no {' and no '.join(missing)}: choose another, "
                              "one for transformers with safetensors")  # fmt: skip


def _check_format(what: str, names: Collection[str], *, allow_pickle: bool) -> None:
    """Check that a model without safetensors is not one with pickles.

    Raises:
        CheckpointError: It is, and pickles are not allowed.
    """
    pickled = [file for file in _PICKLED if file in names]
    if pickled and not allow_pickle and not any(file in names for file in _SAFE):
        raise CheckpointError(f"{what} has its weights in {pickled[0]}, which is no safetensors file and may be a "
                              "pickle: choose a model with safetensors or, if you trust it, set "
                              "model.allow_pickle")  # fmt: skip


def _refusal(name: str, revision: str, error: Exception, kept: _Kept | None) -> str:
    """Return why there is no model: what the hub answers, or that it does not and the cache has none."""
    from huggingface_hub import constants, errors

    here = "" if Path(name).is_dir() else f"there is no folder {name}"
    at = f" at the revision {revision}" if revision else ""
    log_in = "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        said = f"the model {name} is gated: ask for access on {constants.ENDPOINT}/{name}, then {log_in}"
    elif isinstance(error, errors.RepositoryNotFoundError):
        said = (f"{here and f'{here}, and '}the hub has no model {name} that this account may see: correct the name "
                f"or, if the model is private, {log_in}")  # fmt: skip
    elif isinstance(error, errors.RevisionNotFoundError):
        said = (f"the model {name} has no revision {revision}: name a branch, a tag or a whole commit of "
                f"{constants.ENDPOINT}/{name}/commits/main")  # fmt: skip
    elif isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        said = f"the hub does not let this account read the model {name} ({_reason(error)}): {log_in}"
    else:
        held = f"{here and f'{here}, '}the hub's cache {constants.HF_HUB_CACHE} "
        held += f"holds no model {name}{at}" if kept is None else f"holds {name}{at} without {_listed(kept.missing)}"
        if isinstance(error, errors.OfflineModeIsEnabled):
            said = f"{held}, and HF_HUB_OFFLINE is set: unset it, or {_elsewhere(name, revision)}"
        else:
            said = (f"{held}, and the hub cannot be reached ({_reason(error)}): try again later, or "
                    f"{_elsewhere(name, revision)}")  # fmt: skip
    return redacted(said)


def _interruption(name: str, revision: str, error: Exception) -> str:
    """Return why a model is not here that the hub has."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # it says that something happened, and this what
    refused = isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403)
    if refused or isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
        return _refusal(name, revision, error, None)
    said = f"the model {name} was not fetched to the end ({_reason(error)}): "
    if isinstance(error, OSError) and error.errno is not None:
        said += f"make room in {constants.HF_HUB_CACHE}, or set HF_HUB_CACHE to a folder that can be written"
    else:
        said += f"try again, which keeps what is whole, or {_elsewhere(name, revision)}"
    return redacted(said)


def _elsewhere(name: str, revision: str) -> str:
    """Return how to get a model by way of another machine."""
    at = f" --revision {shlex.quote(revision)}" if revision else ""
    folder = name.partition("/")[2]
    return (f"run `hf download {name}{at} --local-dir {folder}` where there is a network, copy that folder here and "
            f"name it in place of {name}")  # fmt: skip


def _reason(error: Exception) -> str:
    """Return in one line what an error says, without tokens."""
    response, told = getattr(error, "response", None), str(getattr(error, "server_message", None) or "")
    if response is None:
        said = reason_of(error)
    else:
        said = f"HTTP {response.status_code}{', ' * bool(told)}{told.partition(chr(10))[0]}"
    return _TOKEN.sub(HIDDEN, said).rstrip(".")


def _listed(files: list[str]) -> str:
    """Return the first names of a list, and how many there are more."""
    return f"{files[0]}{f' and {len(files) - 1} more' if files[1:] else ''}"
