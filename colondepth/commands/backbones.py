"""`colondepth backbones`: which networks are here, and what is each good for?"""

from dataclasses import asdict
from typing import Annotated

import typer

from colondepth.console import err, out, print_json


def backbones(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """List every network: parameters, needs, gives, sizes, metric or not, weights, source.

    One that cannot be built is a row that says why. Weights that come in the package are under the
    licence that stands beside them.
    """
    from rich.table import Table
    from rich.text import Text

    from colondepth.backbones.description import describe_all

    with err.status("Looking at the networks"):
        found = describe_all()
    if as_json:
        print_json([asdict(each) for each in found])
        return
    table = Table("name", "parameters", "what it is", box=None, pad_edge=False)
    for each in found:
        if each.fault:
            said = f"cannot be used: {each.fault} ({each.owner})"
            table.add_row(each.name, "", Text(said, style="red"))
            continue
        metric = "metric" if each.metric else "each answer has a scale of its own"
        weights = f"{each.weights}, {each.weights_licence}" if each.weights else "none"
        said = (
            f"{each.needs} -> {each.gives}, {metric}\nsizes: {each.sizes}; weights: {weights}\n"
            f"{each.source}"
        )
        table.add_row(each.name, f"{each.parameters:,}", Text(said))
    out.print(table)
