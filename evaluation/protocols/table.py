"""The documents' table of protocols, made from the protocols themselves."""

from evaluation.protocols.names import ELSEWHERE, named_protocol, names
from evaluation.protocols.protocol import AVERAGES, Protocol

BEGIN, END = "<!-- table of protocols: begin -->", "<!-- table of protocols: end -->"
_HEAD = (
    *("protocol", "used by", "frames", "length", "picture and region", "mask and limits"),
    *("alignment", "averaged", "rounding", "figures"),
)


def table() -> str:
    """Return the table in Markdown."""
    rows = [_HEAD, ("---",) * len(_HEAD)]
    rows += [_row(named_protocol(name)) for name in names()]
    rows += [(f"`{name}`", *("",) * (len(_HEAD) - 2), words) for name, words in ELSEWHERE.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def doubts() -> str:
    """Return what is not known about each protocol, in Markdown."""
    parts = []
    for name in names():
        protocol = named_protocol(name)
        lines = "\n".join(f"- {words}" for words in protocol.doubts)
        parts.append(f"**`{name}`** ({protocol.paper})\n\n{lines}")
    return "\n\n".join(parts)


def _row(protocol: Protocol) -> tuple[str, ...]:
    picture = protocol.picture.words if protocol.picture else "the dataset's own"
    region = f"; {protocol.region.name}" if protocol.region else ""
    beside = f"; beside it {', '.join(protocol.beside)}" if protocol.beside else ""
    return (
        f"`{protocol.name}`",
        ", ".join(protocol.used_by),
        protocol.split_words,
        protocol.length,
        f"{picture}{region}",
        f"{protocol.mask}; limits {protocol.limits}",
        f"{protocol.aligned}{beside}",
        AVERAGES[protocol.average],
        protocol.rounding.words if protocol.rounding else "none",
        ", ".join(f"`{name}`" for name in protocol.reported),
    )
