"""One run per folder; what a recipe started ends with it, even when the recipe is killed outright."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from funrecipe.errors import DataError
from funrecipe.processes import PARENT_VARIABLE, is_out_of_memory, only_run_in, stop_signals

ROOT = Path(__file__).parents[1]
WAIT = (
    "import sys, time\n"
    "from funrecipe.processes import end_with_parent\n"
    "end_with_parent()\n"
    "print('ready', flush=True)\n"
    "sys.stdin.readline()\n"
)


def test_a_folder_has_one_run_at_a_time_and_is_free_after_it(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    second = pytest.raises(DataError, match=rf"another run works in this folder \(process {os.getpid()} on")
    with only_run_in(folder), second, only_run_in(folder):
        pass
    with only_run_in(folder):
        pass


def test_a_lock_holds_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with only_run_in(tmp_path), pytest.raises(DataError, match="another run works"), only_run_in(tmp_path):
        pass


def test_a_closed_terminal_asks_to_stop_unless_nohup_said_otherwise() -> None:
    before = [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)]
    try:
        assert stop_signals() == [signal.SIGINT, signal.SIGTERM]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert stop_signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    finally:
        for number, handler in zip((signal.SIGHUP, signal.SIGINT), before):
            signal.signal(number, handler)


def test_a_lock_is_dropped_with_its_process(tmp_path: Path) -> None:
    hold = "import sys\n"
    hold += (
        "from pathlib import Path\nfrom funrecipe.processes import only_run_in\nwith only_run_in(Path(sys.argv[1])):\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{hold}    print('held', flush=True)\n    input()", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(DataError, match=f"process {holder.pid}"), only_run_in(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with only_run_in(tmp_path):
        pass


def start_recipe(tmp_path: Path) -> tuple[subprocess.Popen[str], int]:
    """A recipe whose Python waits for its parent's end; the recipe and the process id of its Python."""
    recipe = tmp_path / "recipe.sh"
    recipe.write_text(f'source {ROOT}/utils/recipe.sh\nrun_python -c "$1"\n')
    environment = {**os.environ, "PYTHON": sys.executable}
    process = subprocess.Popen(
        ["bash", str(recipe), f"import os; print(os.getpid(), flush=True)\n{WAIT}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert process.stdout.readline() == "ready\n"
    return process, child


def test_a_recipe_that_is_killed_outright_takes_its_python_with_it(tmp_path: Path) -> None:
    recipe, child = start_recipe(tmp_path)
    assert Path(f"/proc/{child}").exists()
    recipe.send_signal(signal.SIGKILL)
    recipe.wait()
    assert recipe.stdout is not None
    assert recipe.stdout.read() == ""  # returns when the last process that holds the pipe has ended


def test_a_process_whose_parent_is_another_one_is_left_alone() -> None:
    result = subprocess.run(
        [sys.executable, "-c", WAIT + "time.sleep(0.8)\nprint('alive')"], input="\n", capture_output=True, text=True,
        env={**os.environ, PARENT_VARIABLE: "1"}, cwd=ROOT,
    )  # fmt: skip
    assert result.stdout == "ready\nalive\n"


@pytest.mark.parametrize(
    "message,is_lack_of_memory",
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasGemmEx(...)`", True),
        ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("cuFFT error: CUFFT_ALLOC_FAILED", True),
        ("could not create a primitive", True),
        ("could not create a primitive descriptor for the LSTM forward propagation primitive", False),
        ("CUDA error: an illegal memory access was encountered", False),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`", False),
    ],
)
def test_lack_of_memory_is_told_from_other_errors(message: str, is_lack_of_memory: bool) -> None:
    assert is_out_of_memory(RuntimeError(message)) is is_lack_of_memory
