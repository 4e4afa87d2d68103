"""Paper orders in stocks that the console fills itself are for the day, as Alpaca's: just before the close, at it, after it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from bots.chores import expire_paper_orders
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.market_data.market_hours import sessions_at
from bots.models import Bot, BotStatus, Order
from bots.order_states import OrderStatus
from safety.intents import Side
from tests.bots.builders import Floor, events_of, floor, make_bot, match, trade

__all__ = ["floor"]

pytestmark = pytest.mark.django_db

#: A Friday's session at the exchange: from 14:30 to 21:00 UTC. The next one is on Monday.
CLOSE = datetime(2026, 1, 16, 21, tzinfo=UTC)
#: Monday is a holiday, so that the next session is Tuesday's.
NEXT_CLOSE = datetime(2026, 1, 20, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("made_at", "ends_at"),
    [
        (CLOSE - timedelta(hours=3), CLOSE),
        (CLOSE - timedelta(microseconds=1), CLOSE),
        (CLOSE, NEXT_CLOSE),
        (CLOSE + timedelta(days=1), NEXT_CLOSE),
        (datetime(2026, 11, 27, 15, tzinfo=UTC), datetime(2026, 11, 27, 18, tzinfo=UTC)),
    ],
)
def test_order_is_for_the_session_it_is_made_in_or_the_next(made_at: datetime, ends_at: datetime) -> None:
    assert sessions_at(made_at).next_close(made_at) == ends_at


def test_time_that_no_calendar_reaches_is_said() -> None:
    with pytest.raises(MarketDataError, match="calendar"):
        sessions_at(CLOSE).next_close(datetime(2150, 1, 1, tzinfo=UTC))


def test_crypto_and_recordings_have_no_end_of_a_day() -> None:
    assert feed_for("replay").day_ends("BTC/USD", CLOSE) is None
    assert feed_for("kraken").day_ends("BTC/USD", CLOSE) is None


def resting(floor: Floor) -> Order:
    order = trade(make_bot(), Side.BUY, "0.1", limit="90").order
    assert order.status == OrderStatus.ACCEPTED
    return order


@pytest.mark.parametrize(("seconds", "status"), [(-1, "accepted"), (0, "expired"), (1, "expired")])
@pytest.mark.parametrize("bot_status", [BotStatus.RUNNING, BotStatus.STOPPED])
def test_paper_order_ends_with_its_day_whatever_its_bot_does(
    floor: Floor, seconds: int, status: str, bot_status: str
) -> None:
    order, now = resting(floor), timezone.now()
    Bot.objects.update(status=bot_status)
    floor.feed.ends_at = now
    for _ in range(2):
        expire_paper_orders(now + timedelta(seconds=seconds))
    order.refresh_from_db()
    assert order.status == status
    assert events_of(order).count("expired") == (status == "expired")


def test_order_that_rests_on_is_left_alone(floor: Floor) -> None:
    order = resting(floor)
    expire_paper_orders(timezone.now() + timedelta(days=30))
    order.refresh_from_db()
    assert order.status == OrderStatus.ACCEPTED


def test_order_whose_day_is_over_fills_no_more(floor: Floor) -> None:
    """A worker that was away over night meets the opening: what was traded then is not for yesterday's order."""
    order = resting(floor)
    floor.feed.move_to("80", "80.02")
    floor.feed.ends_at = timezone.now()
    found = match(order, timezone.now() + timedelta(seconds=2))
    assert (found.status, found.filled_quantity) == (OrderStatus.EXPIRED, 0)


def test_order_stands_while_nobody_knows_the_hours(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    order = resting(floor)

    def broken(symbol: str, made_at: datetime) -> datetime | None:
        raise MarketDataError("no calendar")

    monkeypatch.setattr(floor.feed, "day_ends", broken)
    expire_paper_orders(timezone.now())
    order.refresh_from_db()
    assert order.status == OrderStatus.ACCEPTED
