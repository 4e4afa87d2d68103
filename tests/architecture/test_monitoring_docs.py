"""The metrics, their documentation, the dashboard and the alert rules name the same things."""

import json
import re
from pathlib import Path

import yaml

from tradingops.metrics_names import METRICS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "monitoring.md").read_text()
RULES = yaml.safe_load((DOCS / "alerts.yml").read_text())
BOARD = json.loads((DOCS / "grafana" / "tradingops.json").read_text())
SERIES = {series: metric for metric in METRICS.values() for series in metric.series}
#: What Prometheus adds, and the buckets' own.
COMMON_LABELS = {"instance", "job", "le"}

rules = [rule for group in RULES["groups"] for rule in group["rules"]]
queries = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
expressions = [rule["expr"] for rule in rules] + queries


def used(expression: str) -> set[str]:
    return set(re.findall(r"\btradingops_[a-z0-9_]+", expression))


def test_page_has_every_metric_as_it_is_and_no_other() -> None:
    rows = re.findall(r"^\| `(tradingops_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", PAGE, flags=re.MULTILINE)
    expected = {
        metric.shown_name: (metric.kind.value, ", ".join(f"`{one}`" for one in metric.labels) or "—", metric.help)
        for metric in METRICS.values()
    }
    assert {name: tuple(rest) for name, *rest in rows} == expected


def test_rules_and_dashboard_ask_only_for_what_is_exported() -> None:
    assert {name for expression in expressions for name in used(expression)} <= set(SERIES)
    assert len(rules) > 15
    assert len(queries) > 20


def test_dashboard_shows_every_metric() -> None:
    shown = {SERIES[name].name for query in queries for name in used(query)}
    assert shown == {metric.name for metric in METRICS.values()}


def test_rules_and_dashboard_use_only_labels_that_are_there() -> None:
    for expression in expressions:
        known = COMMON_LABELS.union(*(SERIES[name].labels for name in used(expression)))
        asked = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"", expression))
        for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
            asked |= {one.strip() for one in group.split(",")}
        assert asked <= known, expression


def test_texts_of_rules_and_panels_use_only_labels_that_are_there() -> None:
    for rule in rules:
        labels = set().union(*(SERIES[name].labels for name in used(rule["expr"])))
        texts = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels, rule["alert"]
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            labels = set().union(*(SERIES[name].labels for name in used(target["expr"])))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, panel["title"]


def test_every_rule_says_what_to_do_and_how_urgent_it_is() -> None:
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names)
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["action"]


def test_brackets_of_every_expression_match() -> None:
    for expression in expressions:
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), expression


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert taken.isdisjoint(cells), panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
