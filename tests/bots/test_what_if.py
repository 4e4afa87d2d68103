"""What if: the same answer as the order itself would get, and nothing placed or written."""

import json
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bots.models import Bot, Order
from bots.what_if import judge
from safety.controls import CONTROLS
from safety.intents import OrderType, Side
from tests.bots.builders import Floor, intent_for, make_bot, no_market, submit, trade

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("side", "quantity", "price"),
    [
        (Side.BUY, "0.5", None), (Side.BUY, "500", None), (Side.BUY, "0.5", "50"), (Side.BUY, "0.5", "130"),
        (Side.SELL, "0.5", None), (Side.SELL, "5", None), (Side.BUY, "0.0001", None), (Side.SELL, "0.5", "99.995"),
    ],
)  # fmt: skip
def test_answer_is_what_the_order_itself_gets(floor: Floor, side: Side, quantity: str, price: str | None) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    answer = judge(bot, side, kind, Decimal(quantity), None if price is None else Decimal(price))
    submission = submit(intent_for(bot, side, quantity, price, reduce_only=False))
    assert [one.denial for one in answer.denied] == list(submission.denials)
    assert [one.code for one in answer] == list(CONTROLS)


def test_nothing_is_written(floor: Floor) -> None:
    bot = make_bot()
    before = Order.objects.count()
    with CaptureQueriesContext(connection) as captured:
        judge(bot, Side.BUY, OrderType.MARKET, Decimal("0.5"), None)
    assert Order.objects.count() == before
    statements = [one["sql"] for one in captured.captured_queries]
    assert statements
    assert all(sql.startswith("SELECT") and "FOR " not in sql.rpartition(" ORDER BY ")[2] for sql in statements)


def test_live_bot_on_an_account_that_nobody_knows_is_denied(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = make_bot(running=False)
    # A replay bot can't be live; so its market stands in for the venue's.
    floor.feed.venue = "kraken"
    Bot.objects.update(venue="kraken", dry_run=False)
    from bots import markets

    monkeypatch.setattr(markets, "feed_for", lambda venue: floor.feed)
    bot.refresh_from_db()
    codes = {one.code for one in judge(bot, Side.BUY, OrderType.MARKET, Decimal("0.5"), None).denied}
    assert {"GROSS_EXPOSURE_MAX", "INSUFFICIENT_FUNDS", "LIVE_GATE_CLOSED"} <= codes


def asked(*args: str) -> str:
    out = StringIO()
    call_command("what_if", *args, stdout=out)
    return out.getvalue()


def test_command_shows_every_control(floor: Floor) -> None:
    make_bot("one")
    text = asked("--bot", "one", "--side", "buy", "--quantity", "0.5")
    assert "one (paper): buy 0.5 BTC-PERP at the market" in text
    assert all(code in text for code in CONTROLS)
    assert text.rstrip().endswith("It would pass. Nothing was placed.")
    denied = asked("--bot", "one", "--side", "buy", "--quantity", "500", "--price", "100")
    assert "DENIES" in denied
    assert "controls deny it. Nothing was placed." in denied


def test_command_answers_in_json(floor: Floor) -> None:
    make_bot("one")
    answer: dict[str, Any] = json.loads(asked("--bot", "one", "--side", "sell", "--quantity", "0.5", "--json"))
    assert (answer["would_pass"], answer["limit_price"], answer["type"]) == (False, None, "market")
    denied = [one for one in answer["verdicts"] if not one["passes"]]
    assert denied[0]["code"] == "INSUFFICIENT_FUNDS"
    assert denied[0]["actual"] == "0.5"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--bot", "two", "--side", "buy", "--quantity", "1"], "There is no bot called 'two'."),
        (["--bot", "one", "--side", "buy", "--quantity", "x"], "--quantity has to be a figure, not 'x'."),
        (["--bot", "one", "--side", "buy", "--quantity", "NaN"], "--quantity has to be above zero."),
        (["--bot", "one", "--side", "buy", "--quantity", "1", "--price", "-5"], "--price has to be above zero."),
    ],
)
def test_command_says_what_cannot_be_asked(floor: Floor, args: list[str], says: str) -> None:
    make_bot("one")
    with pytest.raises(CommandError, match=says):
        asked(*args)


def test_command_without_a_market_says_so(floor: Floor) -> None:
    make_bot("one")
    floor.feed.broken = no_market("the feed is out")
    with pytest.raises(CommandError, match="There is no market to judge by: the feed is out"):
        asked("--bot", "one", "--side", "buy", "--quantity", "1")
