"""Standing back: after which answers, for how long, and who may ask all the same."""

import time
from collections.abc import Callable

import pytest

from bots.brokers.back_off import ROUND_UNITS, BackOff, waits_until
from bots.brokers.budget import SHARES_PCT, Purpose
from bots.brokers.kraken_budget import TIERS
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.models import KrakenTier, VenueAccess

pytestmark = pytest.mark.django_db

REQUESTS = TIERS[KrakenTier.STARTER].requests


@pytest.fixture
def pass_s(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a way to let time pass."""
    now_ns = [time.monotonic_ns()]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns[0])

    def shift(seconds: float) -> None:
        now_ns[0] += int(seconds * 10**9)

    return shift


def refuses(back_off: BackOff, purpose: Purpose = Purpose.ORDERS, *, urgent: bool = False) -> bool:
    """Return whether nothing may be asked."""
    try:
        back_off.check(purpose, urgent=urgent)
    except CallFailed as failed:
        if not failed.failure.is_local:
            raise
        return True
    return False


@pytest.mark.parametrize(
    ("kind", "usual_s", "urgent_s"), [(Kind.RATE, 5, 0), (Kind.KEY, 30, 5), (Kind.NONCE, 0, 0), (Kind.UNKNOWN, 0, 0)]
)
def test_nothing_is_asked_for_a_while_after_a_refusal(
    pass_s: Callable[[float], None], kind: Kind, usual_s: int, urgent_s: int
) -> None:
    back_off = BackOff("kraken")
    assert not refuses(back_off)
    back_off.note(Failure(kind, "the venue said so"))
    for urgent, lasts_s in ((True, urgent_s), (False, usual_s)):
        assert refuses(back_off, urgent=urgent) == bool(lasts_s)
    pass_s(urgent_s + 0.001)
    assert not refuses(back_off, urgent=True)
    pass_s(max(usual_s - urgent_s, 0))
    assert not refuses(back_off)


def test_our_own_no_prolongs_nothing_and_is_not_kept(pass_s: Callable[[float], None]) -> None:
    back_off = BackOff("kraken")
    back_off.note(Failure(Kind.KEY, "ours", is_local=True))
    assert not refuses(back_off)
    assert VenueAccess.objects.get(account="kraken").key_refused_at is None


def test_refusal_for_one_symbol_is_kept_and_the_rest_goes_on(pass_s: Callable[[float], None]) -> None:
    back_off = BackOff("kraken")
    back_off.note(Failure(Kind.RATE, "too many orders in one symbol"), is_narrow=True)
    assert not refuses(back_off)
    assert VenueAccess.objects.get(account="kraken").rate_refused_at is not None


def test_background_rests_until_a_whole_round_has_room_and_nothing_else_does(
    pass_s: Callable[[float], None],
) -> None:
    back_off = BackOff("kraken")
    back_off.rest(Purpose.BACKGROUND, 2_000, REQUESTS.ms_per_unit)
    rests_s = 2 + ROUND_UNITS * REQUESTS.ms_per_unit / 1000
    pass_s(rests_s - 0.1)
    assert refuses(back_off, Purpose.BACKGROUND)
    for purpose in set(Purpose) - {Purpose.BACKGROUND}:
        assert not refuses(back_off, purpose)
    pass_s(0.2)
    assert not refuses(back_off, Purpose.BACKGROUND)


@pytest.mark.parametrize("purpose", sorted(set(Purpose) - {Purpose.BACKGROUND}))
def test_what_is_more_pressing_never_makes_the_background_rest(purpose: Purpose) -> None:
    back_off = BackOff("kraken")
    back_off.rest(purpose, 2_000, REQUESTS.ms_per_unit)
    assert not refuses(back_off, Purpose.BACKGROUND)


def test_a_whole_round_fits_under_the_backgrounds_share_of_every_tier() -> None:
    for tier in TIERS.values():
        assert tier.requests.size * SHARES_PCT[Purpose.BACKGROUND] >= 100 * (ROUND_UNITS + 1)


def test_entry_waits_for_nothing_and_a_cancel_longest(pass_s: Callable[[float], None]) -> None:
    now_ms = time.monotonic_ns() // 10**6
    assert waits_until(Purpose.ORDERS, is_order=True) == now_ms
    waits = [waits_until(purpose, is_order=False) - now_ms for purpose in Purpose]
    assert waits == sorted(waits, reverse=True)
    assert waits_until(Purpose.EXITS, is_order=True) > now_ms
