"""`colondepth demo`: the whole chain on a colon that the program draws."""

from pathlib import Path
from typing import Annotated

import typer

from colondepth.console import err, out


def demo(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the page.")] = Path("demo"),
) -> None:
    """Render a withdrawal, predict, score and rebuild it, and make a page; no data, no network."""
    with err.status("Starting") as status:
        from dashboards.demo import show

        figures = show(folder, tick=status.update)
    for figure in figures:
        out.print(f"{figure.name:32}{figure.value:10.3g} {figure.unit}", highlight=False)
    out.print(f"Open {folder / 'index.html'}", highlight=False, soft_wrap=True)
