"""Damage the configuration of tiny models at random: ``python -m tools.fuzz.configs [--count 500] [--seed 0]``.

Each case changes one value, key or line of a ``config.yaml`` (or writes hostile YAML into it), then opens the folder,
builds the model and decodes a second of noise. It must work or end with a FunrecipeError, within ten seconds. Exits
with 1 when a case does anything else.
"""

from __future__ import annotations

import argparse
import collections
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from funrecipe.errors import FunrecipeError

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = (
    "paraformer",
    "conformer",
    "rnnt",
    "paraformer_online",
    "uniasr",
    "contextual_paraformer",
    "bicif_paraformer",
)
LIMIT_S = 10
WRONG: tuple[Any, ...] = (
    *(None, "banana", "", -1, 0, 0.5, 1e18, 10**9, float("nan"), float("inf"), True, [], [1, 2], {}, {"a": 1}),
    *("16k", "1e400", [[]], "null", -(10**9)),
)
HOSTILE = (
    "a: &a [*a]\n",
    "when: 2023-02-30\n",
    "number: " + "9" * 5000 + "\n",
    ".nan: 1\n",
    "x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 10)),
    "deep: " + "[" * 20_000 + "\n",
    "code: !!python/object/apply:os.system [true]\n",
    "? [1, 2]\n: 3\n",
    "\x00\n",
)


def places_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value of a nested mapping, except token lists."""
    if not isinstance(value, dict):
        return [path]
    return [path] * bool(path) + [
        p for key, v in value.items() if key != "token_list" for p in places_of(v, (*path, key))
    ]


def damage(config: dict[str, Any], choose: random.Random) -> str:
    """Change one thing in ``config``; says what."""
    place = choose.choice(places_of(config))
    holder = config
    for key in place[:-1]:
        holder = holder[key]
    action = choose.random()
    if action < 0.7:
        holder[place[-1]] = choose.choice(WRONG)
        return f"{'.'.join(place)} = {holder[place[-1]]!r}"
    if action < 0.85:
        del holder[place[-1]]
        return f"without {'.'.join(place)}"
    holder[f"{place[-1]}x"] = holder.pop(place[-1])
    return f"{'.'.join(place)} misspelled"


def open_and_decode(folder: Path) -> None:
    from funrecipe.decode.recognizer import load_recognizer
    from funrecipe.model_folder import open_model_folder

    recognizer = load_recognizer(open_model_folder(folder))
    noise = np.random.default_rng(0).standard_normal(recognizer.sample_rate_hz).astype(np.float32)
    recognizer.transcribe([0.1 * noise])


def outcome(case: Callable[[], None]) -> str:
    """``fine``, ``refused``, or what went wrong."""

    def too_slow(*_: object) -> None:
        raise TimeoutError(f"more than {LIMIT_S} s of CPU time")

    signal.signal(signal.SIGPROF, too_slow)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)  # wall time depends on what else runs
    try:
        case()
    except FunrecipeError:
        return "refused"
    except Exception:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "fine"


def run(count: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    """Counts of outcomes, and the cases that went wrong with their tracebacks."""
    choose, counts, wrong = random.Random(seed), collections.Counter[str](), []
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            family = choose.choice(FAMILIES)
            folder = Path(place) / "model"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(ROOT / "tests/data/parity" / family, folder)
            path = folder / "config.yaml"
            if choose.random() < 0.15:
                what = choose.choice(HOSTILE)
                path.write_text(path.read_text(encoding="utf-8") + what, encoding="utf-8")
            else:
                config = yaml.safe_load(path.read_text(encoding="utf-8"))
                what = damage(config, choose)
                path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
            said = outcome(lambda folder=folder: open_and_decode(folder))

            counts[said if said in ("fine", "refused") else "wrong"] += 1
            if said not in ("fine", "refused"):
                wrong.append(f"case {number}, {family}: {what[:100]!r}\n{said}")
    return counts, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts, wrong = run(args.count, args.seed)
    print("\n".join(wrong))
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
