"""Scoped tokens of the API: making, finding and revoking them."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from audit.models import OperatorEvent
from safety import api_tokens
from safety.api_scopes import Scope, may, rights_of
from safety.models import ApiToken
from safety.permissions import ENGAGE, OPERATE_BOT, OPERATOR, RELEASE, RISK_MANAGER, TRADE_LIVE, VIEWER
from tests.conftest import CommittedDatabase

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def person(name: str, group: str = RISK_MANAGER) -> User:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return User.objects.get(pk=user.pk)


@dataclass(frozen=True)
class Made:
    token: ApiToken
    text: str

    def is_found(self, now: datetime = LATER) -> bool:
        return api_tokens.find(self.text, now=now) is not None


@pytest.fixture
def maker(committed_db: CommittedDatabase) -> User:
    return person("maker")


@pytest.fixture
def make(maker: User) -> Callable[..., Made]:
    def made(
        name: str = "grafana", scope: Scope = Scope.READ, life: timedelta | None = api_tokens.LIFE, by: User = maker
    ) -> Made:
        return Made(*api_tokens.make(name, scope, life, maker=by, reason="a test", now=NOW))

    return made


class TestMaking:
    def test_text_has_a_form_that_scanners_can_know_and_is_kept_nowhere(self, make: Callable[..., Made]) -> None:
        made = make()
        assert re.fullmatch(r"top_[0-9a-f]{8}_[0-9a-f]{64}", made.text)
        assert made.text.startswith(f"top_{made.token.prefix}_")
        assert made.token.secret_hash == hashlib.sha256(made.text.encode()).hexdigest()
        secret = made.text.rsplit("_", 1)[1]
        for row in ApiToken.objects.values_list():
            assert secret not in repr(row)
        for event in OperatorEvent.objects.values_list():
            assert secret not in repr(event)
            assert made.token.secret_hash not in repr(event)

    def test_two_tokens_share_nothing(self, make: Callable[..., Made]) -> None:
        one, other = make("one"), make("other")
        assert one.token.prefix != other.token.prefix
        assert one.text[-64:] != other.text[-64:]

    def test_is_audited_with_scope_end_and_reason(self, make: Callable[..., Made]) -> None:
        made = make(scope=Scope.ENGAGE)
        event = OperatorEvent.objects.get(action="api_token_made")
        assert (event.actor, event.object, event.reason) == ("maker", "api_token:grafana", "a test")
        assert event.new == f"scope engage, expires 2026-05-30 12:00 UTC, prefix {made.token.prefix}"

    @pytest.mark.parametrize("name", ["", " x", "a:b", "a\nb", "é", "x" * 61, "a/b", "<b>"])
    def test_name_that_is_unfit_is_refused(self, make: Callable[..., Made], name: str) -> None:
        with pytest.raises(api_tokens.TokenError, match="letters, digits"):
            make(name)
        assert not ApiToken.objects.exists()

    def test_longest_name_is_taken(self, make: Callable[..., Made]) -> None:
        assert make("x" * 60).token.name == "x" * 60

    def test_name_that_was_used_is_refused_even_after_a_revocation(self, make: Callable[..., Made]) -> None:
        api_tokens.revoke(make().token, actor="maker", now=NOW)
        with pytest.raises(api_tokens.TokenError, match="choose another"):
            make()
        assert ApiToken.objects.count() == 1
        assert OperatorEvent.objects.filter(action="api_token_made").count() == 1

    @pytest.mark.parametrize(
        ("life", "is_allowed"),
        [
            (timedelta(0), False),
            (timedelta(days=-1), False),
            (timedelta(seconds=1), True),
            (timedelta(days=366), True),
            (timedelta(days=366, seconds=1), False),
            (None, True),
        ],
    )
    def test_life_is_above_zero_and_at_most_a_year_or_endless_on_purpose(
        self, make: Callable[..., Made], life: timedelta | None, is_allowed: bool
    ) -> None:
        if is_allowed:
            assert make(life=life).token.expires_at == (None if life is None else NOW + life)
        else:
            with pytest.raises(api_tokens.TokenError, match="within a year"):
                make(life=life)

    @pytest.mark.parametrize("group", [VIEWER, OPERATOR])
    def test_takes_the_right_to(self, make: Callable[..., Made], group: str) -> None:
        with pytest.raises(api_tokens.TokenError, match=r"safety\.manage_api_tokens"):
            make(by=person("other", group))

    def test_nobody_gives_more_than_his_own(self, make: Callable[..., Made]) -> None:
        group = Group.objects.get(name=RISK_MANAGER)
        group.permissions.remove(group.permissions.get(codename="trade_live"))
        limited = person("limited")
        with pytest.raises(api_tokens.TokenError, match=r"bots\.trade_live"):
            make(scope=Scope.TRADE, by=limited)
        assert make(scope=Scope.OPERATE, by=limited).token.scope == "operate"

    def test_database_refuses_a_scope_that_there_is_not(self, maker: User) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            ApiToken.objects.create(
                name="x", prefix="0" * 8, secret_hash="0" * 64, scope="all", made_by=maker, made_at=NOW
            )


class TestFinding:
    def test_right_text_is_found_with_one_query_for_the_token(self, make: Callable[..., Made]) -> None:
        made = make()
        assert made.is_found()
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert made.is_found()
        assert sum("api_tokens" in one["sql"] for one in asked) == 1
        # The other two are its maker's rights.
        assert len(asked) == 3

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
            lambda text: text[:-1],
            lambda text: text + "0",
            lambda text: text.upper(),
            lambda text: text + "\n",
            lambda text: "top_00000000" + text[12:],
            lambda text: text[4:],
            lambda text: "",
            lambda text: "x" * 100_000,
            lambda text: text[:12] + "٠" * 64,
        ],
    )
    def test_other_text_is_not(self, make: Callable[..., Made], change: Callable[[str], str]) -> None:
        assert api_tokens.find(change(make().text), now=LATER) is None

    def test_hash_itself_lets_nobody_in(self, make: Callable[..., Made]) -> None:
        made = make()
        assert api_tokens.find(f"top_{made.token.prefix}_{made.token.secret_hash}", now=LATER) is None

    @pytest.mark.parametrize(("before", "is_found"), [(1, True), (0, False), (-1, False)])
    def test_expires_to_the_second(self, make: Callable[..., Made], before: int, is_found: bool) -> None:
        made = make(life=timedelta(days=1))
        assert made.is_found(NOW + timedelta(days=1) - timedelta(seconds=before)) is is_found

    def test_endless_one_is_found_years_later(self, make: Callable[..., Made]) -> None:
        assert make(life=None).is_found(NOW + timedelta(days=4_000))

    def test_revoked_one_is_not_found_and_stays_so(self, make: Callable[..., Made]) -> None:
        made = make()
        assert api_tokens.revoke(made.token, actor="somebody", now=LATER)
        assert not made.is_found()
        assert not api_tokens.revoke(made.token, actor="somebody else", now=LATER)
        assert OperatorEvent.objects.get(action="api_token_revoked").actor == "somebody"
        assert ApiToken.objects.get().revoked_by == "somebody"

    def test_stops_while_its_maker_is_inactive_and_comes_back_with_him(
        self, make: Callable[..., Made], maker: User
    ) -> None:
        made = make()
        for field in ("is_active", "is_staff"):
            User.objects.filter(pk=maker.pk).update(**{field: False})
            assert not made.is_found()
            User.objects.filter(pk=maker.pk).update(**{field: True})
            assert made.is_found()

    def test_stops_when_its_maker_may_no_longer_make_tokens(self, make: Callable[..., Made], maker: User) -> None:
        made = make()
        maker.groups.set([Group.objects.get(name=OPERATOR)])
        assert not made.is_found()

    def test_superusers_token_stops_with_him(self, make: Callable[..., Made]) -> None:
        owner = User.objects.create_superuser("owner")
        made = make(by=owner, scope=Scope.TRADE)
        assert made.is_found()
        User.objects.filter(pk=owner.pk).update(is_active=False)
        assert not made.is_found()

    def test_use_is_noted_at_most_once_a_minute(self, make: Callable[..., Made]) -> None:
        made = make()
        seen = []
        for seconds in (0, 59, 60, 61):
            assert made.is_found(LATER + timedelta(seconds=seconds))
            used_at = ApiToken.objects.get().last_used_at
            assert used_at is not None
            seen.append((used_at - LATER).total_seconds())
        assert seen == [0, 0, 60, 60]

    def test_use_is_not_noted_for_a_wrong_one(self, make: Callable[..., Made]) -> None:
        made = make()
        api_tokens.find(made.text[:-1] + "x", now=LATER)
        api_tokens.revoke(made.token, actor="maker", now=LATER)
        assert not made.is_found()
        assert ApiToken.objects.get().last_used_at is None


class TestRights:
    def test_each_scope_may_what_the_one_before_may_and_more(self) -> None:
        held = [rights_of(scope) for scope in Scope]
        assert all(less < more for less, more in pairwise(held))
        assert held[0] == frozenset()

    @pytest.mark.parametrize("scope", Scope)
    def test_no_scope_releases_or_makes_tokens(self, scope: Scope) -> None:
        for right in (
            RELEASE,
            "safety.manage_api_tokens",
            "safety.change_risklimits",
            "auth.view_user",
            "bots.nothing",
        ):
            assert not may(scope, right)

    def test_token_may_no_more_than_its_maker_may_now(self, make: Callable[..., Made], maker: User) -> None:
        made = make(scope=Scope.TRADE)
        group = Group.objects.get(name=RISK_MANAGER)
        found = api_tokens.find(made.text, now=LATER)
        assert found is not None
        assert all(api_tokens.allows(found, right) for right in (TRADE_LIVE, OPERATE_BOT, ENGAGE, "bots.view_bot"))
        group.permissions.remove(group.permissions.get(codename="trade_live"))
        again = api_tokens.find(made.text, now=LATER)
        assert again is not None
        assert not api_tokens.allows(again, TRADE_LIVE)
        assert api_tokens.allows(again, OPERATE_BOT)

    def test_engage_token_of_a_superuser_may_nothing_else(self, make: Callable[..., Made]) -> None:
        made = make(by=User.objects.create_superuser("owner"), scope=Scope.ENGAGE)
        found = api_tokens.find(made.text, now=LATER)
        assert found is not None
        assert api_tokens.allows(found, ENGAGE)
        for right in (OPERATE_BOT, TRADE_LIVE, RELEASE, "bots.add_bot", "bots.change_bot"):
            assert not api_tokens.allows(found, right)
