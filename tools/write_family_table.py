"""Write the table of ``docs/models.md`` from ``funrecipe/families.py``: ``python -m tools.write_family_table``.

A test checks that the page is what this writes.
"""

from __future__ import annotations

from pathlib import Path

from funrecipe.families import FAMILIES, Family

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- families: written by tools/write_family_table.py -->", "<!-- end of families -->"
YES, NO = "yes", "–"


def capabilities(family: Family) -> dict[str, str]:
    """Column -> what the family does."""
    times = "always" if family.has_times else "`--timestamp`, CTC head" if "timestamp" in family.options else NO
    able = {
        "offline": family.search,
        "streaming": family.stream,
        "timestamps": None,
        "hotwords": "hotword" in family.options,
        "LM": "lm_weight" in family.options,
        "fine-tune": family.objective,
        "export": family.export,
        "int8": family.search or family.stream,
    }
    return {name: times if name == "timestamps" else YES if value else NO for name, value in able.items()}


def table() -> str:
    """A row for every family that is a recognizer, or that is known and does not run."""
    rows = [(name, family) for name, family in FAMILIES.items() if family.search or family.unsupported]
    columns = list(capabilities(rows[0][1]))
    lines = [f"| family | what it is | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for name, family in rows:
        if family.unsupported:
            said = [f"does not run: {family.unsupported}", *[""] * (len(columns) - 1)]
        else:
            said = list(capabilities(family).values())
        lines.append(f"| `{name}` | {family.summary} | {' | '.join(said)} |")
    return "\n".join(lines)


def table_of_others() -> str:
    """A row for every family that runs and does not recognize speech by itself."""
    lines = ["| family | what it is | used with | fine-tune | export |", "|---|---|---|---|---|"]
    for name, family in FAMILIES.items():
        if not family.search and not family.unsupported:
            able = " | ".join(YES if part else NO for part in (family.objective, family.export))
            lines.append(f"| `{name}` | {family.summary} | {family.instead} | {able} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """``text`` with the tables between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{table_of_others()}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
