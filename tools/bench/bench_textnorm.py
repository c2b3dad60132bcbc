"""Lines per second of the normalization profiles, one core, beside cn2an and wetext where they are installed.

Usage: python tools/bench/bench_textnorm.py [--lines N]
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from funrecipe.text.normalize import get_profile  # noqa: E402
from tools.bench.sides import machine  # noqa: E402

LINE_LENGTH = 20
HANZI = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多"
EXPRESSIONS: list[Callable[[random.Random], str]] = [
    lambda r: f"{r.randint(1950, 2030)}年{r.randint(1, 12)}月{r.randint(1, 28)}日",
    lambda r: f"{r.randint(1, 99)}.{r.randint(1, 9)}%",
    lambda r: f"{r.randint(1, 99999)}元",
    lambda r: f"{r.randint(2, 3000)}个",
    lambda r: f"{r.randint(0, 23)}:{r.randint(10, 59)}",
    lambda r: f"13{r.randint(10**8, 10**9 - 1)}",
    lambda r: f"{r.randint(1, 9)}/{r.randint(2, 9)}",
    lambda r: f"{r.randint(1, 500)}kg",
    lambda r: str(r.randint(1, 10**6)),
]


def make_lines(count: int, share_with_number: float, generator: random.Random) -> list[str]:
    """Lines of 20 characters; the given share of them holds one number expression."""
    lines = []
    for _ in range(count):
        expression = ""
        if generator.random() < share_with_number:
            expression = generator.choice(EXPRESSIONS)(generator)
        hanzi = "".join(generator.choices(HANZI, k=max(LINE_LENGTH - len(expression), 4)))
        cut = generator.randrange(len(hanzi))
        lines.append(hanzi[:cut] + expression + hanzi[cut:])
    return lines


def lines_per_second(normalize: Callable[[str], str], lines: list[str]) -> float:
    start = time.process_time()
    for line in lines:
        normalize(line)
    return len(lines) / (time.process_time() - start)


def installed_rivals() -> dict[str, tuple[Callable[[str], str], int]]:
    """Name → (function, how many times fewer lines it gets)."""
    rivals: dict[str, tuple[Callable[[str], str], int]] = {}
    if importlib.util.find_spec("cn2an"):
        import cn2an

        rivals["cn2an.transform"] = (lambda text: cn2an.transform(text, "an2cn"), 10)
    if importlib.util.find_spec("wetext"):
        from wetext import Normalizer

        rivals["wetext"] = (Normalizer(lang="zh", operator="tn", remove_erhua=True).normalize, 100)
    return rivals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=20000)
    count = parser.parse_args().lines
    shares = {"none": 0, "10%": 0.1, "all": 1}
    sets = {label: make_lines(count, share, random.Random(1)) for label, share in shares.items()}
    print(machine())
    print(f"{'lines/s, lines with a number:':<32}" + "".join(f"{label:>10}" for label in sets))
    speeds = {}
    for name in ("strict", "speechio", "funasr2023", "itn"):
        normalize = get_profile(name).normalize
        speeds[name] = [lines_per_second(normalize, lines) for lines in sets.values()]
        print(f"{name:<32}" + "".join(f"{speed:>10,.0f}" for speed in speeds[name]))
    for name, (normalize, fewer) in installed_rivals().items():
        rival = [lines_per_second(normalize, lines[: max(count // fewer, 50)]) for lines in sets.values()]
        print(f"{name:<32}" + "".join(f"{speed:>10,.0f}" for speed in rival))
        print(f"{'  strict is faster by':<32}" + "".join(f"{a / b:>9.1f}x" for a, b in zip(speeds["strict"], rival)))


if __name__ == "__main__":
    main()
