"""Client order ids: short, plain, the same again for a repeated tick, and never the same for anything else."""

import re
import secrets
import string
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bots.models import Order
from bots.order_ids import LENGTH_MAX, installation_id, random_order_id, tick_order_id
from safety.models import Setting
from tests.conftest import CommittedDatabase

DUE = datetime(2026, 3, 2, 12, 0, 5, 123456, tzinfo=UTC)
HOME = "0123456789abcdef0123456789abcdef"
#: What both venues take: at most 18 of these.
PATTERN = re.compile(r"[a-z0-9-]{1,18}")
installations = st.text(string.hexdigits.lower(), min_size=32, max_size=32)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - zone follows
legs = st.text(min_size=1, max_size=30)
ticks = st.tuples(installations, st.integers(1, 2**63), times, legs)


@given(ticks)
def test_id_is_short_and_plain(tick: tuple[str, int, datetime, str]) -> None:
    assert PATTERN.fullmatch(tick_order_id(*tick))


def test_id_fits_its_column() -> None:
    assert Order._meta.get_field("client_order_id").max_length == LENGTH_MAX == 18
    assert len(tick_order_id(HOME, 1, DUE, "base")) == LENGTH_MAX


@given(ticks)
def test_repeated_tick_repeats_its_id(tick: tuple[str, int, datetime, str]) -> None:
    assert tick_order_id(*tick) == tick_order_id(*tick)


def test_id_stays_what_it_is_from_version_to_version() -> None:
    """A changed derivation would order a tick a second time when it is repeated after an upgrade."""
    assert tick_order_id(HOME, 7, DUE, "base") == "tjfaox6xr367fyc2bg"


@given(ticks, ticks)
def test_ticks_that_differ_have_ids_that_differ(
    one: tuple[str, int, datetime, str], other: tuple[str, int, datetime, str]
) -> None:
    assume(one != other)
    assert tick_order_id(*one) != tick_order_id(*other)


@pytest.mark.parametrize(
    "changed",
    [
        ("1" + HOME[1:], 7, DUE, "base"),
        (HOME, 8, DUE, "base"),
        (HOME, 7, DUE + timedelta(microseconds=1), "base"),
        (HOME, 7, DUE - timedelta(microseconds=1), "base"),
        (HOME, 7, DUE, "so1"),
        (HOME, 7, DUE, ""),
    ],
    ids=["installation", "bot", "later", "earlier", "leg", "no leg"],
)
def test_each_input_counts(changed: tuple[str, int, datetime, str]) -> None:
    assert tick_order_id(*changed) != tick_order_id(HOME, 7, DUE, "base")


def test_parts_do_not_run_into_each_other() -> None:
    assert tick_order_id(HOME, 1, DUE, "1base") != tick_order_id(HOME, 11, DUE, "base")
    assert tick_order_id(HOME, 1, DUE, "a|b") != tick_order_id(HOME, 1, DUE, "a") != tick_order_id(HOME, 1, DUE, "b")


@given(times, st.integers(0, 1_000))
def test_times_a_microsecond_apart_have_ids_of_their_own(due: datetime, first: int) -> None:
    run = [due + timedelta(microseconds=first + step) for step in range(20)]
    assert len({tick_order_id(HOME, 7, one, "base") for one in run}) == len(run)


@given(times)
def test_due_time_counts_as_its_moment_in_utc(due: datetime) -> None:
    expected = tick_order_id(HOME, 7, due, "base")
    for zone in (timezone(timedelta(hours=5, minutes=30)), ZoneInfo("America/New_York"), ZoneInfo("Pacific/Auckland")):
        assert tick_order_id(HOME, 7, due.astimezone(zone), "base") == expected


def test_due_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        tick_order_id(HOME, 7, DUE.replace(tzinfo=None), "base")


def test_two_installations_share_no_id() -> None:
    """The same bots, ticks and legs on two installations; with 85 bits two of 20,000 ids meet once in 10^17 tries."""
    one, other = secrets.token_hex(16), secrets.token_hex(16)
    ids = [
        tick_order_id(installation, bot_id, DUE + timedelta(seconds=5 * tick), leg)
        for installation in (one, other)
        for bot_id in range(1, 51)
        for tick in range(100)
        for leg in ("base", "exit")
    ]
    assert len(set(ids)) == len(ids) == 20_000


def test_random_ids_are_short_plain_and_never_repeat() -> None:
    ids = [random_order_id("manual") for _ in range(5_000)]
    assert len(set(ids)) == len(ids)
    assert all(PATTERN.fullmatch(one) and one[0] == "m" and len(one) == LENGTH_MAX for one in ids)


@pytest.mark.django_db
def test_installation_has_a_random_id_from_its_start_and_keeps_it() -> None:
    first = installation_id()
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert installation_id() == first == Setting.objects.get(key="installation_id").value


def test_installation_whose_id_is_gone_makes_no_new_one(committed_db: CommittedDatabase) -> None:
    """With a new one, a tick that is repeated would order twice."""
    Setting.objects.filter(key="installation_id").delete()
    with pytest.raises(Setting.DoesNotExist):
        installation_id()
    assert not Setting.objects.filter(key="installation_id").exists()
