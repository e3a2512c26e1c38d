"""The examples run, and do what they say."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.agents.serving.model_server import serving

from turngym.agents.api import BASE_VARIABLE, KEY_VARIABLE
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.small import build_decoder, train_tokenizer

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Return an example as a module, without running it."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_minimal_astarpo_learns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = load("minimal_astarpo")
    monkeypatch.setattr(module, "POOL", 96)
    monkeypatch.setattr(module, "BATCH", 96)
    monkeypatch.setattr(module, "STEPS", 16)
    module.main()
    printed = capsys.readouterr().out
    (rise,) = re.findall(r"success went up by (-?[\d.]+)", printed)
    assert float(rise) > 0.1, printed


def test_minimal_astarpo_values_are_those_of_its_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("minimal_astarpo")
    monkeypatch.setattr(module, "POOL", 16)
    values = module.optimal_values(module.Policy())
    assert sorted(values) == list(range(16))
    assert all(0.0 <= value <= 1.0 for value in values.values()) and len(set(values.values())) > 1


def test_minimal_astarpo_reads_on_a_page() -> None:
    assert len((EXAMPLES / "minimal_astarpo.py").read_text(encoding="utf-8").splitlines()) <= 165


def test_own_environment_needs_no_torch() -> None:
    program = f"""
import runpy, sys
runpy.run_path({str(EXAMPLES / "own_environment.py")!r}, run_name="__main__")
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "bisect: success 1.000" in done.stdout and "no oracle" not in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


# What TRL says of its own: experimental hooks, and attributes that the next transformers will have under another name.
@pytest.mark.filterwarnings("ignore:.*experimental feature:UserWarning", "ignore:.*is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning")
def test_a_game_is_trained_on_by_trl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trl", reason="the example needs TRL: pip install 'trl>=1.16,<2'")
    last = load("trl_grpo").main(["--steps", "1", "--out", str(tmp_path / "grpo")])
    assert 0.0 <= last <= 1.0 and f"mean return of each step: {last:.2f}\n" in capsys.readouterr().out


def test_a_model_behind_a_server_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (KEY_VARIABLE, BASE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    tokenizer = train_tokenizer(["Move up."], vocabulary_size=300, show_instructions=True)
    decoder = build_decoder(tokenizer, hidden_size=16, layers=1, heads=2, feedforward_size=16, context_length=4096)
    LanguageModel(decoder, tokenizer).save_pretrained(tmp_path)
    with serving(tmp_path) as server:
        load("api_model").main(["tiny", "--base-url", server.url, "--episodes", "2"])
    printed = capsys.readouterr().out
    assert re.search(r"^random: success [01]\.\d{3} \[", printed, re.MULTILINE), printed
    assert re.search(r"^tiny: success 0\.000 \[0\.000, ", printed, re.MULTILINE), printed


def test_the_notebook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    path = EXAMPLES / "notebook.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec", dont_inherit=True), names)  # noqa: S102 - of this repository
    printed = capsys.readouterr().out
    assert "OracleAgent  success 1.000" in printed and "status completed, success True" in printed


def test_the_notebook_runs_in_a_kernel() -> None:
    pytest.importorskip("nbclient", reason="nbclient is not installed; the cells are run without a kernel above")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed; the cells are run without a kernel above")
    program = f"""
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read({str(EXAMPLES / "notebook.ipynb")!r}, as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
print(sum(len(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) >= 5
