"""Writes docs/strategies.md from the schemas: ``python -m bots.strategies.docs``. A test holds that the file is current."""

from pathlib import Path

from bots.strategies import registry
from bots.strategies.base import Strategy

DOCS_FILE = Path(__file__).resolve().parents[2] / "docs" / "strategies.md"
HEAD = """# Strategies

This page is made from the code by `python -m bots.strategies.docs`; change the schemas there, not the page here.

Every strategy is long only, holds no state of its own and proposes orders with a reason; the gate decides. Entries are a share of
the bot's capital, computed at the ask and rounded down to the venue's lot. A sale is a reduce-only market order for the whole
position. Signals come from closed candles, count for three of them, and lead to one entry at most.
"""


def markdown() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(_section(strategy) for strategy in registry.all())])


def _section(strategy: Strategy) -> str:
    schema = strategy.schema
    rows = [
        f"| `{param.name}` | {param.label} | {_text(param.plain(param.default))} | {param.bounds()} | {param.help} |"
        for param in schema.params
    ]
    bars = strategy.warmup_bars(schema.defaults())
    return "\n".join(
        [
            f"## {strategy.title} (`{strategy.key}`)",
            "",
            strategy.summary,
            "",
            f"Candles needed before it judges, with the defaults: {bars}.",
            "",
            "| param | name | default | allowed | meaning |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    DOCS_FILE.write_text(markdown(), encoding="utf-8")
