"""No test of a fault passes without the oracle: tests/faults/conftest.py sees to it."""

import pytest

from tests.faults import oracle
from tests.faults.conftest import pytest_runtest_call

#: Given while a test runs, so that docs/faults.md counts none of these for a row.
FAULT = pytest.mark.fault("any row")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Count apart, so that this test changes nothing for others."""
    counted: list[tuple[str, ...]] = []
    monkeypatch.setattr(oracle, "asked", counted)
    return counted


def finish(item: pytest.Item, asked: list[tuple[str, ...]], times: int) -> None:
    """Run what surrounds a test that asks the oracle so many times, and passes."""
    around = pytest_runtest_call(item)
    next(around)
    asked.extend([("kraken",)] * times)
    with pytest.raises(StopIteration):
        around.send(None)


def test_fault_test_that_asks_nobody_fails(request: pytest.FixtureRequest, asked: list[tuple[str, ...]]) -> None:
    request.node.add_marker(FAULT)
    with pytest.raises(pytest.fail.Exception, match="has to ask the oracle"):
        finish(request.node, asked, times=0)
    # It is such a test itself by now.
    asked.append(())


def test_fault_test_that_asks_once_passes(request: pytest.FixtureRequest, asked: list[tuple[str, ...]]) -> None:
    request.node.add_marker(FAULT)
    finish(request.node, asked, times=1)


def test_other_test_need_not_ask(request: pytest.FixtureRequest, asked: list[tuple[str, ...]]) -> None:
    finish(request.node, asked, times=0)


@pytest.mark.django_db
def test_oracle_that_finds_nothing_wrong_was_asked(asked: list[tuple[str, ...]]) -> None:
    oracle.check()
    assert asked == [()]
