#!/usr/bin/env python3
"""table.py OUTPUT_DIR SET ...: one table over the RESULTS.json of every set, and all of them pooled.

Pooled means Σ errors / Σ tokens, as the leaderboard ranks; sets are never averaged. Writes RESULTS.md and results.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from funrecipe.files import write_json, write_text  # noqa: E402
from funrecipe.score.scoring import percent  # noqa: E402


def read_row(output_dir: Path, name: str) -> dict:
    result = json.loads((output_dir / name / "1best_recog" / "RESULTS.json").read_text(encoding="utf-8"))
    published, strict = result["speechio"], result["strict"]
    return {
        "set": name,
        "profile": f"{result['profile']['name']} {result['profile']['version']}",
        "errors": published["S"] + published["I"] + published["D"],
        "tokens": published["C"] + published["S"] + published["D"],
        "substitutions": published["S"],
        "insertions": published["I"],
        "deletions": published["D"],
        "evaluated": published["num_eval_utts"],
        "strict_errors": strict["errors"],
        "strict_tokens": strict["tokens"],
        "references": strict["coverage"]["references"],
    }


def pool(rows: list[dict]) -> dict:
    return {key: "all" if key == "set" else sum(row[key] for row in rows) for key in rows[0] if key != "profile"}


def table(rows: list[dict]) -> str:
    lines = [
        "| set | CER % | strict CER % | errors / tokens | sub | ins | del | evaluated / references |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['set']} | {percent(row['errors'], row['tokens']):.2f} "
            f"| {percent(row['strict_errors'], row['strict_tokens']):.2f} | {row['errors']} / {row['tokens']} "
            f"| {row['substitutions']} | {row['insertions']} | {row['deletions']} "
            f"| {row['evaluated']} / {row['references']} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("sets", nargs="+")
    args = parser.parse_args()
    rows = [read_row(args.output_dir, name) for name in args.sets]
    pooled = pool(rows)
    profiles = ", ".join(sorted({row["profile"] for row in rows}))
    text = (
        f"{table([*rows, pooled])}\n\nNormalization profile: {profiles}. CER: SpeechIO's protocol; strict: every "
        'reference counts.\n"all" is pooled: sum of errors / sum of tokens.\n'
    )
    write_text(args.output_dir / "RESULTS.md", f"# SpeechIO\n\n{text}")
    write_json(args.output_dir / "results.json", {"sets": rows, "all": pooled})
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
