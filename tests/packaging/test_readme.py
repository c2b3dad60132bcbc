"""The README's claims: its links lead somewhere, its commands exist. Its Python: tests/recipes/test_quickstart.py."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_of_the_page_on_exit_codes() -> None:
    page = (ROOT / "docs/exit_codes.md").read_text(encoding="utf-8")
    shown = [line.removeprefix("    ") for line in page.splitlines() if line.startswith("    ")]
    assert shown[0].startswith("$ bash ")
    result = subprocess.run(shown[0].split()[1:], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.splitlines() == shown[1:]


def test_links_of_the_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "egs").rglob("README.md"))]
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_the_first_screen_has_the_two_commands() -> None:
    first_screen = README.splitlines()[:25]
    commands = [line.split()[1] for line in first_screen if line.startswith("    bash ")]
    assert commands[:2] == ["egs/quickstart/infer.sh", "tools/test.sh"]
    assert all((ROOT / command).is_file() for command in commands[:2])


def test_lines_of_the_pages_fit_a_screen() -> None:
    """Tables and code blocks aside, a line of a page has at most 140 characters."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("egs/**/*.md"), *ROOT.glob("tools/**/*.md")]
    long = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in pages
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > 140 and not line.startswith(("|", "    "))
    ]
    assert long == []
