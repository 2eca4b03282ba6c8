"""Every generated text: tables, the block of the README, and the report, whose numbers come from
the tables alone.

A template holds lines `<!-- table: NAME -->`, which a table follows in the report, and places
`{{NAME | word | ...}}`: the cell of that table whose row holds all the words, which becomes its
text and unit with a link to the table; a word may name its column, as pool=mean. In tables that are
text alone (verdicts, headline) the last word is the column.
"""

import json
import re
from pathlib import Path

import pandas as pd

from gigp.errors import InputError
from gigp.study.experiments import Experiment, read_experiments, table_members
from gigp.study.findings import convergence_table, headline_table, verdict_table
from gigp.study.formatting import Table, fill
from gigp.study.paper import paper_table
from gigp.study.published import published_table, read_published
from gigp.study.runs import NO_EXPERIMENT, read_records, with_missing
from gigp.study.speed import speed_report
from gigp.study.studies import study_tables
from gigp.study.tables import comparisons, paired_table, results, results_table

START, END = "<!-- results: make_tables.py -->", "<!-- end of results -->"
REPORTS = {
    "docs/report/results.md": "results/README.md",
    "docs/report/paper_scale.md": "results/paper_scale.md",
}


def make(root: Path) -> dict[Path, str]:
    """Every generated file below a root that holds README.md, docs and results, with its text."""
    experiments = read_experiments()
    records = read_records(root / "results" / "runs", experiments)
    tables = make_tables(root, records, experiments)
    files = {
        root / "results" / "tables" / f"{table.name}.{ending}": text
        for table in tables.values()
        for ending, text in table.files().items()
    }
    readme = root / "README.md"
    files[readme] = fill(readme.read_text(), START, END, tables["headline"].markdown(), "README.md")
    for template, report in REPORTS.items():
        text = fill_template((root / template).read_text(), tables, template)
        files[root / report] = drop_missing_figures(text, (root / report).parent)
    measured = [
        json.loads(path.read_text())
        for path in sorted((root / "results" / "benchmarks").glob("*.json"))
    ]
    if measured:
        files[root / "results" / "tables" / "speed.md"] = "\n".join(map(speed_report, measured))
    return files


def make_tables(
    root: Path, records: pd.DataFrame, experiments: dict[str, Experiment]
) -> dict[str, Table]:
    """All tables by name: two for each family of experiments, and what is made of all of them."""
    folder = root / "results"
    published, benchmark = (
        read_published(folder / "published.yaml"),
        folder / "benchmarks" / "cpu.json",
    )
    tables, numbers = [], []
    for name, members in families(records, experiments).items():
        mine = family(records, members, experiments)
        cells, pairs = results(mine, published), comparisons(mine)
        tables.append(results_table(name, cells, experiments, published))
        if len(pairs):
            tables += [paired_table(name, pairs, experiments), verdict_table(name, pairs, mine)]
        numbers.append(cells)
    cells = pd.concat(numbers) if numbers else results(records, published)
    tables += [
        headline_table(records, cells, experiments),
        convergence_table(folder / "runs", experiments),
        published_table(published),
        paper_table(
            root, records, json.loads(benchmark.read_text()) if benchmark.exists() else None
        ),
        *study_tables(folder / "studies"),
    ]
    return {table.name: table for table in tables}


def stale_files(root: Path, wanted: dict[Path, str]) -> list[Path]:
    """Files that differ from what they should hold, are not there, or should not be there."""
    differ = [
        path for path, text in wanted.items() if not path.exists() or path.read_text() != text
    ]
    return differ + sorted(set((root / "results" / "tables").glob("*.*")) - wanted.keys())


def families(records: pd.DataFrame, experiments: dict[str, Experiment]) -> dict[str, list[str]]:
    """Experiments by the table they stand in; one that names none, or has no file here, has a table
    of its own.
    """
    found = table_members(experiments)
    for name in dict.fromkeys(records["experiment"]):
        if name not in experiments or not experiments[name].table:
            found.setdefault("single_runs" if name == NO_EXPERIMENT else name, []).append(name)
    return found


def family(
    records: pd.DataFrame, members: list[str], experiments: dict[str, Experiment]
) -> pd.DataFrame:
    """Records of some experiments, and what they lack at scale=small and at every scale that was
    begun.
    """
    mine = records[records["experiment"].isin(members)]
    cells = []
    for experiment in (
        experiments[m] for m in members if m in experiments and experiments[m].sweeps
    ):
        begun = set(mine.loc[mine["experiment"] == experiment.name, "scale"])
        for scale in ["small", *sorted(begun - {"small"})]:
            cells += experiment.cells(scale)
    return with_missing(mine, cells, experiments)


def fill_template(template: str, tables: dict[str, Table], where: str) -> str:
    """The report that a template makes with these tables.

    Raises:
        InputError: a table, or a cell of one, that is not there, or words that fit several cells.
    """

    def block(match: re.Match) -> str:
        name = match[1]
        if name not in tables:
            raise InputError(
                f"{where} asks for the table {name}; there are {', '.join(sorted(tables))}."
            )
        return f"<!-- table: {name} -->\n{tables[name].markdown()}<!-- end of table -->"

    def place(match: re.Match) -> str:
        name, *words = [word.strip() for word in match[1].split("|")]
        if name not in tables:
            raise InputError(
                f"{where} cites the table {name}; there are {', '.join(sorted(tables))}."
            )
        return f"[{cite(tables[name], words, where)}](tables/{name}.md)"

    filled = re.sub(r"^<!-- table: (\w+) -->$", block, template, flags=re.MULTILINE)
    return re.sub(r"\{\{(.*?)\}\}", place, filled)


def drop_missing_figures(text: str, folder: Path) -> str:
    """The text without the lines that show a figure which was not drawn."""

    def line(match: re.Match) -> str:
        return match[0] if (folder / match[1]).exists() else ""

    return re.sub(r"^!\[[^]]*\]\(([^)]+)\)\n\n", line, text, flags=re.MULTILINE)


def cite(table: Table, words: list[str], where: str) -> str:
    """Text and unit of the one cell that words single out."""
    frame, column = table.shown, words[-1]
    if table.numbers is not None and "text" in table.numbers:
        frame, column = table.numbers, "text"
    else:
        words = words[:-1]
    cells = [
        {*map(str, row.values()), *(f"{k}={v}" for k, v in row.items())}
        for row in frame.to_dict("records")
    ]
    rows = frame[[set(words) <= found for found in cells]]
    if column not in frame or len(rows) != 1:
        cited = " | ".join([table.name, *words])
        raise InputError(f"{where}: {{{{{cited}}}}} fits {len(rows)} cells; it must fit one.")
    row = rows.iloc[0]
    with_unit = column == "text" and row[column] != "missing" and row["unit"] != "1"
    return f"{row[column]} {row['unit']}" if with_unit else str(row[column])
