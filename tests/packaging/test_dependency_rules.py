"""The rules of docs/architecture.md on who may import whom, held by parsing the imports."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "funrecipe"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# Top-level files that every part may import: messages, ranges, files, processes, identity, network, cache, families.
FOUNDATION = (
    "errors",
    "files",
    "shared_files",
    "lease",
    "processes",
    "identity",
    "network",
    "cache",
    "families",
    "coprocess",
    "ranges",
)
# Part of the package (folder or top-level file) -> the parts that its modules may import, beside the foundation.
# The order is the order of the layers: a part names only parts above itself.
MAY_IMPORT: dict[str, set[str]] = {
    **{part: set() for part in FOUNDATION},
    "audio": set(),
    "data": {"audio"},
    "text": set(),
    "models": set(),
    "checkpoint": {"models"},
    "model_folder": {"text"},
    "hub": {"model_folder"},
    "decode": {"audio", "checkpoint", "model_folder", "models", "text"},
    "score": {"data", "text"},
    "vad": {"audio", "checkpoint", "model_folder", "models"},
    "punctuation": {"checkpoint", "model_folder", "models", "text"},
    "speaker": {"audio", "checkpoint", "data", "model_folder", "models"},
    "train": {"audio", "checkpoint", "data", "decode", "hub", "model_folder", "models", "score", "text"}
    | {"punctuation", "vad"},
    "recordings": {"audio", "data", "decode", "model_folder", "punctuation", "speaker", "text", "vad"},
    "jobs": {
        *(
            "audio",
            "data",
            "decode",
            "hub",
            "model_folder",
            "punctuation",
            "recordings",
            "score",
            "speaker",
            "text",
            "vad",
        )
    },
    "export": {"audio", "checkpoint", "data", "decode", "hub", "model_folder", "models", "punctuation", "vad"},
}
PORTED = {"metainfo", "msdatasets", "utils"}  # import paths of ModelScope and FunASR
FACES = {"__init__", "__main__", "cli", "commands", "pipelines", "trainers", "transcription", *PORTED}
AUDIO_READING = (
    *("arrays", "channels", "chunks", "containers", "decode", "ffmpeg", "flac", "frames", "io", "mpeg", "ogg"),
    *("parts", "resample", "settings", "signatures"),
)
TORCH_FREE = (
    *("cli.py", *(f"{part}.py" for part in FOUNDATION), "model_folder/", "hub/", "score/", "text/", "jobs/", "data/"),
    *("decode/options.py", *(f"audio/{part}.py" for part in AUDIO_READING)),
)
HEAVY = {
    *("torch", "torchaudio", "modelscope", "tensorboard", "matplotlib", "jinja2"),
    *("sentencepiece", "onnxruntime", "sklearn", "scipy"),
}
COMMANDS_WITHOUT_TORCH = (
    "validate",
    "plan",
    "merge",
    "score",
    "launch",
    "status",
    "normalize",
    "compare",
    "der",
    "verify",
)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, *, top_level_only: bool = False, with_types: bool = False) -> set[str]:
    """Dotted names that a module imports; those of ``if TYPE_CHECKING`` blocks only ``with_types``."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if not with_types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
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

    visit(parsed(path))
    return found


def part_of(dotted: str) -> str:
    """The part a dotted name belongs to: ``funrecipe.data.shards`` -> ``data``."""
    return dotted.split(".")[1]


def test_every_part_has_its_place_among_the_layers() -> None:
    assert {module.split("/")[0].removesuffix(".py") for module in MODULES} <= set(MAY_IMPORT) | FACES
    order = list(MAY_IMPORT)
    upward = {
        part: late
        for part, allowed in MAY_IMPORT.items()
        if (late := allowed - set(order[: order.index(part)]) - {part})
    }
    assert upward == {}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_above_it(module: str) -> None:
    part = module.split("/")[0].removesuffix(".py")
    used = {part_of(name) for name in imports(PACKAGE / module, with_types=True) if name.startswith("funrecipe.")}
    if part in FACES:
        # The faces use all; only the command line and the recipes' folder of commands start commands.
        assert "commands" not in used or part in ("cli", "commands")
    else:
        assert used - MAY_IMPORT[part] - {part, *FOUNDATION, "__version__"} == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {
        "funrecipe." + module.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for module in MODULES
    }
    files = {name: PACKAGE.parent / f"{name.replace('.', '/')}" for name in names}
    graph = {
        name: imports(path.with_suffix(".py") if not path.is_dir() else path / "__init__.py", with_types=True) & names
        for name, path in files.items()
    }
    # A package is loaded before its modules, so a module that names its own package makes no circle.
    sorter = graphlib.TopologicalSorter(
        {name: {other for other in used if not f"{name}.".startswith(f"{other}.")} for name, used in graph.items()}
    )
    sorter.prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(TORCH_FREE)])
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
        "['ASRDataset', 'Tasks', 'Trainers', 'Transcript', '__version__', 'build_trainer', 'load', 'modelscope_args', "
        "'pipeline']",
        "False",
    ]


def test_the_environment_is_changed_by_commands_and_by_no_import() -> None:
    code = """
import os
from funrecipe.cli import CACHED_SHAPES, main
for name in CACHED_SHAPES:
    os.environ.pop(name, None)
os.environ["LRU_CACHE_CAPACITY"] = "64"
import funrecipe.decode.recognizer, funrecipe.decode.streaming, funrecipe.speaker.embedding, funrecipe.vad.detector
print([os.environ.get(name) for name in sorted(CACHED_SHAPES)])
main(["--version"])
print([os.environ.get(name) for name in sorted(CACHED_SHAPES)])
"""
    said = python("-c", code).stdout.splitlines()
    assert (said[0], said[-1]) == ("['64', None]", "['64', '128']")


def test_commands_of_a_recipe_work_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    """The whole of `validate`, `shard`, `merge` and `score`, not just their options."""
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not to be imported here')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    data, out = ROOT / "egs/quickstart/data", tmp_path / "out"
    said, model = ROOT / "tests/data/funasr_greedy/text", ROOT / "egs/quickstart/model"
    scoring = ["--ref", data / "text", "--hyp", said, "--out", tmp_path / "text.cer"]
    for expected, *arguments in [
        (0, "validate", "--data_dir", data),
        (0, "shard", "--model", model, "--data_dir", data, "--output_dir", out, "--njob", "3"),
        (4, "merge", "--plan", out),
        (0, "score", *scoring, "--plan", out / "plan.json"),
        (0, "status", out),
    ]:
        command = [sys.executable, "-m", "funrecipe", *map(str, arguments)]
        result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=900)
        assert result.returncode == expected, result.stderr
    lines = (tmp_path / "text.cer").read_text().splitlines()
    assert lines[-1] == "Scored 40 sentences, 0 not present in hyp."


def named_in_architecture() -> list[str]:
    """Paths that the pages on the code name in backticks."""
    return files_named_in(
        (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("architecture.md", "contracts.md")
    )


def files_named_in(texts: Iterable[str]) -> list[str]:
    """Paths in backticks; a bare file name stands beside the path before it."""
    named, folder = [], ""
    for word in re.findall(r"`([\w./-]+(?:\.py|\.sh|/))`", "".join(texts)):
        if "/" in word.rstrip("/"):
            folder = word.rstrip("/").rpartition("/")[0]
        named.append(word if (ROOT / word).exists() or not folder else f"{folder}/{word}")
    return named


def defined_in(path: Path) -> set[str]:
    """Functions, classes, arguments, and names and attributes that are assigned, anywhere in a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def test_the_pages_on_the_code_name_no_file_that_is_not_there() -> None:
    missing = [word for word in named_in_architecture() if not (ROOT / word).exists()]
    missing = [word for word in missing if not (PACKAGE / word).exists() and not list(PACKAGE.rglob(Path(word).name))]
    assert missing == []


def test_the_architecture_page_finds_what_it_names_in_a_file() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`(funrecipe/[\w/]+\.py)` \(([^)]*)\)", page)
    assert len(named) > 10
    for path, words in named:
        assert set(re.findall(r"`(\w+)`", words)) <= defined_in(ROOT / path), path


def test_names_without_a_file_are_in_a_file_of_the_same_step_or_row() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Reading order")[2]
    items = re.findall(r"^(?:\d+\. .*(?:\n   .*)*|\| .*)$", page, re.MULTILINE)
    assert len(items) > 50
    for item in items:
        files = [ROOT / name for name in files_named_in([item])]
        texts = [path.read_text(encoding="utf-8") for path in files if path.is_file()]
        for name in re.findall(r"`(\w+)`", item):
            assert any(re.search(rf"\b{name}\b", text) for text in texts), f"{name} of: {item}"


def test_the_architecture_page_names_every_part() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    parts = {module.split("/")[0].removesuffix(".py") for module in MODULES} - {"__init__", "__main__"}
    assert [part for part in sorted(parts) if not re.search(rf"\b{part}(/|\.py)`", page)] == []


def test_the_reading_order_is_about_twenty_files_that_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    files = re.findall(r"^\d+\. `([\w./]+)`", page, re.MULTILINE)
    assert len(files) == 20
    assert [name for name in files if not (ROOT / name).is_file()] == []
