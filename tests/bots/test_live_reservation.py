"""Live orders of one account: what many bots ask for in the same moment can't together pass a limit, nor the venue's cash."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, getcontext, localcontext

import pytest
from pytest_django import Settings

from bots.executor import Submission
from bots.models import Order
from tests.bots.live import live_bot, live_desk, live_intent, measured, send
from tests.bots.test_exposure import at_the_same_moment
from tests.conftest import CommittedDatabase
from tests.loopback.client import KrakenLoopback

THREADS, EACH = 6, 3


def send_all(kraken: KrakenLoopback, settings: Settings) -> list[Submission]:
    """Let two bots of one account send 18 purchases of about 30 USD each, three after another in each of six threads."""
    bots = [live_desk(kraken, settings), live_bot("other")]

    def burst(number: int) -> list[Submission]:
        bot = bots[number % len(bots)]
        return [
            send(live_intent(bot, quantity=str(Decimal("0.29") + Decimal(number * EACH + turn) / 1000)))
            for turn in range(EACH)
        ]

    done = at_the_same_moment(*[lambda number=number: burst(number) for number in range(THREADS)])
    return [submission for part in done for submission in part]


@pytest.mark.parametrize(
    ("cash_usd", "equity_usd", "code", "limit_usd"),
    [("10000", "1000", "POSITION_MAX", 300), ("200", "10000", "INSUFFICIENT_FUNDS", 200)],
)
def test_together_they_stay_within_the_limit(
    committed_db: CommittedDatabase,
    kraken: KrakenLoopback,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    cash_usd: str,
    equity_usd: str,
    code: str,
    limit_usd: int,
) -> None:
    monkeypatch.setattr("tests.bots.live.measured", lambda: measured(cash_usd, equity_usd))
    submissions = send_all(kraken, settings)
    orders = list(Order.objects.all())
    spent = sum((order.filled_notional for order in orders), Decimal(0))
    # Cash is what was paid. A position is worth the bid: only its last order was still judged by what it would cost.
    held = sum((order.filled_quantity for order in orders), Decimal(0)) * Decimal("99.9")
    assert (held if code == "POSITION_MAX" else spent) <= limit_usd
    # What could still be bought was bought: the limit, and not the crowd, stopped the rest.
    assert spent > limit_usd - 40
    denied = [submission for submission in submissions if submission.is_denied]
    assert denied
    codes = [{denial.code for denial in one.denials} for one in denied]
    # On a slow machine some are too old by the time that they may leave: those never came to the limit.
    assert all(code in one for one in codes if one != {"INTENT_EXPIRED"}), codes
    assert any(code in one for one in codes)
    assert len(kraken.log("AddOrder")) == len(submissions) - len(denied)


def test_asking_the_venue_leaves_the_thread_s_decimal_context_alone(
    committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings
) -> None:
    """The venue's library sets rounding and traps for itself."""
    with localcontext(Context(prec=28, rounding=ROUND_HALF_EVEN, traps=[])):
        send(live_intent(live_desk(kraken, settings)))
        after = getcontext()
        assert (after.prec, after.rounding, any(after.traps.values())) == (28, ROUND_HALF_EVEN, False)
