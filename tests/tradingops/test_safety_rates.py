"""The panel of the rate limits, the page of the tier, and the readiness checks on what the venues said of our keys."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from audit.models import OperatorEvent
from bots.brokers import budget, kraken_budget
from bots.brokers.budget import Purpose
from bots.models import KrakenTier, RateCounter, VenueAccess
from bots.models.worker import WorkerKind
from safety import readiness
from safety.readiness_values import State
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor
from tests.clock import stay_within_the_hour
from tests.readiness.processes import beat
from tests.readiness.test_venue_checks import live_bot
from tests.tradingops.test_safety_page import PAGE, PART, as_member, password_given, section

__all__ = ["desk", "floor"]

TIER = "/admin/bots/venueaccess/kraken/change/"
STARTER = kraken_budget.TIERS[KrakenTier.STARTER]


def panel(desk: Desk, url: str = PAGE) -> str:
    return section(desk.get(url), "rates")


def spend(purpose: Purpose, times: int, scope: str = "") -> None:
    limit = STARTER.engine if scope else STARTER.requests
    # What was spent is counted by the hour.
    stay_within_the_hour()
    for _ in range(times):
        assert budget.take("kraken", scope, limit, 1, purpose) == 0


class TestPanel:
    def test_before_anything_was_asked_it_says_so(self, desk: Desk) -> None:
        shown = panel(desk)
        assert "kraken: tier Starter" in shown
        assert "Nothing was asked yet." in shown

    @pytest.mark.parametrize("url", [PAGE, PART])
    def test_says_what_is_used_by_whom_and_what_is_kept_back(self, desk: Desk, url: str) -> None:
        spend(Purpose.BACKGROUND, 7)
        spend(Purpose.CANCELS, 2)
        # One falls off each second: of a few nothing might be left when the page is asked.
        spend(Purpose.ORDERS, 20, "BTC/USD")
        budget.note_held_back("kraken", "")
        shown = panel(desk, url)
        assert "of 15, falls by 0.33 a second" in shown
        assert "2 for cancels; 7 for background" in shown
        assert "35 % is kept for look-ups, orders and cancels" in shown
        assert "Orders and cancels in BTC/USD" in shown
        assert "of 60, falls by 1.00 a second" in shown
        assert "Not asked for want of room: 1 times." in shown
        assert "the background waits" not in shown

    def test_says_when_the_background_waits(self, desk: Desk) -> None:
        budget.fill("kraken", "", STARTER.requests)
        assert "the background waits" in panel(desk)

    def test_what_was_spent_hours_ago_is_not_shown(self, desk: Desk) -> None:
        spend(Purpose.BACKGROUND, 7)
        RateCounter.objects.update(hour=timezone.now() - timedelta(hours=5))
        assert "for background" not in panel(desk)

    def test_tells_of_the_venues_complaints(self, desk: Desk) -> None:
        now = timezone.now()
        VenueAccess.objects.filter(account="kraken").update(
            rate_refused_at=now - timedelta(minutes=3), rate_refused_reason="Kraken wants fewer requests (EAPI)",
            key_refused_at=now - timedelta(minutes=2), key_refused_reason="Kraken does not accept the API key",
        )  # fmt: skip
        shown = panel(desk)
        assert "wanted fewer requests 3 min ago: Kraken wants fewer requests (EAPI)" in shown
        assert "refused the key 2 min ago: Kraken does not accept the API key" in shown
        assert "Something else uses this key" not in shown

    @pytest.mark.parametrize(
        ("ago_min", "count", "is_told"), [(9, 3, True), (9, 2, False), (11, 3, False)], ids=["lasts", "few", "old"]
    )
    def test_tells_of_a_key_that_others_use_while_it_lasts(
        self, desk: Desk, ago_min: int, count: int, is_told: bool
    ) -> None:
        at = timezone.now() - timedelta(minutes=ago_min)
        VenueAccess.objects.filter(account="kraken").update(
            nonce_refused_at=at, nonce_refused_since=at - timedelta(minutes=1), nonce_refusals=count
        )
        shown = panel(desk)
        assert ("Something else uses this key." in shown) == is_told
        assert f"{count} times in a row" in shown

    def test_alpacas_accounts_have_no_tier(self, desk: Desk) -> None:
        assert budget.take("alpaca-paper", "", budget.Limit(100, 600), 1, Purpose.ORDERS) == 0
        shown = panel(desk)
        assert "alpaca-paper" in shown
        assert "of 100, falls by 1.67 a second" in shown
        assert shown.count("tier") == 1

    def test_only_who_may_change_limits_is_led_to_the_tier(self, desk: Desk) -> None:
        assert TIER in panel(desk)
        as_member(desk, "Operator")
        assert TIER not in panel(desk)


class TestTier:
    def change(self, desk: Desk, **changes: Any) -> int:
        return desk.post(TIER, {"tier": "pro", "reason": "verified", "_save": "1", **changes}).status_code

    def test_change_is_kept_audited_and_counted_from_full(self, desk: Desk) -> None:
        password_given(desk)
        assert self.change(desk) == 302
        assert VenueAccess.objects.get(account="kraken").tier == "pro"
        event = OperatorEvent.objects.get(action="kraken_tier_changed")
        assert (event.object, event.old, event.new, event.reason) == ("account:kraken", "starter", "pro", "verified")
        counter = RateCounter.objects.get(account="kraken", scope="")
        limit = kraken_budget.TIERS[KrakenTier.PRO].requests
        assert budget.used(counter, limit, timezone.now()).used > limit.size - 10

    def test_same_again_changes_nothing(self, desk: Desk) -> None:
        password_given(desk)
        assert self.change(desk, tier="starter") == 302
        assert not OperatorEvent.objects.filter(action="kraken_tier_changed").exists()
        assert not RateCounter.objects.exists()

    @pytest.mark.parametrize("changes", [{"reason": " "}, {"tier": "gold"}])
    def test_without_a_reason_or_with_an_unknown_tier_it_is_refused(self, desk: Desk, changes: dict[str, str]) -> None:
        password_given(desk)
        assert self.change(desk, **changes) == 200
        assert VenueAccess.objects.get(account="kraken").tier == "starter"

    def test_takes_a_recent_sign_in(self, desk: Desk) -> None:
        password_given(desk, ago_s=3600)
        self.change(desk)
        assert VenueAccess.objects.get(account="kraken").tier == "starter"

    @pytest.mark.parametrize(("group", "may"), [("Viewer", False), ("Operator", False), ("Risk manager", True)])
    def test_takes_the_right_to_change_limits(self, desk: Desk, group: str, may: bool) -> None:
        as_member(desk, group)
        password_given(desk)
        assert desk.get(TIER).count('name="tier"') == may
        self.change(desk)
        assert (VenueAccess.objects.get(account="kraken").tier == "pro") == may

    def test_other_venues_have_none_to_choose(self, desk: Desk) -> None:
        VenueAccess.objects.create(account="alpaca")
        password_given(desk)
        assert desk.post("/admin/bots/venueaccess/alpaca/change/", {"tier": "pro", "reason": "x"}).status_code == 403
        assert "200 a minute" in desk.get("/admin/bots/venueaccess/")


@pytest.mark.django_db
class TestReadiness:
    def state(self, id: str, venue: str = "kraken") -> State:
        checks = [one for one in readiness.load_checks() if one.id == id]
        run = readiness.run("demand", checks=checks)
        return next(one.state for one in readiness.findings_of(run) if one.id == id and one.venue == venue)

    def refused(self, count: int, ago: timedelta) -> None:
        at = timezone.now() - ago
        VenueAccess.objects.filter(account="kraken").update(
            nonce_refused_at=at, nonce_refused_since=at, nonce_refusals=count
        )

    @pytest.mark.parametrize(
        ("count", "ago_min", "state"),
        [(2, 1, State.OK), (3, 9, State.FAILED), (3, 11, State.OK), (30, 1, State.FAILED)],
    )
    def test_key_that_others_use_blocks_while_it_lasts(self, count: int, ago_min: int, state: State) -> None:
        live_bot()
        beat(WorkerKind.RUNNER)
        assert self.state("venue_key_alone") == State.OK
        self.refused(count, timedelta(minutes=ago_min))
        assert self.state("venue_key_alone") == state

    @pytest.mark.parametrize(("ago_min", "state"), [(59, State.FAILED), (61, State.OK)])
    def test_venue_that_complained_within_the_hour_is_worth_a_look(self, ago_min: int, state: State) -> None:
        live_bot()
        beat(WorkerKind.RUNNER)
        assert self.state("venue_rate") == State.OK
        VenueAccess.objects.filter(account="kraken").update(
            rate_refused_at=timezone.now() - timedelta(minutes=ago_min), rate_refused_reason="too many"
        )
        assert self.state("venue_rate") == state

    def test_venue_that_nothing_uses_is_not_used(self) -> None:
        beat(WorkerKind.RUNNER)
        self.refused(30, timedelta(0))
        assert self.state("venue_key_alone") == State.NOT_USED
        assert self.state("venue_rate") == State.NOT_USED
