"""What every registered backbone is: size, needs, sizes, weights and where it comes from.

A network is built on torch's `meta` device, which holds shapes and no numbers, so that the largest
takes as long as the smallest. One that cannot be built is described by why.
"""

from dataclasses import dataclass
from importlib.metadata import metadata

import torch

from colondepth.backbones.contract import SizeRule
from colondepth.backbones.registry import backbones, create
from colondepth.weights import ShippedWeights, shipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One backbone; only `name`, `owner` and `fault` if it cannot be built."""

    name: str
    owner: str  # the package that brings it, with its version
    parameters: int | None = None
    needs: str = ""
    gives: str = ""
    sizes: str = ""
    metric: bool | None = None
    weights: str = ""  # file that comes in the package, or nothing
    weights_sha256: str = ""
    weights_licence: str = ""
    source: str = ""
    fault: str = ""


def describe_all() -> tuple[Description, ...]:
    """Describe every backbone that installed packages bring, by name."""
    weights = {file.path.stem: file for file in shipped()}
    return tuple(describe(name, weights.get(name)) for name in backbones.names())


def describe(name: str, weights: ShippedWeights | None) -> Description:
    """Describe one backbone and the weights that came for it, if any."""
    owner = backbones.owner(name)
    try:
        with torch.device("meta"):
            network = create(name)
    except Exception as error:  # noqa: BLE001 - a stranger's network may raise anything
        return Description(name=name, owner=owner, fault=f"{type(error).__name__}: {error}")
    return Description(
        name=name,
        owner=owner,
        parameters=sum(each.numel() for each in network.parameters()),
        needs=str(network.needs),
        gives=str(network.gives),
        sizes=sizes_in_words(network.sizes),
        metric=network.metric,
        weights=weights.path.name if weights else "",
        weights_sha256=weights.sha256 if weights else "",
        weights_licence=metadata("colondepth")["License-Expression"] if weights else "",
        source=network.source,
    )


def sizes_in_words(rule: SizeRule) -> str:
    """Return a size rule as a person would say it."""
    if rule.exact is not None:
        return f"{rule.exact[0]}x{rule.exact[1]} only"
    words = f"multiples of {rule.multiple}" if rule.multiple > 1 else "any"
    if max(rule.least) > rule.multiple:
        words += f" from {rule.least[0]}x{rule.least[1]}"
    return words
