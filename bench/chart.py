"""The CPU per request as bars, in SVG written by hand. Its colours can be distinguished on a light and on a dark
background."""

from collections.abc import Iterator
from html import escape
from typing import Final

from bench.figures import Cell, Figures, contenders_in, cpu_ratio, databases_in
from bench.operations import OPERATIONS, clients_compared
from bench.tables import FLOOR, SUBJECT, TITLES

OURS: Final = "#2f81f7"
THEIRS: Final = "#8b949e"
TEXT: Final = "#768390"
FONT: Final = "12px system-ui, -apple-system, 'Segoe UI', sans-serif"

PANEL: Final = 440
LABEL: Final = 110
BAR: Final = 260
ROW: Final = 20
HEAD: Final = 30
GAP: Final = 16
TOP: Final = 34


IMAGE: Final = "![CPU of the server per request, as a multiple of bare FastAPI's](performance.svg)"
"""How docs/performance.md includes the chart."""


def draw(figures: Figures) -> str:
    """One panel for each operation and database. Panels side by side have the same scale."""
    databases = databases_in(figures)
    operations = [each for each in OPERATIONS if any(cell.operation == each for cell in figures)]
    names = max((contenders_in(figures, each) for each in databases), key=len, default=[])
    height = HEAD + len(names) * ROW + GAP
    panels = [
        panel(figures, database, operation, PANEL * column, TOP + height * row)
        for row, operation in enumerate(operations)
        for column, database in enumerate(databases)
    ]
    return document(PANEL * len(databases), TOP + height * len(operations), "\n".join(panels))


def document(width: int, height: int, content: str) -> str:
    title = "CPU of the server per request, as a multiple of bare FastAPI's; shorter is better"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img" aria-label="{title}">\n'
        f"<style>text {{ font: {FONT}; fill: {TEXT} }} .head {{ font-weight: 600 }} .ours {{ fill: {OURS} }}</style>\n"
        f"{text(0, 16, title, 'head')}\n{content}\n</svg>\n"
    )


def panel(figures: Figures, database: str, operation: str, x: int, y: int) -> str:
    longest = max((value for each in databases_in(figures) for _, value in ratios(figures, each, operation)), default=1)
    heading = text(x, y + 14, f"{OPERATIONS[operation]} on {TITLES.get(database, database)}", "head")
    bars = [
        bar(name, value, value / longest, x, y + HEAD + ROW * row)
        for row, (name, value) in enumerate(ratios(figures, database, operation))
    ]
    return "\n".join([heading, *bars])


def ratios(figures: Figures, database: str, operation: str) -> Iterator[tuple[str, float]]:
    """Relative to bare FastAPI, or to Roster if bare FastAPI was not measured."""
    names, clients = contenders_in(figures, database), clients_compared(operation)
    base = Cell(database, FLOOR if FLOOR in names else SUBJECT, operation, clients)
    for name in names:
        value = cpu_ratio(figures, Cell(database, name, operation, clients), base)
        if value is not None:
            yield name, value


def bar(name: str, value: float, share: float, x: int, y: int) -> str:
    kind, fill = ("ours", OURS) if name == SUBJECT else ("", THEIRS)
    length = max(1, round(share * BAR))
    return "\n".join(
        [
            text(x + LABEL - 8, y + 11, name, kind, anchor="end"),
            f'<rect x="{x + LABEL}" y="{y}" width="{length}" height="{ROW - 5}" rx="2" fill="{fill}"/>',
            text(x + LABEL + length + 6, y + 11, f"{value:.2f}", kind),
        ]
    )


def text(x: int, y: int, content: str, kind: str, *, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'
