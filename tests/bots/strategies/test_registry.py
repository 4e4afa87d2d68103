"""The registry, and the page that is made from it."""

import pytest

from bots.strategies import docs, registry
from bots.strategies.registry import DuplicateStrategyError, UnknownStrategyError


def test_the_four_strategies_are_there_by_key() -> None:
    assert [strategy.key for strategy in registry.all()] == ["smart_dca", "sma_cross", "rsi_reversion", "breakout"]
    assert all(registry.get(strategy.key) is strategy for strategy in registry.all())


def test_get_of_an_unknown_key_lists_the_known_ones() -> None:
    with pytest.raises(UnknownStrategyError, match="unknown strategy 'martingale'; known: smart_dca, sma_cross"):
        registry.get("martingale")


def test_register_of_a_taken_key_is_refused() -> None:
    with pytest.raises(DuplicateStrategyError, match="smart_dca"):
        registry.register(registry.get("smart_dca"))
    assert len(registry.all()) == 4


def test_the_strategies_page_is_current() -> None:
    written = docs.DOCS_FILE.read_text(encoding="utf-8")
    assert written == docs.markdown(), "run: python -m bots.strategies.docs"


def test_the_strategies_page_names_every_param_with_its_default() -> None:
    page = docs.markdown()
    for strategy in registry.all():
        section = page.split(f"(`{strategy.key}`)")[1].split("\n## ")[0]
        for param in strategy.schema.params:
            assert f"| `{param.name}` | {param.label} |" in section
