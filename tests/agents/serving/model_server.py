"""A server on this machine that answers as vLLM or SGLang does, from the logits of a tiny model, and reloads weights.

It stands in for those servers in the tests: real connections, real sampling, one request computed at a time. What it
answers may be spoiled, to see what is made of it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from turngym.agents.models.language_model import LanguageModel

NAME = "tiny"
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is sent back."""

    content: Any = field(default_factory=dict)
    """JSON, or bytes as they are."""
    status: int = 200
    delay: float = 0.0
    """Seconds before it is sent."""
    lost: bool = False
    """Whether the connection ends without it."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent along."""
    drip: float = 0.0
    """Seconds between any two bytes of it."""


Spoil = Callable[[str, dict[str, Any], Answer], Answer]
"""From path, body and the answer that is right to the one that is sent."""


class ModelServer:
    """Serves the model in a folder.

    Args:
        folder: Written by `save_pretrained`.
        form: Whose form the answers have: "vllm", "vllm-old" (ids as tokens) or "sglang".
        key: The key that is asked for; empty for none.
        context_length: What it says that the model sees at once; None to say nothing.
        temperature_in_logprobs: Whether log-probabilities are those at the sampling temperature.
    """

    def __init__(
        self,
        folder: Path,
        *,
        form: str = "vllm",
        key: str = "",
        context_length: int | None = None,
        temperature_in_logprobs: bool = True,
    ) -> None:
        self.models: dict[str, LanguageModel] = {NAME: LanguageModel.from_pretrained(folder)}
        self.form, self.key, self.context_length = form, key, context_length
        self.temperature_in_logprobs = temperature_in_logprobs
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str] = []
        self.read: list[Path] = []
        """The folders of weights that it has read."""
        self.script: Callable[[str, dict[str, Any]], Answer] | None = None
        """Answers in the place of the model, which then computes nothing."""
        self.spoil: Spoil | None = None
        self.at_once = 0
        """Most requests that were under way together."""
        self._under_way = 0
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, if it runs; nobody answers at its address any more."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()

    def count(self, path: str) -> int:
        """Return how many requests there were for a path."""
        return Counter(asked for asked, _ in self.requests)[path]

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        """Return the answer that is right."""
        paths: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "/v1/models": self._list,
            COMPLETIONS: self._complete,
            CHAT: self._chat,
            "/collective_rpc": self._reload,
            "/reset_prefix_cache": lambda body: Answer(content=b""),
            "/v1/load_lora_adapter": self._load_adapter,
            "/v1/unload_lora_adapter": self._unload_adapter,
            "/update_weights_from_disk": self._update_from_disk,
        }
        known = path in paths and not (self.form == "sglang" and path in ("/collective_rpc", "/reset_prefix_cache"))
        return paths[path](body) if known else Answer(status=404, content={"detail": "Not Found"})

    # What it serves ---------------------------------------------------------------------------------------------------

    def _list(self, body: dict[str, Any]) -> Answer:
        owner = "sglang" if self.form == "sglang" else "vllm"
        cards: list[dict[str, Any]] = [{"id": name, "object": "model", "owned_by": owner} for name in self.models]
        if self.context_length is not None:
            cards = [card | {"max_model_len": self.context_length} for card in cards]
        return Answer(content={"object": "list", "data": cards})

    def _complete(self, body: dict[str, Any]) -> Answer:
        model = self.models.get(body["model"])
        if model is None:
            return Answer(status=404, content={"error": {"message": f"The model `{body['model']}` does not exist."}})
        if isinstance(body["prompt"], str):
            return self._continue(model, body)
        with self._lock:
            ids, logprobs = self._sample(model, body)
        ended = ids[-1] in body["stop_token_ids"]
        spelled = [f"token_id:{one}" if body["return_tokens_as_token_ids"] else "?" for one in ids]
        choice = {"index": 0, "text": "not read", "finish_reason": "stop" if ended else "length",
                  "logprobs": {"token_logprobs": logprobs, "tokens": spelled}}  # fmt: skip
        if self.form != "vllm-old" and body["return_token_ids"]:
            choice |= {"token_ids": ids, "prompt_token_ids": body["prompt"]}
        return Answer(content={"object": "text_completion", "choices": [choice]})

    def _chat(self, body: dict[str, Any]) -> Answer:
        """Answer in texts, as every server of chat completions does: by the chat template of the model alone."""
        model = self.models.get(body["model"])
        if model is None:
            return Answer(status=404, content={"error": {"message": f"The model `{body['model']}` does not exist."}})
        text = model.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, tokenize=False)
        if (refusal := self._too_long(model, str(text), body)) is not None:
            return refusal
        ids, prompt = self._write(model, str(text), body)
        said = model.tokenizer.decode(ids, skip_special_tokens=True)
        choice = {"index": 0, "message": {"role": "assistant", "content": said}}
        return self._told("chat.completion", model, choice, ids, prompt)

    def _continue(self, model: LanguageModel, body: dict[str, Any]) -> Answer:
        """Answer a prompt that is a text with a text."""
        ids, prompt = self._write(model, body["prompt"], body)
        said = str(model.tokenizer.decode(ids, skip_special_tokens=True))
        ends = [said.index(stop) for stop in body.get("stop", ()) if stop in said]
        choice = {"index": 0, "text": said[: min(ends)] if ends else said, "logprobs": None}
        return self._told("text_completion", model, choice, ids, prompt)

    def _too_long(self, model: LanguageModel, text: str, body: dict[str, Any]) -> Answer | None:
        count, longest = len(model.tokenizer.encode(text, add_special_tokens=False)), model.context_length
        if count + body["max_tokens"] <= longest:
            return None
        words = f"This model's maximum context length is {longest} tokens; {count + body['max_tokens']} were asked for."
        return Answer(status=400, content={"error": {"message": words, "code": 400}})

    def _write(self, model: LanguageModel, text: str, body: dict[str, Any]) -> tuple[list[int], int]:
        """Return the ids of a reply to a text, and how many the text has."""
        prompt = model.tokenizer.encode(text, add_special_tokens=False)
        sampling = {"seed": 0, "temperature": 1.0, "stop_token_ids": model.chat.stop_ids, **body, "prompt": prompt}
        with self._lock:
            return self._sample(model, sampling)[0], len(prompt)

    def _told(self, kind: str, model: LanguageModel, choice: dict[str, Any], ids: list[int], prompt: int) -> Answer:
        ended = ids[-1] in model.chat.stop_ids
        usage = {"prompt_tokens": prompt, "completion_tokens": len(ids), "total_tokens": prompt + len(ids)}
        return Answer(content={"id": "answer", "object": kind, "created": 0, "model": NAME, "usage": usage,
                               "choices": [choice | {"finish_reason": "stop" if ended else "length"}]})  # fmt: skip

    @torch.inference_mode()
    def _sample(self, model: LanguageModel, body: dict[str, Any]) -> tuple[list[int], list[float]]:
        dice = torch.Generator().manual_seed(body["seed"])
        unread, cache = torch.tensor([body["prompt"]]), None
        ids: list[int] = []
        logprobs: list[float] = []
        while len(ids) < body["max_tokens"] and not (ids and ids[-1] in body["stop_token_ids"]):
            with model.computing():
                output = model.model(input_ids=unread, past_key_values=cache, use_cache=True)
            logits_V, cache = output.logits[0, -1].float(), output.past_key_values
            logp_V = torch.log_softmax(logits_V / (body["temperature"] or 1.0), dim=-1)
            greedy = body["temperature"] == 0
            ids.append(int(logp_V.argmax() if greedy else torch.multinomial(logp_V.exp(), 1, generator=dice)))
            told_V = logp_V if self.temperature_in_logprobs else torch.log_softmax(logits_V, dim=-1)
            logprobs.append(float(told_V[ids[-1]]))
            unread = torch.tensor([ids[-1:]])
        return ids, logprobs

    def _reload(self, body: dict[str, Any]) -> Answer:
        assert body["method"] == "reload_weights"
        self._take(NAME, Path(body["kwargs"]["weights_path"]))
        return Answer(content={"results": [None]})

    def _update_from_disk(self, body: dict[str, Any]) -> Answer:
        try:
            self._take(NAME, Path(body["model_path"]))
        except ValueError as error:
            return Answer(status=400, content={"success": False, "message": str(error)})
        return Answer(content={"success": True, "message": "Succeeded to update model weights."})

    def _load_adapter(self, body: dict[str, Any]) -> Answer:
        if body["lora_name"] in self.models and not body.get("load_inplace"):
            return Answer(status=400, content={"error": {"message": "has already been loaded"}})
        self._take(body["lora_name"], Path(body["lora_path"]))
        return Answer(content=b"Success: LoRA adapter added successfully.")

    def _unload_adapter(self, body: dict[str, Any]) -> Answer:
        with self._lock:
            del self.models[body["lora_name"]]
        return Answer(content=b"Success: LoRA adapter removed successfully.")

    def _take(self, name: str, folder: Path) -> None:
        with self._lock:
            self.models[name] = LanguageModel.from_pretrained(folder)
            self.read.append(folder)

    # HTTP -------------------------------------------------------------------------------------------------------------

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}"))

            def _answer(self, body: dict[str, Any]) -> None:
                with server._counting:
                    server.requests.append((self.path, body))
                    server.keys.append(self.headers.get("Authorization", ""))
                    server._under_way += 1
                    server.at_once = max(server.at_once, server._under_way)
                try:
                    answer = server._spoiled(self.path, body, self.headers.get("Authorization", ""))
                    time.sleep(answer.delay)
                finally:
                    with server._counting:
                        server._under_way -= 1
                self._send(answer)

            def _send(self, answer: Answer) -> None:
                self.close_connection = True
                if answer.lost:
                    return
                content = answer.content if isinstance(answer.content, bytes) else json.dumps(answer.content).encode()
                try:
                    self.send_response(answer.status)
                    self.send_header("Content-Length", str(len(content)))
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    for piece in [content] if not answer.drip else [bytes([byte]) for byte in content]:
                        self.wfile.write(piece)
                        time.sleep(answer.drip)
                except ConnectionError:  # whoever asked has left
                    pass

            def log_message(self, *args: Any) -> None:
                """Keep silent."""

        return Handler

    def _spoiled(self, path: str, body: dict[str, Any], key: str) -> Answer:
        if self.key and key != f"Bearer {self.key}":
            return Answer(status=401, content={"error": "Unauthorized"})
        answer = self.script(path, body) if self.script else self.answer(path, body)
        return self.spoil(path, body, answer) if self.spoil else answer


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[ModelServer]:
    """Serve the model in a folder for as long as the block lasts."""
    server = ModelServer(folder, **options)
    try:
        yield server
    finally:
        server.stop()


# Spoiling answers ---------------------------------------------------------------------------------------------------


def with_choice(answer: Answer, **changes: Any) -> Answer:
    """Return an answer with other parts of its choice; those that are `...` are left out."""
    choice = answer.content["choices"][0] | changes
    return replace(answer, content={"choices": [{k: v for k, v in choice.items() if v is not ...}]})


def with_logprobs(answer: Answer, logprobs: Any) -> Answer:
    """Return an answer with other log-probabilities."""
    record = answer.content["choices"][0]["logprobs"] | {"token_logprobs": logprobs}
    return with_choice(answer, logprobs=record)


def at_first(times: int, spoiled: Answer, path: str = COMPLETIONS) -> Spoil:
    """Answer the first requests for a path in another way."""
    count = Counter[str]()

    def spoil(asked: str, body: dict[str, Any], answer: Answer) -> Answer:
        count[asked] += 1
        return spoiled if asked == path and count[asked] <= times else answer

    return spoil


def always(change: Callable[[Answer], Answer], path: str = COMPLETIONS) -> Spoil:
    """Change every answer to the requests for a path."""
    return lambda asked, body, answer: change(answer) if asked == path else answer
