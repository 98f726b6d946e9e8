"""`colondepth compare`: is one evaluation better than another, beyond chance?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from colondepth.console import err, out, print_json

if TYPE_CHECKING:
    from evaluation.comparison import Comparison

AverageName = Literal["macro", "micro"]  # Average would import scipy


def compare(
    a: Annotated[Path, typer.Argument(help="Folder of an evaluation, or its summary.json.")],
    b: Annotated[Path, typer.Argument(help="The other one, under the same protocol.")],
    average: Annotated[
        AverageName | None,
        typer.Option(help="Every clip, or every frame, counts the same; else the protocol's way."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Writes the table there: Markdown, LaTeX, JSON.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two evaluations, frame by frame, with intervals and p-values over whole clips."""
    import json

    from colondepth.atomic import written_whole
    from evaluation import comparison as comparisons
    from evaluation.report_tables import as_latex, as_markdown
    from evaluation.statistics import Average

    chosen = None if average is None else Average(average)
    found = comparisons.compare(a, b, average=chosen, seed=seed)
    table, answer = comparisons.comparison_table(found), comparisons.comparison_json(found)
    if folder is not None:
        forms = {
            "comparison.md": as_markdown(table),
            "comparison.tex": as_latex(table),
            "comparison.json": json.dumps(answer, indent=2) + "\n",
        }
        for name, text in forms.items():
            with written_whole(folder / name) as path:
                path.write_text(text, encoding="utf-8")
        err.print(f"written into {folder}", soft_wrap=True, highlight=False, markup=False)
    if as_json:
        print_json(answer)
        return
    _print(found)
    for note in table.notes:
        out.print(note, soft_wrap=True, highlight=False, markup=False)


def _print(found: "Comparison") -> None:
    """Print what fits into 80 columns; `--out` and `--json` give all of it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from evaluation.comparison import comparison_table

    full = comparison_table(found)
    shown = [place for place, name in enumerate(full.head) if name != "p"]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place in shown:
        left = place == 0
        table.add_column(Text(full.head[place]), justify="left" if left else "right", no_wrap=left)
    for row in full.rows:
        # The means alone: what counts is the interval of their difference.
        cells = [row[0], row[1].split(" ")[0], row[2].split(" ")[0], *row[3:]]
        table.add_row(*(Text(cells[place]) for place in shown))
    out.print(table)
