"""`colondepth doctor`: is this machine able to run colondepth?"""

from dataclasses import asdict
from typing import Annotated

import typer

from colondepth.console import err, out, print_json


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Check Python, torch, device, video, rendering and weights, and name the cure for each fault.

    Exits with 1 if anything will not do.
    """
    from rich.table import Table

    from colondepth.doctor import examine

    with err.status("Examining this machine"):
        findings = examine()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = Table("", "found", "", "cure", box=None, pad_edge=False)
        for finding in findings:
            verdict = "[green]OK[/green]" if finding.ok else "[red]NO[/red]"
            table.add_row(finding.name, finding.found, verdict, finding.cure)
        out.print(table, highlight=False)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
