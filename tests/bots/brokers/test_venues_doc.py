"""docs/venues.md says of every row of the tables of outcomes, in the same order, what the code makes of it."""

from collections.abc import Mapping
from pathlib import Path

from bots.brokers import alpaca_orders
from bots.brokers.outcomes import ALPACA, ALPACA_CLASSES, ALPACA_STATUSES, CLASSES, KRAKEN, Failure, Kind

DOC = (Path(__file__).resolve().parents[3] / "docs" / "venues.md").read_text()


def table(head: str) -> list[list[str]]:
    """Return the cells of the table under this first heading."""
    lines = DOC.split(f"\n| {head} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def row(name: object, kind: Kind, sentence: str) -> list[str]:
    outcome = "definite no" if Failure(kind, "").is_definite else "UNKNOWN"
    return [f"`{name}`", kind.value, "ask for the order" if kind == Kind.DUPLICATE else outcome, sentence]


def of_classes(classes: Mapping[str, tuple[Kind, str]]) -> list[list[str]]:
    return [row(name, *told) for name, told in classes.items()]


def test_kraken_s_texts() -> None:
    assert table("Kraken says") == [row(*one) for one in KRAKEN]


def test_classes_of_ccxt() -> None:
    assert table("ccxt raises, without a word of Kraken") == of_classes(CLASSES)


def test_alpaca_s_refusals() -> None:
    expected = [row(f"{status} {code or '-'} {part or '-'}", kind, told) for status, code, part, kind, told in ALPACA]
    assert table("HTTP, code, part of the message") == expected


def test_alpaca_s_statuses_and_the_way_there() -> None:
    assert table("HTTP status by itself") == [row(status, *told) for status, told in ALPACA_STATUSES.items()]
    assert table("requests raises on the way") == of_classes(ALPACA_CLASSES)


def test_states_of_an_order_at_alpaca() -> None:
    *told, other = table("Alpaca's word")
    assert other == ["any other", "open"]
    here = {word.strip("`"): meaning.split(";")[0].split(":")[0] for word, meaning in told}
    ended = {word: status.value for word, (status, _) in alpaca_orders.ENDED.items()}
    assert here == {**dict.fromkeys(alpaca_orders.OPEN, "open"), "filled": "filled", **ended}
