"""Pages that open from a file, without a network: one look, and the same warning on all of them.

A page is HTML that its writer has escaped; words that come from data go through `html.escape`.
Nothing on a page may be fetched from anywhere: the browser is told so, and would refuse.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from colondepth.atomic import written_whole

_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg"}


def write_page(path: Path, *, title: str, body: str, lead: str = "") -> None:
    """Write a page.

    Args:
        path: of the HTML file.
        title: words, escaped here.
        body: HTML.
        lead: HTML of a paragraph between title and warning.
    """
    page = _PAGE.format(
        title=escape(title), style=_STYLE, lead=f"<p>{lead}</p>" if lead else "", body=body
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def inlined(picture: Path) -> str:
    """Return a picture as the address of an `img`, with all of it inside."""
    data = b64encode(picture.read_bytes()).decode("ascii")
    return f"data:{_TYPES[picture.suffix]};base64,{data}"


def figure(source: str, words: str) -> str:
    """Return a picture with words under it.

    Args:
        source: of the `img`: a file beside the page, or what `inlined` gives.
        words: escaped here.
    """
    safe = escape(words)
    return (
        f'<figure><img src="{escape(source)}" alt="{safe}"><figcaption>{safe}</figcaption></figure>'
    )


def facts(rows: Mapping[str, str]) -> str:
    """Return a table of names and values, escaped here."""
    return rows_table((escape(name), escape(value)) for name, value in rows.items())


def rows_table(rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table without a head; the cells are HTML."""
    lines = "".join(f"<tr>{''.join(f'<td>{cell}' for cell in row)}" for row in rows)
    return f"<table>{lines}</table>"


_STYLE = """
@page { size: A4; margin: 16mm 14mm; }
@page wide { size: A4 landscape; margin: 12mm; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto;
       padding: 0 1rem; color: #222; background: #fff; }
h1 { margin: 0 0 .3rem; } h2 { margin: 2rem 0 .5rem; }
p { max-width: 50rem; margin: .3rem 0 .8rem; }
.warn { border-left: 5px solid #e69f00; padding: .3rem .8rem; background: #fff8e8; }
.note, figcaption { color: #555; font-size: .87em; max-width: 50rem; margin: .3rem 0; }
ul.findings { list-style: none; padding: 0; max-width: 60rem; }
.findings li { border-left: 5px solid #999; padding: .2rem .8rem; margin: .3rem 0;
               background: #f6f6f6; }
.findings li.bad { border-color: #d55e00; background: #fdf1ea; }
.findings li.note { border-color: #e69f00; background: #fff8e8; color: inherit; font-size: 1em; }
.findings li.fine { border-color: #009e73; background: #eaf7f2; }
table { border-collapse: collapse; border-top: 2px solid #222; border-bottom: 2px solid #222; }
thead { border-bottom: 1px solid #222; display: table-header-group; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0;
         max-width: 26rem; overflow-wrap: break-word; }
td:first-child, th { font-weight: 600; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th.n { white-space: normal; }
tbody tr:nth-child(even) { background: #f6f6f6; }
.wide table { font-size: .78em; } .wide td, .wide th { padding-right: .5rem; }
section { overflow-x: auto; }
figure { margin: 1rem 0; } img, video { width: 100%; height: auto; display: block; }
img[src^="data:image/svg"] { max-width: 780px; }
video { max-width: 640px; }
iframe { width: 100%; height: 520px; border: 1px solid #ccc; }
@media print {
  body { font-size: 9.5pt; margin: 0; padding: 0; max-width: none; }
  h2 { break-after: avoid; } figure, tr { break-inside: avoid; }
  section { overflow: visible; } .wide { page: wide; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: 'self' file:;
 media-src data: 'self' file:; frame-src 'self' file:; style-src 'unsafe-inline'">
<style>{style}</style></head><body>
<h1>{title}</h1>
{lead}
<p class="warn">Research software, not for diagnosis.</p>
{body}
</body></html>
"""
