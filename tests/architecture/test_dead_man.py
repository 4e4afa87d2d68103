"""Only one module asks a venue for its dead-man switch: a second one could switch off what the first wound up."""

import ast
from collections.abc import Iterator

from tests.architecture.sources import Module, name_of, shipped, texts

ALLOWED = "bots/dead_man.py"
NAMES = frozenset({"cancel_all_after", "cancel_all_orders_after"})
ENDPOINT = "cancelallordersafter"
BROKER = "bots/brokers/kraken.py"


def asks_for_it(module: Module) -> Iterator[str]:
    """Find every use of the broker's method, of ccxt's own (which takes milliseconds), and of the endpoint's name."""
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr in NAMES and module.path != ALLOWED:
            yield module.at(node, f"reaches .{node.attr}")
        elif isinstance(node, ast.Call) and name_of(node.func) in {"getattr", "methodcaller", "attrgetter"}:
            yield from (module.at(node, f"reaches {text} by its name") for text in NAMES.intersection(texts(node.args)))
        elif isinstance(node, ast.Constant) and _is_endpoint(node.value) and module.path != BROKER:
            yield module.at(node, "names the endpoint")


def _is_endpoint(value: object) -> bool:
    return isinstance(value, str) and ENDPOINT in value.lower() and " " not in value


def test_only_one_module_asks_for_the_dead_man_switch() -> None:
    assert [finding for module in shipped() for finding in asks_for_it(module)] == []


def test_the_check_finds_what_it_looks_for() -> None:
    for source in (
        "broker.cancel_all_after(60)",
        "exchange.cancel_all_orders_after(60000)",
        "getattr(broker, 'cancel_all_after')(0)",
        "exchange.request('private_post_cancelallordersafter')",
    ):
        assert list(asks_for_it(Module.parse("bots/other.py", source)))
    assert not list(asks_for_it(Module.parse(ALLOWED, "broker.cancel_all_after(60)")))
