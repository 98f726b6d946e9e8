"""Networks that see: each is registered under a name by some package's entry points."""

from colondepth.plugins import Plugins

backbones = Plugins("colondepth.backbones", kind="backbone")

__all__ = ["backbones"]
