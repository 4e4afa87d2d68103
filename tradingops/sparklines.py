"""Small charts that are drawn by the server: a line of scores, with the marks from which on and below which something happens."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 120, 32
#: Room for the line's own thickness and for the dot at its end.
MARGIN = 3
SCORE_MAX = 100
POINTS_MAX = 60


@dataclass(frozen=True, slots=True)
class Sparkline:
    """One chart in the units of its SVG. ``points`` is empty without values; ``enter_y`` and ``leave_y`` are the marks.

    ``text`` says in words what the line shows, for who can't see it.
    """

    points: str
    last_x: str
    last_y: str
    enter_y: str
    leave_y: str
    text: str
    width: int = WIDTH
    height: int = HEIGHT


def sparkline(scores: Sequence[int], *, enter: int, leave: int) -> Sparkline:
    """Return the chart of scores from 0 to 100, oldest first; only the last POINTS_MAX are drawn."""
    shown = list(scores)[-POINTS_MAX:]
    step = (WIDTH - 2 * MARGIN) / max(1, len(shown) - 1)
    # A single score stands where the newest always does.
    start = MARGIN if len(shown) > 1 else WIDTH - MARGIN
    places = [(_text(start + step * index), _y(score)) for index, score in enumerate(shown)]
    last_x, last_y = places[-1] if places else ("", "")
    return Sparkline(
        points=" ".join(f"{x},{y}" for x, y in places),
        last_x=last_x,
        last_y=last_y,
        enter_y=_y(enter),
        leave_y=_y(leave),
        text=_words(shown),
    )


def _y(score: int) -> str:
    """Return the height of a score, which counts as 0 or 100 beyond them."""
    bounded = min(max(score, 0), SCORE_MAX)
    return _text(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * bounded / SCORE_MAX)


def _text(place: float) -> str:
    return f"{place:.1f}"


def _words(scores: Sequence[int]) -> str:
    if not scores:
        return "No score yet"
    if len(scores) == 1:
        return f"Score {scores[0]}, the first"
    ends = f"from {scores[0]} to {scores[-1]}, lowest {min(scores)}, highest {max(scores)}"
    return f"Scores of the last {len(scores)} scans: {ends}"
