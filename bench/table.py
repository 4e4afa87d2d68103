"""One row of the benchmark table, and how rows become text."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One measurement: what was reached, what is aimed at, and what it is judged by (``peer``), all as text."""

    name: str
    reached: str
    target: str
    peer: str
    note: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the row as plain fields, to pass between processes."""
        return asdict(self)


HEADINGS = ("what", "reached", "target", "peer", "note")


def markdown(rows: Iterable[BenchRow]) -> str:
    """Return the rows as a Markdown table."""
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    lines += [tuple(row.as_dict().values()) for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
