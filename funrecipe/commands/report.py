"""``funrecipe report RESULT_DIR``: ``report.html``, one page that opens offline, and ``RESULTS.md``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("result_dir", type=Path, help="output_dir or 1best_recog of a scored run")
    add("--out_dir", type=Path, help="folder of report.html and RESULTS.md (default: the output_dir of the run)")
    add("--data_dir", type=Path, help="Kaldi data directory with utt2spk, utt2set, utt2dur (default: that of the run)")
    add("--hotwords", help="file (one per line), or the words themselves, for their recall and precision")
    add(
        "--audio",
        default="link",
        choices=("link", "embed", "none"),
        help="relative links to the audio files (default), the audio inside the page, or none",
    )
    add("--digest", help="refuse the results of any plan but this one")
    add("--title", help="title of the page (default: the name of the result folder)")


def run(args: argparse.Namespace) -> None:
    from funrecipe.jobs.report_run import report_run

    how = {name: getattr(args, name) for name in ("out_dir", "data_dir", "hotwords", "audio", "digest", "title")}
    page, markdown = report_run(args.result_dir, **how)
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB), {markdown}")
