"""What an order can do to a position, seen by somebody who tries to get round the rules."""

import pytest

from safety.intents import Level, OrderType, Side
from tests.safety.builders import EXIT, EXPOSURE, NOW, QUOTE, codes, decide, situation
from tests.safety.test_controls import LIMIT_BUY, D, rules


@pytest.mark.parametrize("level", [Level.ACTIVE, Level.REDUCING])
@pytest.mark.parametrize("reduce_only", [True, False])
def test_sale_beyond_what_is_free_is_denied_whatever_it_calls_itself(level: Level, reduce_only: bool) -> None:
    for quantity in ("4.001", "5", "5.001", "1e9"):
        found = codes(**EXIT | {"quantity": D(quantity), "reduce_only": reduce_only, "level": level})
        assert "INSUFFICIENT_FUNDS" in found
        assert ("KILL_SWITCH" in found) is (level == Level.REDUCING)


@pytest.mark.parametrize("quantity", ["0", "-0", "-1", "-0.001", "-1e9"])
def test_sale_of_nothing_or_less_never_counts_as_an_exit(quantity: str) -> None:
    # A sale of less than nothing is a purchase.
    s = situation(**EXIT | {"quantity": D(quantity)})
    assert not s.is_exit
    assert decide(s).permit is None
    assert "KILL_SWITCH" in codes(**EXIT | {"quantity": D(quantity), "level": Level.REDUCING})


def test_purchase_that_calls_itself_reduce_only_is_denied_in_every_state() -> None:
    for level in Level:
        assert "INSUFFICIENT_FUNDS" in codes(reduce_only=True, level=level)
    assert "KILL_SWITCH" in codes(reduce_only=True, level=Level.REDUCING)


def test_exits_one_after_another_never_sell_more_than_is_held() -> None:
    """Resting sales stay on offer, so that the ones after them find less and less to sell."""
    on_offer, permitted = D(0), []
    for quantity in map(D, ["2", "2", "2", "1", "0.5", "0.5", "0.01"]):
        s = situation(**EXIT | {"quantity": quantity, "pending_exit_quantity": on_offer, "level": Level.REDUCING})
        if decide(s).is_allowed:
            permitted.append(quantity)
            on_offer += quantity
    assert permitted == [D(2), D(2), D(1)]
    assert on_offer == EXPOSURE["position_quantity"]


def test_position_with_more_digits_than_usual_precision_is_compared_exactly() -> None:
    held, lot = D("12345678901.12345678901234567890123456"), D("1e-26")
    exit_ = EXIT | {"position_quantity": held, "pending_exit_quantity": D(0)} | rules(lot_size=lot)
    assert codes(**exit_ | {"quantity": held}) == ()
    assert "INSUFFICIENT_FUNDS" in codes(**exit_ | {"quantity": D("12345678901.12345678901234567890123457")})


def test_side_that_is_neither_is_never_an_exit() -> None:
    for side in ("SELL", "short", "", None):
        s = situation(**EXIT | {"side": side, "level": Level.REDUCING})
        assert not s.is_exit
        assert "KILL_SWITCH" in decide(s).codes


def test_order_is_judged_at_its_own_limit_or_at_the_far_side() -> None:
    assert situation().price == QUOTE.ask
    assert situation(**EXIT).price == QUOTE.bid
    assert situation(**LIMIT_BUY).price == D("99.5")
    assert situation(type=OrderType.LIMIT).price is None
    assert situation(quote=None).price is None
    assert situation(quote=None).notional_usd is None


def test_quote_seen_now_has_no_age() -> None:
    assert QUOTE.seen_at == NOW
    assert QUOTE.mid == D("99.5")
    assert QUOTE.far_side(Side.SELL) == D(99)
