"""Backbones by name.

A name stands for a function without required arguments that builds an untrained network; some
package's entry points bring it (group `colondepth.backbones`), ours and a hospital's alike.
"""

from typing import TYPE_CHECKING, Any

from colondepth.errors import PluginError
from colondepth.plugins import Plugins

if TYPE_CHECKING:  # names are listed without torch
    from colondepth.backbones.contract import Backbone

backbones = Plugins("colondepth.backbones", kind="backbone")


def create(name: str, **options: Any) -> "Backbone":
    """Build an untrained network by its name; a misspelt one is answered with the nearest."""
    from colondepth.backbones.contract import Backbone

    network = backbones.load(name)(**options)
    if not isinstance(network, Backbone):
        raise PluginError(
            f"the backbone {name!r} of {backbones.owner(name)} gave a {type(network).__name__},"
            " expected a colondepth.backbones.contract.Backbone; update or uninstall that package"
        )
    return network
