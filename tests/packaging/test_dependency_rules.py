"""The rules of docs/architecture.md on who may import whom, held by parsing the imports."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "funrecipe"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# Folder -> parts of the package that its modules may import besides themselves (`errors` is open to all).
MAY_IMPORT = {
    "audio": set(),
    "text": set(),
    "models": set(),
    "score": {"text"},
    "jobs": {"data"},
    "data": {"audio", "text"},
    "decode": {"models", "audio", "text", "data", "model_folder", "checkpoint", "network"},
    "train": {"models", "audio", "text", "data", "decode", "model_folder", "checkpoint", "config", "network", "hub"},
}
TORCH_FREE = (
    *("errors.py", "cli.py", "config.py", "model_folder.py", "model_folder_1x.py", "hub.py", "network.py"),
    *("score/", "text/", "jobs/", "data/", "audio/io.py", "audio/resample.py", "decode/options.py"),
)
# Training data sets live with the data directories they read.
WITH_TORCH = ("data/dataset", "data/batching")
HEAVY = {"torch", "torchaudio", "modelscope", "tensorboard", "matplotlib", "jinja2", "sentencepiece", "onnxruntime"}
COMMANDS_WITHOUT_TORCH = ("validate", "shard", "merge", "score", "launch", "status", "normalize", "compare")


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names that a module imports; not those of ``if TYPE_CHECKING`` blocks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if top_level_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def ours(names: set[str]) -> set[str]:
    """The parts of the package among imported names: ``funrecipe.data.shards`` -> ``data``."""
    return {name.split(".")[1] for name in names if name.startswith("funrecipe.")}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folders_import_only_what_lies_below_them(folder: str) -> None:
    allowed = MAY_IMPORT[folder] | {folder, "errors", "__version__"}
    wrong = {
        path.relative_to(ROOT).as_posix(): sorted(ours(imports(path)) - allowed)
        for path in (PACKAGE / folder).rglob("*.py")
        if ours(imports(path)) - allowed
    }
    assert wrong == {}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(TORCH_FREE) and not m.startswith(WITH_TORCH)])
def test_these_never_import_torch(module: str) -> None:
    names = {name.split(".")[0] for name in imports(PACKAGE / module)}
    assert not names & {"torch", "torchaudio"}


@pytest.mark.parametrize("module", MODULES)
def test_optional_parts_are_imported_where_they_are_used(module: str) -> None:
    at_import = {name.split(".")[0] for name in imports(PACKAGE / module, top_level_only=True)}
    assert not at_import & (HEAVY - {"torch"})
    assert not at_import & {"egs", "tools", "utils", "tests"}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize(
    "arguments", [["--help"], *([verb, "--help"] for verb in COMMANDS_WITHOUT_TORCH)], ids=" ".join
)
def test_commands_start_without_torch(arguments: list[str]) -> None:
    result = python("-X", "importtime", "-m", "funrecipe", *arguments)
    assert result.returncode == 0, result.stderr
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:")}
    assert "funrecipe.cli" in loaded
    assert not {name for name in loaded if name.split(".")[0] in HEAVY}


def test_the_public_names() -> None:
    result = python("-c", "import sys, funrecipe; print(sorted(funrecipe.__all__)); print('torch' in sys.modules)")
    assert result.stdout.splitlines() == [
        "['ASRDataset', 'Tasks', 'Trainers', '__version__', 'build_trainer', 'modelscope_args', 'pipeline']",
        "False",
    ]


def test_commands_of_a_recipe_work_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    """The whole of `validate`, `shard`, `merge` and `score`, not just their options."""
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not to be imported here')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    data, out = ROOT / "egs/quickstart/data", tmp_path / "out"
    real = ROOT / "tests/data/paraformer_tiny_zh"
    scoring = ["--ref", data / "text", "--hyp", real / "reference/text", "--out", tmp_path / "text.cer"]
    for expected, *arguments in [
        (0, "validate", "--data_dir", data),
        (0, "shard", "--model", real / "model", "--data_dir", data, "--output_dir", out, "--njob", "3"),
        (4, "merge", "--plan", out),
        (0, "score", *scoring, "--plan", out / "plan.json"),
        (0, "status", out),
    ]:
        command = [sys.executable, "-m", "funrecipe", *map(str, arguments)]
        result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=900)
        assert result.returncode == expected, result.stderr
    lines = (tmp_path / "text.cer").read_text().splitlines()
    assert lines[-1] == "Scored 40 sentences, 0 not present in hyp."
