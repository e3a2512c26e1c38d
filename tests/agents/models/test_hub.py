"""Names on the hub: which texts are names, what the hub's cache gives without a network, and what is fetched with one.

The hub is a small server on this machine, and whoever fetches from it is the hub's own library.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch
from huggingface_hub import close_session, constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load

from turngym._errors import InputWarning
from turngym.agents.models import hub as hub_module
from turngym.agents.models.errors import CheckpointError, UnplayableError
from turngym.agents.models.hub import HubModel, fetch_model, is_hub_name
from turngym.agents.models.language_model import LanguageModel

MakeModel = Callable[..., LanguageModel]
Reach = Callable[[str], None]
Files = dict[str, bytes]

NAME = "Some-Org/tiny_model-0.5B"
ONE, TWO = "1" * 40, "2" * 40
NEEDED = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
          "model.safetensors"}  # fmt: skip
"""What a small model consists of, but for our own file of limits."""
OTHERS = {
    ".gitattributes", "README.md", "modeling_tiny.py", "pytorch_model.bin", "training_args.bin", "tf_model.h5",
    "flax_model.msgpack", "model.ckpt", "consolidated.safetensors", "onnx/model.onnx", "original/params.json",
    "fp16/model.safetensors", "model-q4.gguf", "vocab.json", "merges.txt", "checksums.json",
}  # fmt: skip
"""What many models have beside it, and nobody reads here."""


@pytest.fixture
def files(make_model: MakeModel, tmp_path: Path) -> Files:
    """The files of a small model as other programs write it."""
    folder = tmp_path / "written"
    make_model("qwen2").save_pretrained(folder)
    written = {file.name: file.read_bytes() for file in folder.iterdir()}
    return {name: content for name, content in written.items() if name in NEEDED}


def sharded(make_model: MakeModel, folder: Path) -> Files:
    """Return the files of a small model whose weights lie in several."""
    model = make_model("qwen2")
    model.model.save_pretrained(folder, max_shard_size="20KB")
    model.tokenizer.save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def pickled(files: Files) -> bytes:
    """Return the weights of a model as a pickle."""
    content = BytesIO()
    torch.save(load(files["model.safetensors"]), content)
    return content.getvalue()


# Names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["Qwen/Qwen2.5-0.5B-Instruct", "a/b", "runs/mine", "meta-llama/Llama-3.2-1B", "_a_/b.c", "1/2"]
)
def test_names(text: str) -> None:
    assert is_hub_name(text)


@pytest.mark.parametrize(
    "text",
    ["", "gpt2", "runs", "./a/b", "../a", "/a/b", "~/a", "a/", "/a", "a/b/", "a/b/c", "a//b", "a\\b", "a/b\\c", "C:/b",
     "a b/c", "a/b ", "a/b\n", ".a/b", "a/.b", "a/b.", "-a/b", "a/..", "a../b", "a--b/c", "a/b.git", "ä/b", "hf://a/b",
     "a/b@main", "a/" + "b" * 97],
)  # fmt: skip
def test_no_names(text: str) -> None:
    assert not is_hub_name(text)


@given(text=st.text(alphabet="aB1._-é /", max_size=8))
@example("a--/b")
@example("a/b.git")
def test_the_library_takes_the_same_names(text: str) -> None:
    try:
        validate_repo_id(text)
        taken = "/" in text
    except HFValidationError:
        taken = False
    assert is_hub_name(text) == taken


def test_whatever_exists_by_the_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("org/folder") and is_hub_name("org/file.toml") and is_hub_name("org/link")
    Path("org/folder").mkdir(parents=True)
    Path("org/file.toml").touch()
    Path("org/link").symlink_to("nowhere")
    assert not is_hub_name("org/folder") and not is_hub_name("org/file.toml") and not is_hub_name("org/link")
    assert is_hub_name("org/other")


@pytest.mark.parametrize("name", ["gpt2", "", "./a/b", "a/b/c", "/a/b", "a/b\n"])
def test_what_is_no_name_is_not_fetched(name: str) -> None:
    with pytest.raises(CheckpointError, match="is no name of a model on the hub, such as "):
        fetch_model(name)


@pytest.mark.parametrize(
    "revision", ["../../..", "/etc/passwd", "a..b", "-x", "a b", "a\n", "a/", "a//b", "HEAD~1", "x^", "a:b", "\\"]
)
def test_what_is_no_revision_is_not_fetched(revision: str) -> None:
    with pytest.raises(CheckpointError, match="is no revision of a/b: name a branch, a tag or a commit"):
        fetch_model("a/b", revision)


# The cache ----------------------------------------------------------------------------------------------------------


def lay_out(
    cache: Path, files: Mapping[str, bytes], commit: str, *, refs: Iterable[str] = (), listing: Iterable[str] = ()
) -> Path:  # fmt: skip
    """Write a snapshot as the library does, and return its folder.

    Args:
        cache: The cache.
        files: The files of the snapshot.
        commit: Its commit.
        refs: Branches and tags that are this commit.
        listing: The names of all files that the hub has of it; none where no program has asked for them.
    """
    model = cache / f"models--{NAME.replace('/', '--')}"
    snapshot = model / "snapshots" / commit
    for name, content in files.items():
        blob = model / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    for ref in refs:
        (model / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (model / "refs" / ref).write_text(commit)
    if listed := {name: {"size": 1, "blob_id": "0" * 40} for name in listing}:
        (model / "trees").mkdir(exist_ok=True)
        (model / "trees" / f"{commit}.json").write_text(json.dumps({"format_version": 1, "files": listed}))
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which may not be asked, and a current folder without anything."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def refusal(name: str = NAME, revision: str = "", **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        fetch_model(name, revision, **options)
    said = str(caught.value)
    assert name in said and "\n" not in said
    return said


def test_a_model_of_the_cache_plays(cache: Path, files: Files) -> None:
    snapshot = lay_out(cache, files, ONE, refs=["main"])
    found = fetch_model(NAME)
    assert found == HubModel(folder=snapshot, commit=ONE)
    model = LanguageModel.from_pretrained(found.folder)
    assert model.model.config.model_type == "qwen2" and model.tokenizer.chat_template


def test_a_revision_is_a_branch_a_tag_or_a_commit(cache: Path, files: Files) -> None:
    one = lay_out(cache, files, ONE, refs=["v1.0", "refs/pr/4"])
    two = lay_out(cache, files, TWO, refs=["main", "feature/x"])
    for revision in ("v1.0", "refs/pr/4", ONE):
        assert fetch_model(NAME, revision) == HubModel(one, ONE)
    for revision in ("", "main", "feature/x", TWO):
        assert fetch_model(NAME, revision) == HubModel(two, TWO)


@pytest.mark.parametrize("revision", ["v2", "3" * 40, "1111111"])
def test_a_revision_that_the_cache_lacks_is_one_sentence(cache: Path, files: Files, revision: str) -> None:
    lay_out(cache, files, ONE, refs=["main"])
    assert refusal(revision=revision) == (
        f"there is no folder {NAME}, the hub's cache {cache} holds no model {NAME} at the revision {revision}, and "
        f"HF_HUB_OFFLINE is set: unset it, or run `hf download {NAME} --revision {revision} --local-dir "
        f"tiny_model-0.5B` where there is a network, copy that folder here and name it in place of {NAME}"
    )


def test_the_command_can_be_pasted_whatever_the_revision(cache: Path) -> None:
    assert "--revision 'a;b' --local-dir" in refusal(revision="a;b")


def test_a_mistyped_run_is_told_as_a_folder_and_as_a_model(cache: Path) -> None:
    assert is_hub_name("runs/mine")
    assert refusal("runs/mine").startswith(
        f"there is no folder runs/mine, the hub's cache {cache} holds no model runs/mine, and HF_HUB_OFFLINE is set: "
    )


def test_a_folder_of_the_name_is_not_denied(cache: Path) -> None:
    Path(NAME).mkdir(parents=True)
    assert refusal().startswith(f"the hub's cache {cache} holds no model {NAME}, and HF_HUB_OFFLINE is set: ")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_snapshot_without_what_every_model_needs_is_refused(cache: Path, files: Files, missing: str) -> None:
    del files[missing]
    lay_out(cache, files, ONE, refs=["main"])
    for revision, at in {"": "", ONE: f" at the revision {ONE}"}.items():
        said = f"there is no folder {NAME}, the hub's cache {cache} holds {NAME}{at} without {missing}, and HF_HUB_OFFL"
        assert refusal(revision=revision).startswith(said)


def test_a_snapshot_without_what_the_hub_has_more_is_refused(cache: Path, files: Files) -> None:
    listing = [*files, *OTHERS]
    template = files.pop("chat_template.jinja")
    lay_out(cache, files, ONE, refs=["main"], listing=listing)
    assert "without chat_template.jinja, and" in refusal()
    lay_out(cache, {"chat_template.jinja": template}, ONE)
    assert fetch_model(NAME).commit == ONE


def test_a_snapshot_whose_content_is_gone_is_refused(cache: Path, files: Files) -> None:
    snapshot = lay_out(cache, files, ONE, refs=["main"])
    (snapshot / "model.safetensors").resolve().unlink()
    assert "without model.safetensors, and" in refusal()
    for file in snapshot.iterdir():
        file.unlink()
    assert f"holds no model {NAME}, and" in refusal()


def test_several_files_of_weights_are_all_needed(cache: Path, make_model: MakeModel, tmp_path: Path) -> None:
    shards = sharded(make_model, tmp_path / "shards")
    snapshot = lay_out(cache, shards, ONE, refs=["main"])
    LanguageModel.from_pretrained(fetch_model(NAME).folder)
    first, second = sorted(name for name in shards if name.startswith("model-0"))[:2]
    (snapshot / first).unlink()
    assert f"without {first}, and" in refusal()
    (snapshot / second).unlink()
    assert f"without {first} and 1 more, and" in refusal()


def test_a_tokenizer_of_an_older_kind_does(cache: Path, files: Files) -> None:
    tokenizer = json.loads(files.pop("tokenizer.json"))["model"]
    old = {"vocab.json": json.dumps(tokenizer["vocab"]).encode(), "merges.txt": b"#version: 0.2\n"}
    lay_out(cache, files | old, ONE, refs=["main"], listing=[*files, *old])
    assert fetch_model(NAME).commit == ONE


def test_pickles_of_the_cache_are_used_only_on_request(cache: Path, files: Files) -> None:
    files["pytorch_model.bin"] = pickled(files)
    weights = files.pop("model.safetensors")
    lay_out(cache, files, ONE, refs=["main"])
    assert refusal() == (
        f"the model {NAME} at the commit {ONE} has its weights in pytorch_model.bin, which is no safetensors file and "
        "may be a pickle: choose a model with safetensors or, if you trust it, set model.allow_pickle"
    )
    LanguageModel.from_pretrained(fetch_model(NAME, allow_pickle=True).folder, allow_pickle=True)
    lay_out(cache, files | {"model.safetensors": weights}, TWO, refs=["main"])
    assert fetch_model(NAME).commit == TWO


def test_an_adapter_needs_no_weights_of_its_own(cache: Path, files: Files) -> None:
    del files["model.safetensors"], files["config.json"]
    lay_out(cache, files | {"adapter_config.json": b"{}"}, ONE, refs=["main"])
    assert "without adapter_model.safetensors, and" in refusal()
    lay_out(cache, {"adapter_model.safetensors": b""}, ONE)
    assert fetch_model(NAME).commit == ONE


@pytest.mark.parametrize("content", ["", "\n", "3" * 40, "../blobs", ONE + "\n"])
def test_a_damaged_reference_is_no_model(cache: Path, files: Files, content: str) -> None:
    snapshot = lay_out(cache, files, ONE, refs=["main"])
    (snapshot.parents[1] / "refs" / "main").write_text(content)
    assert f"holds no model {NAME}, and" in refusal()
    assert fetch_model(NAME, ONE).folder == snapshot


def test_the_beginning_of_a_branch_is_no_branch(cache: Path, files: Files) -> None:
    lay_out(cache, files, ONE, refs=["feature/x"])
    assert f"holds no model {NAME} at the revision feature, and" in refusal(revision="feature")


@pytest.mark.parametrize("index", [b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {"a": 1}}'])
def test_a_damaged_index_is_told_where_the_model_is_loaded(cache: Path, files: Files, index: bytes) -> None:
    del files["model.safetensors"]
    lay_out(cache, files | {"model.safetensors.index.json": index}, ONE, refs=["main"])
    with pytest.raises(CheckpointError):
        LanguageModel.from_pretrained(fetch_model(NAME).folder)


# A hub --------------------------------------------------------------------------------------------------------------


@dataclass
class Hub:
    """A model on a server, which speaks as much of the hub's language as is needed to fetch it."""

    commits: dict[str, Files]
    """The files of each commit."""
    refs: dict[str, str]
    """Branches and tags."""
    refuses: Mapping[str, tuple[int, str, str]] = field(default_factory=dict)
    """Status, code and message of an error, by a part of the paths that it answers."""
    stalls: str = "nowhere"
    """A part of the paths that are answered only once `released`."""
    released: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Methods and paths."""
    authorizations: set[str | None] = field(default_factory=set)
    address: str = ""

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((method, path))
        if self.stalls in path:
            self.released.wait(60)
        for part, (status, code, message) in self.refuses.items():
            if part in path:
                return status, {"X-Error-Code": code, "X-Error-Message": message}, b""
        if path == f"/api/models/{NAME}" or path.startswith(f"/api/models/{NAME}/revision/"):
            revision = unquote(path.partition("/revision/")[2]) or "main"
            commit = self.refs.get(revision, revision)
            if commit not in self.commits:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b""
            siblings = [{"rfilename": name} for name in self.commits[commit]]
            return 200, {}, json.dumps({"id": NAME, "sha": commit, "siblings": siblings}).encode()
        if path.startswith(f"/api/models/{NAME}/tree/"):
            listed = [{"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                      for name, content in self.commits[path.rpartition("/")[2]].items()]  # fmt: skip
            return 200, {}, json.dumps(listed).encode()
        if path.startswith(f"/{NAME}/resolve/"):
            commit, _, name = path.removeprefix(f"/{NAME}/resolve/").partition("/")
            content = self.commits[commit][unquote(name)]
            return 200, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}, content
        return 404, {"X-Error-Code": "RepoNotFound"}, b""

    @property
    def fetched(self) -> list[str]:
        """The names of the files that were fetched, sorted."""
        return sorted(path.partition("/resolve/")[2].partition("/")[2] for method, path in self.asked
                      if method == "GET" and "/resolve/" in path)  # fmt: skip


@contextmanager
def serving(hub: Hub) -> Iterator[None]:
    """Answer on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.authorizations.add(self.headers.get("Authorization"))
            status, headers, content = hub.answer(self.command, urlsplit(self.path).path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that it has there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def reach(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reach]:
    """Let the hub be at an address, where it may be asked; at none it may not."""

    def go(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        files = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + files)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", not address)

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # which asks something else first, once a day
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "nowhere")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield go
    close_session()


@pytest.fixture
def hub(files: Files, reach: Reach) -> Iterator[Hub]:
    """A hub with the small model, and with what else is found beside models."""
    hub = Hub({ONE: files | dict.fromkeys(OTHERS, b"nobody reads this")}, {"main": ONE, "v1": ONE})
    with serving(hub):
        reach(hub.address)
        yield hub


@pytest.fixture
def closed() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


def test_what_is_read_is_fetched_and_nothing_else(hub: Hub, cache: Path) -> None:
    found = fetch_model(NAME)
    assert found == HubModel(cache / f"models--{NAME.replace('/', '--')}" / "snapshots" / ONE, ONE)
    assert hub.fetched == sorted(NEEDED) == sorted(file.name for file in found.folder.rglob("*"))
    assert LanguageModel.from_pretrained(found.folder).model.config.model_type == "qwen2"


def test_what_the_cache_holds_is_not_fetched_again(hub: Hub, reach: Reach, closed: str) -> None:
    found = fetch_model(NAME)
    hub.asked.clear()
    assert fetch_model(NAME) == found and not hub.fetched, "only whether the branch has moved is asked"
    hub.asked.clear()
    assert fetch_model(NAME, ONE) == found and not hub.asked
    reach(closed)
    assert fetch_model(NAME, ONE) == found
    reach("")
    assert fetch_model(NAME) == found


def test_a_branch_goes_on_and_a_tag_stays(hub: Hub, reach: Reach, files: Files) -> None:
    assert fetch_model(NAME, "v1").commit == ONE
    hub.commits[TWO] = files | {"generation_config.json": b"{}"}
    hub.refs["main"] = TWO
    assert fetch_model(NAME).commit == TWO
    assert fetch_model(NAME, "v1").commit == ONE
    reach("")
    assert fetch_model(NAME, "main").commit == TWO


def test_a_hub_that_is_gone_leaves_the_last_commit(hub: Hub, reach: Reach, closed: str) -> None:
    found = fetch_model(NAME)
    hub.refuses = {"/api/models": (503, "", "")}
    said = f"the hub gives no answer about {NAME} (HTTP 503), so the commit that its cache holds is used, {ONE}"
    with pytest.warns(InputWarning, match=re.escape(said)):
        assert fetch_model(NAME) == found
    reach(closed)
    with pytest.warns(InputWarning, match=r"\(\[Errno 111\] Connection refused\)"):
        assert fetch_model(NAME) == found


@pytest.mark.parametrize("revision", ["", ONE])
def test_without_a_hub_and_a_cache_there_is_no_model(reach: Reach, cache: Path, closed: str, revision: str) -> None:
    reach(closed)
    begin = time.monotonic()
    at, option = (f" at the revision {revision}", f" --revision {revision}") if revision else ("", "")
    assert refusal(revision=revision) == (
        f"there is no folder {NAME}, the hub's cache {cache} holds no model {NAME}{at}, and the hub cannot be reached "
        f"([Errno 111] Connection refused): try again later, or run `hf download {NAME}{option} --local-dir "
        f"tiny_model-0.5B` where there is a network, copy that folder here and name it in place of {NAME}"
    )
    assert time.monotonic() - begin < 10, "the library itself tries for half a minute"


def test_a_hub_that_never_answers_is_not_waited_for(reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "ANSWER_TIME", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reach(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "and the hub cannot be reached (timed out): " in refusal()


def test_a_hub_that_stops_answering_is_not_waited_for(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "LISTING_TIME", 0.5)
    hub.stalls = "/tree/"
    assert f"the model {NAME} was not fetched to the end (no answer within 0.5 seconds): try again" in refusal()
    hub.released.set()


@pytest.mark.parametrize(
    ("where", "answer", "message"),
    [
        ("/api/models", (404, "RepoNotFound", ""),
         f"there is no folder {NAME}, and the hub has no model {NAME} that this account may see: correct the name or"),
        ("/api/models", (401, "RepoNotFound", "Invalid username or password."),
         "if the model is private, log in with `hf auth login` or set HF_TOKEN"),
        ("/api/models", (401, "", "Invalid credentials."),
         f"the hub does not let this account read the model {NAME} (HTTP 401, Invalid credentials): log in with `hf"),
        ("/api/models", (403, "", "Access to this resource is disabled."), f"read the model {NAME} (HTTP 403, Access"),
        ("/api/models", (500, "", ""), "and the hub cannot be reached (HTTP 500): try again later, or run `hf"),
        ("/api/models", (429, "", "Slow down."), "and the hub cannot be reached (HTTP 429, Slow down): try again"),
        ("/resolve", (403, "GatedRepo", "You are not in the authorized list."),
         f"the model {NAME} is gated: ask for access on ADDRESS/{NAME}, then log in with `hf auth login` or set HF"),
        ("/resolve", (403, "", "No."), f"the hub does not let this account read the model {NAME} (HTTP 403, No): log"),
        ("/resolve", (404, "EntryNotFound", ""),
         f"the model {NAME} was not fetched to the end (HTTP 404): try again, which keeps what is whole, or run `hf"),
    ],
)  # fmt: skip
def test_what_the_hub_refuses_is_one_sentence(
    hub: Hub, where: str, answer: tuple[int, str, str], message: str
) -> None:  # fmt: skip
    hub.refuses = {where: answer}
    assert message.replace("ADDRESS", hub.address) in refusal()


def test_what_is_no_hub_is_one_sentence(reach: Reach) -> None:
    reach("huggingface.co")
    assert "the hub cannot be reached (Request URL is missing an 'http://' or 'https://' protocol): " in refusal()


def test_a_revision_that_the_hub_lacks_is_one_sentence(hub: Hub) -> None:
    assert refusal(revision="v9") == (
        f"the model {NAME} has no revision v9: name a branch, a tag or a whole commit of "
        f"{hub.address}/{NAME}/commits/main"
    )
    assert f"has no revision {TWO}: " in refusal(revision=TWO)


def test_the_cache_does_not_stand_for_a_branch_that_is_gone(hub: Hub) -> None:
    fetch_model(NAME, "v1")
    del hub.refs["v1"]
    assert "has no revision v1: " in refusal(revision="v1")


@pytest.mark.parametrize("revision", ["", ONE])
def test_what_broke_off_is_not_used_and_goes_on(hub: Hub, reach: Reach, closed: str, revision: str) -> None:
    # Which of the other files have come when the weights are refused is left to chance.
    weights = fetch_model(NAME, revision).folder / "model.safetensors"
    weights.resolve().unlink()
    weights.unlink()
    hub.refuses = {"/model.safetensors": (404, "EntryNotFound", "")}
    assert "was not fetched to the end (HTTP 404): " in refusal(revision=revision)
    reach("")
    assert "without model.safetensors, and HF_HUB_OFFLINE is set: " in refusal(revision=revision)
    reach(closed)
    assert "without model.safetensors, and the hub cannot be reached (" in refusal(revision=revision)
    reach(hub.address)
    hub.refuses = {}
    had = len(hub.asked)
    assert fetch_model(NAME, revision).commit == ONE
    assert [path.rpartition("/")[2] for method, path in hub.asked[had:] if method == "GET" and "/resolve/" in path] == [
        "model.safetensors"
    ]


def test_several_files_of_weights_are_fetched_by_their_index(
    hub: Hub, make_model: MakeModel, tmp_path: Path
) -> None:  # fmt: skip
    shards = sharded(make_model, tmp_path / "shards")
    hub.commits[ONE] = shards | dict.fromkeys(OTHERS, b"") | {"model-00009-of-00009.safetensors": b"not in the index"}
    folder = fetch_model(NAME).folder
    assert hub.fetched == sorted(shards)
    LanguageModel.from_pretrained(folder)


def test_weights_of_an_architecture_that_cannot_be_played_are_not_fetched(hub: Hub) -> None:
    config = {"model_type": "mamba", "num_hidden_layers": 2, "hidden_size": 16}
    hub.commits[ONE]["config.json"] = json.dumps(config).encode()
    with pytest.raises(UnplayableError, match="type mamba cannot be played"):
        fetch_model(NAME)
    assert "config.json" in hub.fetched and "model.safetensors" not in hub.fetched


def test_an_index_brings_in_no_code(hub: Hub) -> None:
    del hub.commits[ONE]["model.safetensors"]
    named = {"a": "modeling_tiny.py", "b": "pytorch_model.bin", "c": "../../x.safetensors"}
    hub.commits[ONE]["model.safetensors.index.json"] = json.dumps({"weight_map": named}).encode()
    assert refusal() == (
        f"the model {NAME} at the commit {ONE} is not whole on the hub, ../../x.safetensors is missing: name another "
        "revision"
    )
    assert set(hub.fetched) == NEEDED - {"model.safetensors"} | {"model.safetensors.index.json"}


def test_pickles_are_fetched_only_on_request(hub: Hub, files: Files) -> None:
    hub.commits[ONE]["pytorch_model.bin"] = pickled(files)
    assert fetch_model(NAME, allow_pickle=True).commit == ONE and "pytorch_model.bin" not in hub.fetched
    hub.commits[TWO] = {name: content for name, content in hub.commits[ONE].items() if name != "model.safetensors"}
    hub.asked.clear()
    assert refusal(revision=TWO) == (
        f"the model {NAME} at the commit {TWO} has its weights in pytorch_model.bin, which is no safetensors file and "
        "may be a pickle: choose a model with safetensors or, if you trust it, set model.allow_pickle"
    )
    assert not hub.fetched
    folder = fetch_model(NAME, TWO, allow_pickle=True).folder
    assert hub.fetched == ["pytorch_model.bin"], "the cache holds the content of the others"
    LanguageModel.from_pretrained(folder, allow_pickle=True)


@pytest.mark.parametrize(
    ("left", "missing"),
    [
        ({"README.md", "model-q4.gguf"}, "config.json and no model.safetensors and no tokenizer.json"),
        (NEEDED - {"tokenizer.json"}, "tokenizer.json"),
        ({"adapter_config.json", "tokenizer.json"}, "adapter_model.safetensors"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_not_fetched(hub: Hub, left: set[str], missing: str) -> None:
    hub.commits[ONE] = dict.fromkeys(left, b"")
    assert refusal() == (
        f"the model {NAME} at the commit {ONE} cannot be loaded, since it has no {missing}: choose another, one for "
        "transformers with safetensors"
    )
    assert not hub.fetched


@pytest.mark.parametrize("token", ["hf_abcdefghijklmnopqrstuvwxyz", "hf_abcdefghijklmnopqrst\x01"])
def test_a_token_is_sent_and_never_told(hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.refuses = {"/api/models": (401, "", f"Invalid credentials: Bearer {token}")}
    assert "abcdef" not in refusal()
    assert hub.authorizations <= {f"Bearer {token}"}


# Another process ----------------------------------------------------------------------------------------------------

PROGRAM = """
import sys
from turngym.agents.models import hub

hub.ASKING_TIME = float(sys.argv[3])
try:
    found = hub.fetch_model(sys.argv[1], sys.argv[2])
    print(found.folder)
except hub.CheckpointError as error:
    print(error)
"""


def run(address: str, *, before: str = "", limit: float = 20, stderr: int = subprocess.PIPE, **environment: str) -> str:
    """Fetch the model in a process of its own, and return what it prints; nothing may stand in its standard error."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1", **environment}
    done = subprocess.run([sys.executable, "-c", before + PROGRAM, NAME, "main", str(limit)], env=kept | own, text=True,
                          stdout=subprocess.PIPE, stderr=stderr, timeout=60, check=True)  # fmt: skip
    assert not done.stderr
    return done.stdout.strip()


def test_the_variables_of_the_hub_are_heeded(hub: Hub, tmp_path: Path) -> None:
    there = f"models--{NAME.replace('/', '--')}/snapshots/{ONE}"
    assert run(hub.address, HF_HOME=str(tmp_path / "place")) == f"{tmp_path}/place/hub/{there}"
    assert hub.fetched == sorted(NEEDED)
    hub.asked.clear()
    assert run(hub.address, HF_HUB_CACHE=str(tmp_path / "place/hub"), HF_HUB_OFFLINE="1").endswith(there)
    assert not hub.asked


def test_the_command_that_is_told_fetches_the_model(hub: Hub, reach: Reach) -> None:
    reach("")
    told = re.findall(r"`(hf download .*?)`", refusal(revision="v1"))
    program, *arguments = shlex.split(told[0])
    del hub.commits[ONE]["checksums.json"]  # ours if it is there, and damaged
    environment = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    subprocess.run([Path(sys.executable).with_name(program), *arguments], env=os.environ | environment,
                   capture_output=True, timeout=60, check=True)  # fmt: skip
    assert LanguageModel.from_pretrained("tiny_model-0.5B").model.config.model_type == "qwen2"


def test_a_cache_that_cannot_be_written_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = f"{tmp_path}/file/hub"
    said = run(hub.address, HF_HUB_CACHE=place, HF_HOME=str(tmp_path))
    assert said.endswith(f": make room in {place}, or set HF_HUB_CACHE to a folder that can be written")
    assert said.startswith(f"the model {NAME} was not fetched to the end ([Errno 20] Not a directory: ")


def test_an_address_that_is_never_found_is_not_waited_for(tmp_path: Path) -> None:
    lost = "import socket, time\nsocket.getaddrinfo = lambda *args, **kwargs: time.sleep(100)\n"
    said = run("http://hub.invalid", before=lost, limit=0.5, HF_HOME=str(tmp_path))
    assert "and the hub cannot be reached (no answer within 0.5 seconds): " in said


def test_bars_are_drawn_on_a_terminal_alone(hub: Hub, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    seen = bytearray()

    def watch() -> None:
        with suppress(OSError):  # once the other end is closed
            while part := os.read(ours, 65536):
                seen.extend(part)

    thread = threading.Thread(target=watch)
    thread.start()
    run(hub.address, stderr=theirs, HF_HOME=str(tmp_path / "place"))
    os.close(theirs)
    thread.join()
    os.close(ours)
    assert b"Fetching 6 files: 100%" in seen and b"Fetching 0 files" not in seen
