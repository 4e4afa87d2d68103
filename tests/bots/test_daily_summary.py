"""The day's summary: told once for each UTC day, with paper and live apart, late when nobody was there at midnight."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from audit import tallies
from audit.models import EventKind
from bots import daily_summary, uptime
from bots.daily_summary import is_due, needs_attention, of_day, tell_yesterday
from bots.models import Account, Bot, Difference, DifferenceKind, EquitySnapshot, Position
from bots.watch_chores import count_uptime, tell_of_the_day
from bots.workers.aside import aside
from safety.intents import Level
from safety.kill_switch import engage
from safety.notification_models import Delivery, DeliveryStatus, Notification
from tests.audit.factories import order_event, write
from tests.bots.builders import Floor, make_bot
from tests.conftest import CommittedDatabase
from tests.readiness.processes import beat

DAY = date(2026, 3, 29)
#: The night in which clocks in Europe went ahead: in UTC it is a day like any other.
START = datetime(2026, 3, 29, tzinfo=UTC)
END = START + timedelta(days=1)
SECOND = timedelta(seconds=1)


def told() -> list[Notification]:
    return list(Notification.objects.filter(event="daily_summary").order_by("id"))


def was_there(since: datetime = START) -> None:
    """Let the console have been at work since then."""
    uptime.count(since)


def snapshot(bot: Bot, at: datetime, pnl: str, *, is_live: bool = False) -> None:
    worth = Decimal(pnl)
    EquitySnapshot.objects.create(
        bot=bot, is_live=is_live, taken_at=at, equity=10_000 + worth, position_value=0, realised_pnl=worth,
        unrealised_pnl=0,
    )  # fmt: skip


def book(bot: Bot, pnl: str, *, is_live: bool = False) -> None:
    Position.objects.create(bot=bot, is_live=is_live, realised_pnl=Decimal(pnl), cash_flow=Decimal(pnl))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("now", "due"),
    [
        (END - SECOND, False),
        (END, False),
        (END + daily_summary.AFTER - SECOND, False),
        (END + daily_summary.AFTER, True),
        (END + timedelta(hours=23), True),
        (END + timedelta(days=2, hours=1), True),
    ],
)
def test_due_after_midnight_in_utc_and_late_too(now: datetime, due: bool) -> None:
    was_there()
    assert is_due(now) is due


@pytest.mark.django_db
def test_told_once_a_day_and_again_the_next() -> None:
    was_there()
    assert tell_yesterday(END + timedelta(hours=1))
    assert not is_due(END + timedelta(hours=2))
    assert not tell_yesterday(END + timedelta(hours=3))
    assert len(told()) == 1
    assert is_due(END + timedelta(hours=25))
    assert [one.subject for one in told()] == ["day:2026-03-29"]


@pytest.mark.django_db
@pytest.mark.parametrize(("since", "due"), [(END - SECOND, True), (END, False), (END + timedelta(hours=1), False)])
def test_a_console_that_was_not_there_yet_has_no_summary(since: datetime, due: bool) -> None:
    assert not is_due(END + timedelta(hours=2)), "nothing was ever counted"
    was_there(since)
    assert is_due(END + timedelta(hours=2)) is due


@pytest.mark.django_db
def test_profit_is_that_of_the_day_paper_and_live_apart(floor: Floor) -> None:
    paper, live = make_bot("paper", running=False), make_bot("live", running=False)
    for bot, is_live, gains in ((paper, False, ("5", "17.5")), (live, True, ("-1", "-4.004"))):
        snapshot(bot, START - SECOND, gains[0], is_live=is_live)
        snapshot(bot, END - SECOND, gains[1], is_live=is_live)
        # What came after the day, by the time the summary is made, is not its own.
        snapshot(bot, END + SECOND, "999", is_live=is_live)
        book(bot, "999", is_live=is_live)
    assert of_day(DAY, is_live=False).pnl_usd == Decimal("12.5")
    assert of_day(DAY, is_live=True).pnl_usd == Decimal("-3.004")
    was_there()
    tell_yesterday(END + timedelta(hours=1))
    assert told()[0].title == "2026-03-29: paper +12.50 USD, live -3.00 USD"


@pytest.mark.django_db
@pytest.mark.parametrize(("pnl", "shown"), [("0", "+0.00"), ("-0.004", "+0.00"), ("-1234.5", "-1,234.50")])
def test_a_figure_has_its_sign(floor: Floor, pnl: str, shown: str) -> None:
    bot = make_bot(running=False)
    snapshot(bot, START - SECOND, "0")
    snapshot(bot, END - SECOND, pnl)
    book(bot, pnl)
    tell_yesterday(END + timedelta(hours=1))
    assert dict(told()[0].facts)["Profit and loss, paper"] == f"{shown} USD"


def test_trades_and_denials_of_the_day_are_counted_to_the_second(committed_db: CommittedDatabase) -> None:
    def denied(codes: str, at: datetime, *, is_live: bool = False) -> None:
        write(order_event(event=EventKind.DENIED, status="denied", reason=codes, ts=at, is_live=is_live))

    write(*(order_event(ts=at, client_order_id=f"f{n}") for n, at in enumerate((START, END - SECOND))))
    write(order_event(ts=START - SECOND), order_event(ts=END))
    write(order_event(event=EventKind.REJECTED, status="rejected", ts=START, is_live=True))
    denied("READINESS, DAILY_LOSS", START)
    denied("READINESS", START, is_live=True)
    denied("DRAWDOWN", END)
    for number in range(7):
        denied(f"CODE_{number}", START, is_live=True)
    paper, live = of_day(DAY, is_live=False), of_day(DAY, is_live=True)
    assert (paper.filled, paper.refused, live.filled, live.refused) == (2, 0, 0, 1)
    assert paper.denials == {"READINESS": 1, "DAILY_LOSS": 1}
    tell_yesterday(END + timedelta(hours=1))
    facts = dict(told()[0].facts)
    assert facts["Denied, paper"] == "DAILY_LOSS 1, READINESS 1"
    assert facts["Denied, live"].endswith(" and 3 more")
    assert facts["Refused by a venue"] == "paper 0, live 1"


@pytest.mark.django_db
def test_what_needs_a_person_is_listed(floor: Floor) -> None:
    assert needs_attention() == []
    engage(Level.HALTED, "odd prices", actor="ann", scope="venue:kraken")
    held = make_bot("held", running=False)
    Bot.objects.filter(pk=held.pk).update(
        entries_held="released", last_error="ValueError: no", venue="kraken", dry_run=False
    )
    account = Account.objects.create(name="kraken", venue="kraken", is_live=True)
    Difference.objects.create(
        account=account, kind=DifferenceKind.SHORTAGE, key="asset:BTC", asset="BTC", text="less", opened_at=START,
        seen_at=START,
    )  # fmt: skip
    Delivery.objects.create(
        channel="discord", event_id="x", event="test", severity="info", status=DeliveryStatus.DEAD, first_at=START,
        last_at=START, created_at=START, give_up_at=END,
    )  # fmt: skip
    found = needs_attention()
    assert found[0] == "venue:kraken is halted: odd prices"
    assert found[1:] == [
        "differences between our books and a venue: 1 (see Reconciliation)",
        "bots whose entries are held: held",
        "bots that failed: held",
        "messages that could not be delivered: 1 (see Safety, Notifications)",
        "live entries are shut by readiness: no readiness run",
    ]
    tell_yesterday(END + timedelta(hours=1))
    assert told()[0].text.startswith("Needs you:\n- venue:kraken is halted")


@pytest.mark.django_db
def test_a_quiet_day_says_so() -> None:
    was_there()
    tell_yesterday(END + timedelta(hours=1))
    assert told()[0].text == "Nothing needs you."
    assert told()[0].severity == "info"


# Uptime.


@pytest.mark.django_db
def test_each_minute_counts_once_and_to_its_own_day() -> None:
    for seconds in (0, 1, 30, 59.9, 60, 61):
        uptime.count(START + timedelta(seconds=seconds))
    uptime.count(END)
    first, second = uptime.of_day(DAY), uptime.of_day(DAY + timedelta(days=1))
    assert first is not None
    assert second is not None
    assert (first.up, first.minutes) == (2, 1440)
    assert (second.up, second.minutes) == (1, 1440)
    assert uptime.of_day(DAY - timedelta(days=1)) is None


@pytest.mark.django_db
def test_a_first_day_is_measured_from_its_first_minute() -> None:
    uptime.count(END - timedelta(minutes=10))
    found = uptime.of_day(DAY)
    assert found is not None
    assert (found.up, found.minutes, found.percent_text) == (1, 10, "10.0 %")


@pytest.mark.parametrize(
    ("up", "minutes", "shown"), [(0, 1440, "0.0 %"), (1439, 1440, "99.9 %"), (1440, 1440, "100.0 %"), (0, 0, "0.0 %")]
)
def test_only_a_whole_day_is_a_hundred_percent(up: int, minutes: int, shown: str) -> None:
    assert uptime.Uptime(up, minutes).percent_text == shown


@pytest.mark.django_db
def test_a_clock_that_was_set_back_makes_no_more_than_a_day() -> None:
    was_there()
    kept = tallies.read(uptime.NAME)
    tallies.change(uptime.NAME, lambda _: {**kept, "days": {DAY.isoformat(): 1450}})
    found = uptime.of_day(DAY)
    assert found is not None
    assert (found.up, found.minutes) == (1440, 1440)


@pytest.mark.django_db
def test_old_days_are_forgotten() -> None:
    for day in range(uptime.DAYS_KEPT + 5):
        uptime.count(START + timedelta(days=day))
    kept = tallies.read(uptime.NAME)["days"]
    assert len(kept) == uptime.DAYS_KEPT
    assert min(kept) == "2026-04-03"


@pytest.mark.django_db
def test_a_minute_without_a_runner_is_none() -> None:
    count_uptime(START)
    assert uptime.of_day(DAY) is None
    beat("runner", age_s=31)
    count_uptime(START)
    assert uptime.of_day(DAY) is None
    beat("runner")
    count_uptime(START)
    assert uptime.of_day(DAY) is not None


def test_the_chore_tells_once(committed_db: CommittedDatabase) -> None:
    was_there()
    for _ in range(2):
        tell_of_the_day(END + timedelta(hours=1))
        assert aside.settle(20)
    assert len(told()) == 1
