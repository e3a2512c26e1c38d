"""New weights for a server: which requests it gets, and what it samples from then on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.agents.serving.conftest import Serve
from tests.agents.serving.model_server import Answer, ModelServer, always, at_first

from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.placement import AdapterSettings
from turngym.agents.serving import UPDATES, Completion, CompletionServer, ServerConnection, ServerError

PROMPT = [2, 5, 7, 9]


def connected(server: ModelServer) -> CompletionServer:
    return CompletionServer(ServerConnection(server.url, retries=1))


def sampled(server: CompletionServer) -> Completion:
    return server.complete(PROMPT, seed=1, temperature=1.0, max_tokens=8, stop_ids=(), vocabulary=None)


def expected(model: LanguageModel, completion: Completion) -> torch.Tensor:
    with torch.inference_mode(), model.computing():
        logits_TV = model.model(input_ids=torch.tensor([PROMPT + completion.ids])).logits[0]
    logp_TV = torch.log_softmax(logits_TV, dim=-1)
    return logp_TV[len(PROMPT) - 1 : -1].gather(1, torch.tensor(completion.ids)[:, None])[:, 0]


def check_plays(server: CompletionServer, model: LanguageModel, *, plays: bool = True) -> None:
    """Check that the server's log-probabilities are a model's, or are not."""
    completion = sampled(server)
    gap = (torch.tensor(completion.logprobs) - expected(model, completion)).abs().max()
    assert (gap < 1e-5) if plays else (gap > 1e-3)


@pytest.fixture
def moved(player: LanguageModel, tmp_path: Path) -> Path:
    """The folder of a model with other weights."""
    other = player.copy()
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.mul_(1.1)
    other.save_pretrained(tmp_path / "moved")
    return tmp_path / "moved"


@pytest.mark.parametrize(("update", "form"), [("vllm", "vllm"), ("sglang", "sglang")])
def test_a_server_plays_the_weights_that_it_is_given(
    player: LanguageModel, serve: Serve, moved: Path, update: str, form: str
) -> None:
    server = serve(form=form)
    link = connected(server)
    check_plays(link, player)
    UPDATES[update](link)(moved, 1)
    check_plays(link, LanguageModel.from_pretrained(moved))
    check_plays(link, player, plays=False)
    asked = [path for path, _ in server.requests if "complet" not in path and "models" not in path]
    assert (
        asked == {"vllm": ["/collective_rpc", "/reset_prefix_cache"], "sglang": ["/update_weights_from_disk"]}[update]
    )
    assert server.read == [moved]


@pytest.mark.parametrize(
    ("update", "form", "sentence"),
    [
        ("vllm", "sglang", "has no /collective_rpc: start vLLM with the environment variable VLLM_SERVER_DEV_MODE=1"),
        (
            "vllm-lora",
            "none",
            "has no /v1/load_lora_adapter: start vLLM with --enable-lora and the environment variable",
        ),
        ("sglang", "none", "has no /update_weights_from_disk: it is no server of SGLang"),
    ],
)
def test_a_server_that_takes_no_weights_is_refused(
    serve: Serve, moved: Path, update: str, form: str, sentence: str
) -> None:
    server = serve(form=form)
    if form == "none":
        server.spoil = lambda path, body, answer: answer if path == "/v1/models" else Answer(status=404)
    with pytest.raises(ServerError, match=sentence):
        UPDATES[update](connected(server))(moved, 1)


def test_a_server_that_cannot_read_the_weights_says_so(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="refuses /update_weights_from_disk with status 400"):
        UPDATES["sglang"](connected(serve(form="sglang")))(tmp_path / "nothing", 1)
    server = serve(form="sglang")
    server.spoil = always(
        lambda _: Answer(content={"success": False, "message": "no room"}), "/update_weights_from_disk"
    )
    with pytest.raises(ServerError, match=r"did not take the weights in .*nothing: no room"):
        UPDATES["sglang"](connected(server))(tmp_path / "nothing", 1)


# Adapters -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def adapted(folder: Path) -> LanguageModel:
    """The served model with an adapter that does something."""
    pytest.importorskip("peft")
    settings = AdapterSettings(rank=2, alpha=4.0, targets=())
    model = LanguageModel.from_pretrained(folder).with_adapter(settings, seed=0, folder=folder)
    with torch.no_grad():
        for weight in model.learned.parameters():
            weight.add_(0.3)
    return model


def test_adapters_are_played_each_under_a_name_of_its_own(
    player: LanguageModel, adapted: LanguageModel, serve: Serve, tmp_path: Path
) -> None:
    server = serve()
    link = connected(server)
    update = UPDATES["vllm-lora"](link)
    names: list[str] = []
    for step in (0, 1, 1):  # a step is taken again after a rollback
        with torch.no_grad():
            for weight in adapted.learned.parameters():
                weight.mul_(0.9)
        adapted.save_pretrained(tmp_path / f"adapter-{len(names)}")
        update(tmp_path / f"adapter-{len(names)}", step)
        names.append(link.model)
        check_plays(link, adapted)
    assert len(set(names)) == 3 and [*server.models] == ["tiny", names[-1]]
    assert connected(server).served.name == "tiny"
    check_plays(connected(server), player)


def test_an_adapter_whose_answer_was_lost_is_loaded_all_the_same(
    adapted: LanguageModel, serve: Serve, tmp_path: Path
) -> None:
    server = serve()
    server.spoil = at_first(1, Answer(lost=True), "/v1/load_lora_adapter")
    link = connected(server)
    adapted.save_pretrained(tmp_path / "adapter")
    UPDATES["vllm-lora"](link)(tmp_path / "adapter", 3)
    check_plays(link, adapted)
    assert len(server.read) == 2


def test_an_older_adapter_that_stays_does_no_harm(adapted: LanguageModel, serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.spoil = always(lambda _: Answer(status=404), "/v1/unload_lora_adapter")
    link = connected(server)
    update = UPDATES["vllm-lora"](link)
    adapted.save_pretrained(tmp_path / "adapter")
    for step in (0, 1):
        update(tmp_path / "adapter", step)
    check_plays(link, adapted)
