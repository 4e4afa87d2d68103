"""The promises that hold the order path together, read off the source of everything that ships.

Each check is a function from a module to its findings. It is run over the repository, where it must find nothing, and over
snippets that break the promise, where it must find something: a check that cannot fail proves nothing.
"""

import ast
from collections.abc import Callable, Iterator

import pytest

from tests.architecture.sources import Module, module_at, name_of, shipped, texts

#: The rooms of the executor: what is filled on paper, what goes to a venue, and the steps that both share.
EXECUTOR_ROOMS = "bots/executor/"
EXECUTOR = "bots/executor/paper.py"
GATE = "safety/gate.py"
STATES = "bots/order_states.py"
PAPER_BROKER = "bots.brokers.paper"
#: Replays history in memory through the same gate and broker; it stores nothing and can reach no venue (see below).
SIMULATION = "bots/simulation.py"
WRITES = frozenset({"submit", "match", "cancel"})
VENUE_LIBRARIES = ("ccxt", "alpaca")
VENUE_ROOMS = ("bots/brokers/", "bots/market_data/")
#: Where money is counted.
MONEY = (
    "audit/decimals.py",
    "bots/books.py",
    "bots/brokers/",
    "bots/executor/",
    "bots/exposure.py",
    "bots/ledger.py",
    "bots/manager.py",
    "safety/controls/",
    "safety/gate.py",
    "safety/intents.py",
    "safety/limits.py",
)
#: What code that must reach nothing outside may import.
HARMLESS = ("bots.", "safety.", "collections", "dataclasses", "datetime", "decimal", "enum", "numpy", "typing")
STATEFUL = (
    "bots.executor",
    "bots.manager",
    "bots.models",
    "bots.tick",
    "bots.workers",
    "safety.kill_switch",
    "safety.models",
)

Check = Callable[[Module], Iterator[str]]


def broker_writes_elsewhere(module: Module) -> Iterator[str]:
    """Only the executor may touch a broker's submit, match and cancel; others go through ``executor``'s own."""
    if module.path.startswith(EXECUTOR_ROOMS):
        return
    has_executor = any(name == "executor" for _, package, name in module.imports() if package == "bots")
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr in WRITES:
            if not _is_harmless_receiver(module, node, has_executor):
                yield module.at(node, f"reaches .{node.attr} of something that may be a broker")
        elif isinstance(node, ast.Call) and name_of(node.func) in {"getattr", "methodcaller", "attrgetter"}:
            for text in WRITES.intersection(texts(node.args)):
                yield module.at(node, f"reaches {text} by its name")


def _is_harmless_receiver(module: Module, node: ast.Attribute, has_executor: bool) -> bool:
    receiver = node.value
    if isinstance(receiver, ast.Name) and receiver.id == "executor":
        return has_executor
    if node.attr == "match" and isinstance(receiver, ast.Name):
        return receiver.id == "re" or receiver.id.isupper()
    return module.path == SIMULATION and ast.unparse(receiver) == "self.broker"


def paper_broker_imports(module: Module) -> Iterator[str]:
    """Only the executor and the simulation may import the paper broker; its constants are free."""
    if module.path == SIMULATION or module.path.startswith(EXECUTOR_ROOMS):
        return
    for node, name in module.imports_of(PAPER_BROKER):
        if not name.isupper():
            yield module.at(node, f"imports {name or 'all'} of {PAPER_BROKER}")


def names_hidden(module: Module) -> Iterator[str]:
    """Nothing that these checks look for may hide behind another name."""
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name == "*" or (alias.asname and alias.name in {"Permit", "executor", "move", "Order"}):
                    yield module.at(node, f"imports {alias.name} as {alias.asname}")


def permits_made_elsewhere(module: Module) -> Iterator[str]:
    """Only the gate constructs a Permit; elsewhere it may only be named as a type."""
    if module.path == GATE:
        return
    as_type = set(_nodes_that_only_name_a_type(module))
    for node in module.nodes:
        if isinstance(node, ast.Name | ast.Attribute) and name_of(node) == "Permit" and node not in as_type:
            yield module.at(node, "uses Permit as more than a type")
        is_copy = isinstance(node, ast.Call) and name_of(node.func) in {"replace", "copy", "deepcopy"}
        if is_copy and "permit" in ast.unparse(node).lower():
            yield module.at(node, "makes a permit out of another")


def _nodes_that_only_name_a_type(module: Module) -> Iterator[ast.AST]:
    for node in module.nodes:
        places: list[ast.AST | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            places = [node.annotation]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            places = [node.returns]
        elif isinstance(node, ast.Call) and name_of(node.func) == "isinstance" and len(node.args) == 2:
            places = [node.args[1]]
        for place in places:
            if place is not None:
                yield from ast.walk(place)


def statuses_set_without_the_table(module: Module) -> Iterator[str]:
    """An order's status comes from ``move()``, and only the executor puts it there."""
    for node in module.nodes:
        for target, value in _assignments(node):
            if not (isinstance(target, ast.Attribute) and target.attr == "status"):
                continue
            is_move = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "move"
            is_executor = module.path.startswith(EXECUTOR_ROOMS)
            if is_executor and not is_move:
                yield module.at(node, "sets a status without move()")
            is_other = ast.unparse(target.value) in {"bot", "self.bot"} or _is_of_another_table(value)
            if not is_executor and not is_other:
                yield module.at(node, "sets a status that may be an order's")
        yield from (module.at(node, what) for what in _written_around_the_model(module, node))


def _assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Yield each (target, value) of an assignment, of tuples too."""
    if isinstance(node, ast.AugAssign | ast.AnnAssign):
        yield node.target, node.value
    if not isinstance(node, ast.Assign):
        return
    for target in node.targets:
        if isinstance(target, ast.Tuple | ast.List):
            values = node.value.elts if isinstance(node.value, ast.Tuple | ast.List) else [None] * len(target.elts)
            yield from zip(target.elts, values, strict=False)
        else:
            yield target, node.value


def _written_around_the_model(module: Module, node: ast.AST) -> Iterator[str]:
    """Yield the ways of writing a status that are no assignment: setattr, update(), bulk_update() and Order(status=…)."""
    if not isinstance(node, ast.Call):
        return
    function, keywords = name_of(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
    if function == "setattr" and "status" in texts(node.args):
        yield "sets a status by setattr"
    if "status" not in keywords and not any("status" in texts(_elements(one)) for one in node.args):
        return
    called = ast.unparse(node.func)
    is_other = "Bot." in called or ("Order" not in called and _is_of_another_table(keywords.get("status")))
    if function in {"update", "bulk_update", "update_or_create"} and not is_other:
        yield f"writes a status by {function}()"
    # A benchmark fills a scratch database of its own with history.
    if module.path.startswith("bench/"):
        return
    if ast.unparse(node.func) == "Order" or "Order.objects.create" in ast.unparse(node.func):
        # An order of somebody else's is EXTERNAL from the first and for good; every one of ours begins as PENDING.
        first = {"OrderStatus.PENDING", "OrderStatus.EXTERNAL"}
        if not (module.path.startswith(EXECUTOR_ROOMS) and ast.unparse(keywords["status"]) in first):
            yield "makes an order that is neither PENDING nor EXTERNAL, or not in the executor"


def _is_of_another_table(value: ast.expr | None) -> bool:
    """Return whether this is a state of what is no order, as its name says: a delivery's, or a cycle's."""
    return isinstance(value, ast.Attribute) and ast.unparse(value.value) in {"DeliveryStatus", "CycleStatus"}


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else []


def brokers_that_ask_for_no_permit(module: Module) -> Iterator[str]:
    """A broker's submit starts by require_permit(order, permit), with its own arguments."""
    if not module.path.startswith("bots/brokers/"):
        return
    for node in module.nodes:
        if not isinstance(node, ast.ClassDef) or "Protocol" in map(name_of, node.bases):
            continue
        for method in node.body:
            is_submit = isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and method.name == "submit"
            if is_submit and _first_statement(method) != "require_permit(order, permit)":
                yield module.at(method, f"{node.name}.submit does not start by require_permit(order, permit)")


def _first_statement(method: ast.stmt) -> str:
    if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
        return ""
    body = method.body[1:] if ast.get_docstring(method) is not None else method.body
    return ast.unparse(body[0]) if body else ""


def venue_libraries_elsewhere(module: Module) -> Iterator[str]:
    """ccxt and alpaca-py stay inside the brokers and the market data."""
    if module.path.startswith(VENUE_ROOMS):
        return
    for library in VENUE_LIBRARIES:
        for node, _ in module.imports_of(library):
            yield module.at(node, f"imports {library}")


def asserts(module: Module) -> Iterator[str]:
    """Shipped code raises: an assert is gone under ``python -O``."""
    for node in module.nodes:
        if isinstance(node, ast.Assert):
            yield module.at(node, "asserts")


def floats_on_money_paths(module: Module) -> Iterator[str]:
    """Where money is counted, nothing is made a float, neither by float() nor by a literal."""
    if not module.path.startswith(MONEY):
        return
    for node in module.nodes:
        if isinstance(node, ast.Call) and name_of(node.func) == "float":
            yield module.at(node, "calls float()")
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield module.at(node, f"has the float {node.value}")


CHECKS: tuple[Check, ...] = (
    broker_writes_elsewhere,
    paper_broker_imports,
    names_hidden,
    permits_made_elsewhere,
    statuses_set_without_the_table,
    brokers_that_ask_for_no_permit,
    venue_libraries_elsewhere,
    asserts,
    floats_on_money_paths,
)
PAPER_SUBMIT = "class PaperBroker:\n    def submit(self, order, permit, view):\n        '''Take it.'''\n        "
#: check, path, source that breaks its promise
BROKEN: list[tuple[Check, str, str]] = [
    (broker_writes_elsewhere, "bots/tick.py", "broker.submit(intent, permit, view)"),
    (broker_writes_elsewhere, "bots/tick.py", "paper_broker(market).submit(intent, permit, view)"),
    (broker_writes_elsewhere, "bots/tick.py", "from bots import executor\nexecutor.paper_broker(market).match(a, b)"),
    (broker_writes_elsewhere, "bots/tick.py", "executor.submit(intent, permit, view)"),
    (broker_writes_elsewhere, "bots/tick.py", "send = self.broker.submit\nsend(intent, permit, view)"),
    (broker_writes_elsewhere, "bots/manager.py", "broker.cancel(order)"),
    (broker_writes_elsewhere, "bots/manager.py", "broker.match(order, view)"),
    (broker_writes_elsewhere, "bots/manager.py", "getattr(broker, 'submit')(intent, permit, view)"),
    (broker_writes_elsewhere, "bots/manager.py", "operator.methodcaller('cancel', order)(broker)"),
    (broker_writes_elsewhere, "tradingops/api.py", "async def f(b):\n    await b.submit(intent, permit)"),
    (broker_writes_elsewhere, SIMULATION, "other.submit(intent, permit, view)"),
    (broker_writes_elsewhere, "bench/pipeline.py", "[b.submit(i, p, v) for b in brokers]"),
    (paper_broker_imports, "bots/tick.py", "from bots.brokers.paper import PaperBroker"),
    (paper_broker_imports, "bots/tick.py", "from bots.brokers import paper"),
    (paper_broker_imports, "bots/tick.py", "import bots.brokers.paper"),
    (paper_broker_imports, "bots/tick.py", "import bots.brokers.paper as p"),
    (paper_broker_imports, "bots/tick.py", "from .brokers.paper import PaperBroker"),
    (paper_broker_imports, "bots/brokers/factory.py", "from .paper import PaperBroker"),
    (paper_broker_imports, "bots/tick.py", "import_module('bots.brokers.paper')"),
    (paper_broker_imports, "bots/tick.py", "def f():\n    from bots.brokers.paper import PaperBroker"),
    (names_hidden, "bots/tick.py", "from safety.intents import Permit as Leave"),
    (names_hidden, "bots/tick.py", "from safety.intents import *"),
    (names_hidden, EXECUTOR, "from bots.order_states import move as push"),
    (permits_made_elsewhere, EXECUTOR, "Permit(client_order_id='x')"),
    (permits_made_elsewhere, "safety/controls/state.py", "intents.Permit(client_order_id='x')"),
    (permits_made_elsewhere, "bots/tick.py", "make = Permit"),
    (permits_made_elsewhere, "bots/tick.py", "object.__new__(Permit)"),
    (permits_made_elsewhere, "bots/tick.py", "dataclasses.replace(decision.permit, quantity=9)"),
    (permits_made_elsewhere, "bots/tick.py", "copy(permit)"),
    (statuses_set_without_the_table, "bots/tick.py", "order.status = OrderStatus.FILLED"),
    (statuses_set_without_the_table, "bots/tick.py", "order.status = move(order.status, OrderStatus.FILLED)"),
    (statuses_set_without_the_table, EXECUTOR, "order.status = OrderStatus.FILLED"),
    (statuses_set_without_the_table, EXECUTOR, "order.status: str = 'filled'"),
    (statuses_set_without_the_table, EXECUTOR, "order.status = other.move(order.status, OrderStatus.FILLED)"),
    (statuses_set_without_the_table, EXECUTOR, "order.status, order.reason = OrderStatus.FILLED, ''"),
    (statuses_set_without_the_table, EXECUTOR, "order.status, order.reason = both()"),
    (statuses_set_without_the_table, "bots/ledger.py", "setattr(order, 'status', 'filled')"),
    (statuses_set_without_the_table, "bots/ledger.py", "Order.objects.filter(pk=1).update(status=CycleStatus.LOST)"),
    (statuses_set_without_the_table, "bots/ledger.py", "rows.update(status=CycleStatus.LOST.value)"),
    (statuses_set_without_the_table, "bots/ledger.py", "Order.objects.filter(pk=1).update(status='filled')"),
    (statuses_set_without_the_table, "bots/ledger.py", "Order.objects.bulk_update(orders, ['fees', 'status'])"),
    (statuses_set_without_the_table, "bots/ledger.py", "Order(status=OrderStatus.PENDING)"),
    (statuses_set_without_the_table, "bots/reconciliation/orders.py", "Order(status=OrderStatus.EXTERNAL)"),
    (statuses_set_without_the_table, EXECUTOR, "Order(status=OrderStatus.FILLED)"),
    (statuses_set_without_the_table, EXECUTOR, "Order.objects.create(status=OrderStatus.FILLED)"),
    (brokers_that_ask_for_no_permit, "bots/brokers/paper.py", PAPER_SUBMIT + "return self._fill(order)"),
    (
        brokers_that_ask_for_no_permit,
        "bots/brokers/paper.py",
        PAPER_SUBMIT + "self.log(order)\n        require_permit(order, permit)",
    ),
    (brokers_that_ask_for_no_permit, "bots/brokers/paper.py", PAPER_SUBMIT + "require_permit(order, self.permit)"),
    (
        brokers_that_ask_for_no_permit,
        "bots/brokers/kraken.py",
        PAPER_SUBMIT + "if self.checks:\n            require_permit(order, permit)",
    ),
    (venue_libraries_elsewhere, EXECUTOR, "import ccxt"),
    (venue_libraries_elsewhere, "bots/tick.py", "from ccxt.async_support import kraken"),
    (venue_libraries_elsewhere, "tradingops/api.py", "from alpaca.trading.client import TradingClient"),
    (venue_libraries_elsewhere, "safety/gate.py", "def f():\n    import alpaca.trading"),
    (venue_libraries_elsewhere, "bots/tick.py", "importlib.import_module('ccxt.kraken')"),
    (asserts, "bots/ledger.py", "def f(quantity):\n    assert quantity > 0"),
    (floats_on_money_paths, "bots/ledger.py", "fee = float(fee)"),
    (floats_on_money_paths, "bots/books.py", "fee = notional * 0.004"),
    (floats_on_money_paths, "safety/controls/size.py", "limit = builtins.float(limit)"),
]
SOUND: list[tuple[str, str]] = [
    (
        "bots/tick.py",
        "from bots import executor\nexecutor.submit(intent, books, market)\nexecutor.cancel(order, market)",
    ),
    ("tradingops/environment_values.py", "PATTERN.match(text)\nre.match('x', text)"),
    ("bots/backtest.py", "from bots.brokers.paper import SLIPPAGE_BPS"),
    ("bots/brokers/base.py", "def require_permit(order, permit: Permit) -> None:\n    isinstance(permit, Permit)"),
    ("safety/intents.py", "class Decision:\n    permit: Permit | None = None"),
    (EXECUTOR, "order.status = move(order.status, report.status)\nOrder(status=OrderStatus.PENDING)"),
    (EXECUTOR, "Order(status=OrderStatus.EXTERNAL)"),
    ("bots/manager.py", "bot.status, bot.status_reason = status, reason"),
    ("bots/autopilot/cycle.py", "cycle.status, cycle.finished_at = CycleStatus.DONE, now"),
    ("safety/notifications/verdicts.py", "stale.update(status=DeliveryStatus.DEAD)"),
    ("bots/brokers/paper.py", PAPER_SUBMIT + "require_permit(order, permit)\n        return self._fill(order)"),
    ("bots/brokers/kraken.py", "import ccxt"),
    ("bots/strategies/common.py", "threshold = float(params['x']) * 0.5"),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nothing_that_ships_breaks(check: Check) -> None:
    assert [finding for module in shipped() for finding in check(module)] == []


@pytest.mark.parametrize(("check", "path", "source"), BROKEN, ids=lambda part: getattr(part, "__name__", None))
def test_check_catches(check: Check, path: str, source: str) -> None:
    assert list(check(Module.parse(path, source)))


@pytest.mark.parametrize(("path", "source"), SOUND)
def test_checks_let_sound_code_pass(path: str, source: str) -> None:
    module = Module.parse(path, source)
    assert [finding for check in CHECKS for finding in check(module)] == []


def test_every_check_is_shown_to_fail() -> None:
    assert {check for check, _, _ in BROKEN} == set(CHECKS)


def test_the_whole_repository_is_looked_at() -> None:
    paths = {module.path for module in shipped()}
    assert {EXECUTOR, GATE, STATES, SIMULATION, "manage.py", "audit/log.py", "tradingops/settings.py"} <= paths
    assert not any(path.startswith(("tests/", ".venv/", "var/")) for path in paths)
    assert len(paths) > 100


def test_the_executor_does_what_the_checks_leave_to_it() -> None:
    """Were the send to move elsewhere, the checks above would look at the wrong place and still be green."""
    source = ast.unparse(module_at(EXECUTOR).tree)
    assert source.count(".submit(") == 1
    assert "paper_broker(market).submit(intent, decision.permit, " in source
    venue = ast.unparse(module_at("bots/executor/venue.py").tree)
    assert venue.count(".submit(") == 1
    assert "broker.submit(intent, permit, " in venue
    steps = ast.unparse(module_at("bots/executor/steps.py").tree)
    assert steps.count("order.status = move(order.status, ") >= 3
    gate = ast.unparse(module_at(GATE).tree)
    assert gate.count("return Permit(") == 1


def outward(module: Module, allowed: tuple[str, ...], refused: tuple[str, ...]) -> list[str]:
    """Return the imports by which a module could reach a database, a network or the order path."""
    found = []
    for node, package, name in module.imports():
        whole = f"{package}.{name}" if name else package
        is_allowed = any(package == one or f"{package}.".startswith(one) for one in allowed)
        if not is_allowed or any(whole == one or f"{whole}.".startswith(f"{one}.") for one in refused):
            found.append(module.at(node, f"imports {whole}"))
    return found


def test_the_paper_broker_can_reach_nothing_outside() -> None:
    """That is what makes the simulation's use of it harmless."""
    assert outward(module_at("bots/brokers/paper.py"), HARMLESS, STATEFUL) == []


def test_the_simulation_stores_nothing_and_sends_nothing() -> None:
    assert outward(module_at(SIMULATION), HARMLESS, STATEFUL) == []
    brokers = {name for _, name in module_at(SIMULATION).imports_of("bots.brokers")}
    assert {name for name in brokers if name.endswith("Broker")} == {"PaperBroker"}


@pytest.mark.parametrize(
    "source",
    [
        "import requests",
        "import socket",
        "from django.db import connection",
        "from audit.log import record",
        "from bots.models import Order",
        "from bots import executor",
        "import bots.executor",
    ],
)
def test_outward_import_is_caught(source: str) -> None:
    assert outward(Module.parse(SIMULATION, source), HARMLESS, STATEFUL)
