"""Depth, the colon wall and its cameras, from colonoscopy images.

Research software, not for diagnosis.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colondepth.inference import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Bring in what needs torch only when it is asked for: `--help` does not."""
    if name == "load":
        from colondepth.inference import load

        return load
    raise AttributeError(f"module 'colondepth' has no attribute {name!r}")
