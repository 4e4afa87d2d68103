"""Small charts: every score at its height, the newest at the right edge, and what is off the scale at its end."""

import pytest

from tradingops.sparklines import HEIGHT, MARGIN, POINTS_MAX, WIDTH, sparkline


def places(*scores: int) -> list[tuple[float, float]]:
    points = sparkline(scores, enter=75, leave=60).points
    return [(float(x), float(y)) for x, y in (one.split(",") for one in points.split())]


def test_lowest_score_is_at_the_bottom_and_the_highest_at_the_top() -> None:
    assert places(0, 100) == [(MARGIN, HEIGHT - MARGIN), (WIDTH - MARGIN, MARGIN)]


def test_points_are_spread_evenly_from_edge_to_edge() -> None:
    xs = [x for x, _ in places(1, 2, 3, 4)]
    assert xs == [3, 41, 79, 117]


@pytest.mark.parametrize(("beyond", "as_if"), [(-1, 0), (101, 100)])
def test_what_is_off_the_scale_stands_at_its_end(beyond: int, as_if: int) -> None:
    assert places(beyond) == places(as_if)


def test_single_score_stands_where_the_newest_does() -> None:
    found = sparkline([50], enter=75, leave=60)
    assert (found.points, found.last_x, found.last_y) == ("117.0,16.0", "117.0", "16.0")
    assert found.text == "Score 50, the first"


def test_without_scores_there_is_no_line_and_the_marks_stay() -> None:
    found = sparkline([], enter=75, leave=60)
    assert (found.points, found.last_x, found.text) == ("", "", "No score yet")
    assert (found.enter_y, found.leave_y) == ("9.5", "13.4")


def test_only_the_last_ones_are_drawn() -> None:
    found = sparkline([100] + [10] * (POINTS_MAX - 1) + [20], enter=75, leave=60)
    assert len(found.points.split()) == POINTS_MAX
    assert found.text == f"Scores of the last {POINTS_MAX} scans: from 10 to 20, lowest 10, highest 20"
