"""The page that every HTML report stands on: one style, light and dark, and nothing from another address."""

from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #667; --line: #c9ced6; --paper: #fff; --law: #1f6feb;
        --cap: #b3261e; --band: #f2c94c55; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --dim: #9aa3ad; --line: #3a424c; --paper: #14181d;
        --law: #6cb0ff; --cap: #ff8a80; --band: #f2c94c33; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 70rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem } .dim { color: var(--dim) }
table { border-collapse: collapse; width: 100%; font-size: .92rem } th, td { text-align: left; padding: .3rem .6rem;
       border-bottom: 1px solid var(--line); vertical-align: top } th { color: var(--dim); font-weight: 500 }
td.number { text-align: right; font-variant-numeric: tabular-nums } tr.binds td { font-weight: 600 }
pre { background: var(--band); padding: .6rem; overflow-x: auto }
figure { margin: 0 } .laws { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1.2rem }
svg { width: 100%; height: auto } svg text { font-size: 11px } svg text:not([fill]) { fill: var(--dim) }
.axis { stroke: var(--line) } .law { fill: none; stroke: var(--law); stroke-width: 2 } .seen { fill: var(--ink) }
.axis { fill: none } svg { max-width: 44rem } .limit { stroke: var(--cap); stroke-dasharray: 6 4 }
.simulated { background: var(--band); padding: .5rem }
table.figures { font-variant-numeric: tabular-nums }
table.figures :is(td, th) { text-align: right; white-space: nowrap }
table.figures :is(td, th):last-child { text-align: left; white-space: normal }
.cap { stroke: var(--cap); stroke-dasharray: 5 4 }
svg .cap-text:not([fill]) { fill: var(--cap) } .interval { fill: var(--band) }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page of parts that are HTML already."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(part for part in parts if part)
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'
