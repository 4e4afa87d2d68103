"""Who may do what: each group tries each act of docs/people.md, and whoever may only look tries every address there is."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from audit.models import OperatorEvent
from bots.admin.actions import ACTIONS
from bots.admin.forms import EditBotForm, NewBotForm
from bots.market_data import feeds
from bots.market_data.replay import ReplayFeed
from bots.models import Account, AutopilotConfig, Bot, Difference, Order
from bots.strategies import registry
from safety import api_tokens, kill_switch, permissions
from safety.api_scopes import Scope
from safety.intents import Level, Side
from safety.models import KillRun, ReadinessRun
from safety.notification_models import Delivery, Notification
from safety.notifications import outbox
from tests.bots.admin.test_bot_forms import filled
from tests.bots.builders import make_bot, trade
from tests.bots.kraken import install_kraken, kraken_bot
from tests.conftest import CommittedDatabase

DOCUMENT = Path(settings.BASE_DIR) / "docs" / "people.md"
BOTS, SWITCH = "/admin/bots/bot/", "/admin/safety/setting/kill_switch/change/"
SUPERUSER, STRANGER = "superuser", "stranger"
OWN_APPS = ("audit", "safety", "bots", "auth")


@dataclass
class House:
    """A console with a paper bot, a live one, a resting order, and somebody of every kind."""

    paper: Bot
    live: Bot
    order: Order
    client: Client

    def sign_in(self, who: str) -> None:
        """Go on as one of the groups, a superuser, or nobody."""
        self.client = Client()
        if who != STRANGER:
            self.client.force_login(User.objects.get(username=who.lower().replace(" ", "-")))

    def sends(self, url: str, form: dict[str, Any] | None = None) -> bool:
        """Return whether a form was taken: not refused, and something was written down."""
        before = OperatorEvent.objects.count()
        status = self.client.post(url, form or {}).status_code
        assert status < 500, url
        return status != 403 and OperatorEvent.objects.count() > before

    def sees(self, *urls: str) -> bool:
        """Return whether all of the pages are shown."""
        return all(self.client.get(url).status_code == 200 for url in urls)

    def does(self, bot: Bot, *keys: str) -> bool:
        """Return whether the pages let this be done to a bot; whether the bot is fit for it is another matter."""
        return all(
            self.client.post(f"{BOTS}{bot.pk}/do/{key}/", {"confirmed": "yes"}).status_code != 403 for key in keys
        )

    def saves(self, bot: Bot) -> bool:
        """Return whether the settings of a bot can be changed."""
        form = EditBotForm(bot=Bot.objects.get(pk=bot.pk), strategy=registry.get(bot.strategy))
        return self.sends(f"{BOTS}{bot.pk}/change/", {**filled(form), "poll_seconds": "7"})


def differing(bot: Bot) -> None:
    """Let something be open between our books and the bot's venue that a person could settle."""
    account, now = Account.objects.create(name=bot.venue, venue=bot.venue, is_live=True), timezone.now()
    Difference.objects.create(
        account=account, kind="oversold", key="oversold:x", symbol=bot.symbol, text="more was sold than was held",
        opened_at=now, seen_at=now,
    )  # fmt: skip


@pytest.fixture
def house(committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch) -> House:
    # A feed of its own: the replay's clock is kept in the database, and the last test's is gone.
    monkeypatch.setattr(feeds, "_REPLAY", ReplayFeed())
    install_kraken(monkeypatch)
    paper, live = make_bot("paper"), kraken_bot("live", running=False)
    bid = feeds.feed_for("replay").quote("BTC-PERP", timezone.now()).bid
    order = trade(paper, Side.BUY, "0.01", limit=str(int(bid * Decimal("0.9")))).order
    Bot.objects.filter(pk=live.pk).update(dry_run=False, entries_held="a test holds it")
    differing(live)
    live.refresh_from_db()
    owner = User.objects.create_superuser("superuser", password="x")
    api_tokens.make("a script", Scope.READ, None, maker=owner, reason="a test", now=timezone.now())
    for name in permissions.GROUPS:
        user = User.objects.create_user(name.lower().replace(" ", "-"), password="x", is_staff=True)
        user.groups.add(Group.objects.get(name=name))
    return House(paper, live, order, Client())


def add_bot(house: House) -> bool:
    form = {**filled(NewBotForm(strategy=registry.get("smart_dca"))), "name": "mine", "market": "replay:BTC-PERP"}
    return house.sends(f"{BOTS}add/?strategy=smart_dca", form)


def release(house: House) -> bool:
    kill_switch.engage(Level.HALTED, "a drill", actor="test")
    by_form = house.sends(SWITCH, {"value": "0", "reason": "over"})
    kill_switch.engage(Level.HALTED, "a drill", actor="test")
    by_page = house.sends("/admin/safety/release/", {"scope": "global", "reason": "over"})
    assert by_form == by_page
    return by_form


def change_people(house: House) -> bool:
    user = User.objects.get(username="viewer")
    add_user = house.client.post("/admin/auth/user/add/", {}).status_code != 403
    change = house.client.post(f"/admin/auth/user/{user.pk}/change/", {"username": "x"}).status_code != 403
    password = house.client.post(f"/admin/auth/user/{user.pk}/password/", {}).status_code != 403
    group = house.client.post("/admin/auth/group/add/", {}).status_code != 403
    assert len({add_user, change, password, group}) == 1
    return add_user


def manage_tokens(house: House) -> bool:
    form = {"name": "a program", "scope": "read", "life": "90", "reason": "a test"}
    made = house.sends("/admin/safety/apitoken/add/", form)
    token, _ = api_tokens.make(
        "another", Scope.READ, None, maker=User.objects.get(username="superuser"), reason="a test", now=timezone.now()
    )
    assert house.sends(f"/admin/safety/apitoken/{token.pk}/revoke/") == made
    return made


def notify(house: House) -> bool:
    """Try each button of the page: all of them are taken, or none."""
    now = timezone.now()
    outbox.tell("order_unknown", f"order:{house.order.client_order_id}", "Nobody knows what became of it")
    urgent = Notification.objects.latest("pk")
    given_up = Delivery.objects.create(
        channel="discord", event_id=urgent.event_id, event=urgent.event, severity=urgent.severity, status="dead", lines=[],
        first_at=now, last_at=now, give_up_at=now, created_at=now,
    )  # fmt: skip
    page = "/admin/safety/notifications/"
    taken = [
        house.sends(f"{page}test/"),
        house.sends(f"{page}retry/", {"delivery": str(given_up.pk)}),
        house.sends(f"{page}seen/", {"notification": str(urgent.pk)}),
        house.sends(page, {"event_test": "", "initial-event_test": "True", "reason": "x"}),
    ]
    Delivery.objects.update(status="dead")
    taken.append(house.sends(f"{page}retry-all/"))
    assert len(set(taken)) == 1, taken
    return taken[0]


def autopilot(house: House, *acts: tuple[str, dict[str, Any]], is_live: bool, is_on: bool) -> bool:
    """Try each of these on an autopilot that is so: all of them are taken, or none."""
    taken = []
    for part, form in acts:
        AutopilotConfig.objects.update(dry_run=not is_live, enabled=is_on, universe={"replay": ["SPY"]})
        taken.append(house.sends(f"/admin/autopilot/{part}/", form))
    assert len(set(taken)) == 1, taken
    return taken[0]


#: The rows of the table in docs/people.md, and how each is tried.
ACTS: dict[str, Callable[[House], bool]] = {
    "look at bots, orders, positions, limits and the audit": lambda house: house.sees(
        "/admin/", BOTS, f"{BOTS}{house.live.pk}/change/", "/admin/bots/order/", f"/admin/bots/order/{house.order.pk}/change/",
        "/admin/bots/position/", "/admin/bots/fill/", "/admin/safety/risklimits/global/change/", "/admin/safety/",
        "/admin/safety/tradingstate/", "/admin/audit/orderevent/", "/admin/audit/operatorevent/",
        "/admin/autopilot/",
        "/admin/safety/reconciliation/",
        "/admin/safety/notifications/", "/admin/safety/notification/", "/admin/safety/delivery/",
    ),
    "look at users and groups (never at passwords)": lambda house: house.sees("/admin/auth/user/", "/admin/auth/group/"),
    "add a bot (it is always on paper)": add_bot,
    "change a paper bot": lambda house: house.saves(house.paper),
    "start a paper bot": lambda house: house.does(house.paper, "start"),
    "pause, stop, close or archive a paper bot": lambda house: house.does(
        house.paper, "pause", "stop", "close-position", "archive"
    ),
    "pause, stop or close a live bot, or set it to paper": lambda house: house.does(
        house.live, "pause", "stop", "close-position", "to-paper"
    ),
    "cancel an order": lambda house: house.client.post(
        f"/admin/bots/order/{house.order.pk}/cancel/", {"confirmed": "yes"}
    ).status_code != 403,
    "set the speed of recorded data": lambda house: house.client.post("/admin/replay/", {"speed": "2"}).status_code != 403,
    "halt trading": lambda house: house.sends(SWITCH, {"value": "1", "reason": "x"}),
    "halt one bot": lambda house: house.does(house.paper, "halt"),
    "run the readiness checks": lambda house: house.client.get("/admin/safety/run-readiness/").status_code != 403,
    "change notification preferences": lambda house: house.sends(
        "/admin/safety/notificationprefs/1/change/", {"reason": "x"}
    ),
    "try messages, retry those given up, mark urgent ones as seen": notify,
    "switch the autopilot on or off on paper": lambda house: autopilot(
        house, ("switch", {"enabled": "1"}), is_live=False, is_on=False
    ),
    "switch a live autopilot off, or set it to paper": lambda house: autopilot(
        house, ("switch", {"enabled": "0"}), ("paper", {}), is_live=True, is_on=True
    ),
    "switch a live autopilot on": lambda house: autopilot(
        house, ("switch", {"enabled": "1"}), is_live=True, is_on=False
    ),
    "set the autopilot live": lambda house: house.sees("/admin/autopilot/live/"),
    "start a live bot": lambda house: house.does(house.live, "start"),
    "change a live bot": lambda house: house.saves(house.live),
    "set a bot live": lambda house: house.sees(f"{BOTS}{house.paper.pk}/go-live/"),
    "let held entries go on": lambda house: house.sends(
        f"{BOTS}clear-held/?bots={house.live.pk}", {"reason": "x"}
    ),
    "settle a difference with a venue": lambda house: house.sends(
        f"/admin/safety/reconciliation/{Difference.objects.get().pk}/", {"reason": "x"}
    ),
    "release the kill switch": release,
    "change risk limits": lambda house: house.sends(
        "/admin/safety/risklimits/global/change/", {"quote_age_s_max": "7", "reason": "x"}
    ),
    "make and revoke API tokens": manage_tokens,
    "change users and groups": change_people,
}  # fmt: skip


def documented() -> dict[str, dict[str, bool]]:
    """Return the table: by act, who may."""
    table = DOCUMENT.read_text().split("## Signing in")[0]
    rows = re.findall(r"^\| ([^|]+) \| (yes|no) \| (yes|no) \| (yes|no) \|$", table, flags=re.MULTILINE)
    return {what: dict(zip(permissions.GROUPS, [may == "yes" for may in told], strict=True)) for what, *told in rows}


def test_every_act_is_documented_and_every_documented_act_is_tried() -> None:
    assert set(documented()) == set(ACTS)


@pytest.mark.parametrize("who", permissions.GROUPS)
@pytest.mark.parametrize("what", ACTS)
def test_may_do_what_the_table_says_and_nothing_else(house: House, what: str, who: str) -> None:
    house.sign_in(who)
    assert ACTS[what](house) == documented()[what][who]


@pytest.mark.parametrize("what", ACTS)
def test_superuser_may_do_all_of_it(house: House, what: str) -> None:
    house.sign_in(SUPERUSER)
    assert ACTS[what](house)


class TestEachBotByItself:
    """A list of bots is judged one by one."""

    def chosen(self, house: House, action: str) -> dict[str, Any]:
        return {"action": action, "_selected_action": [house.paper.pk, house.live.pk], "confirmed": "yes"}

    def test_operator_starts_the_paper_bot_and_not_the_live_one(self, house: House) -> None:
        Bot.objects.update(status="stopped")
        house.sign_in("Operator")
        page = house.client.post(BOTS, self.chosen(house, "start_bots"), follow=True).content.decode()
        assert "live: you have no right to do this to it" in page
        assert [Bot.objects.get(pk=bot.pk).status for bot in (house.paper, house.live)] == ["running", "stopped"]

    def test_operator_stops_both(self, house: House) -> None:
        Bot.objects.update(status="running")
        house.sign_in("Operator")
        house.client.post(BOTS, self.chosen(house, "stop_bots"))
        assert set(Bot.objects.values_list("status", flat=True)) == {"stopped"}

    @pytest.mark.parametrize("who", ["Viewer", "Operator"])
    @pytest.mark.parametrize("action", ["go_live_bots", "clear_held_bots"])
    def test_what_takes_the_right_to_trade_live_is_not_even_offered(self, house: House, who: str, action: str) -> None:
        house.sign_in(who)
        assert f'value="{action}"' not in house.client.get(BOTS).content.decode()
        house.client.post(BOTS, self.chosen(house, action))
        assert Bot.objects.get(pk=house.live.pk).entries_held


class TestEveryAddress:
    """Every address of the admin, those of tomorrow, too: whoever may only look changes nothing."""

    #: What stands in an address, by the name it has there.
    FILLED: dict[str, Callable[[House, str], list[Any]]] = {
        "bot_id": lambda house, _: [house.paper.pk, house.live.pk],
        "key": lambda house, _: list(ACTIONS),
        "step": lambda house, _: ["market", "strategy", "money", "review"],
        "order_id": lambda house, _: [house.order.pk],
        "difference_id": lambda house, _: list(Difference.objects.values_list("pk", flat=True)),
        "user_id": lambda house, _: list(User.objects.values_list("pk", flat=True)),
        "id": lambda house, _: list(User.objects.values_list("pk", flat=True)),
        "object_id": lambda house, name: objects_of(name),
        "content_type_id": lambda house, _: [1],
        "app_label": lambda house, _: ["bots"],
        "url": lambda house, _: ["nowhere/"],
    }
    #: Everyone's own: signing in and out, one's own password, one's own second factor.
    OWN = {"login", "logout", "password_change", "console_login_code", "console_second_factor"}
    FORM = {
        "confirmed": "yes", "reason": "a try", "value": "1", "scope": "global", "level": "halted", "speed": "9", "name": "tried",
        "username": "tried", "is_superuser": "on", "is_staff": "on", "is_active": "on", "quote_age_s_max": "7", "post": "yes",
        "poll_seconds": "9", "enabled": "", "key": "kill_switch", "word": "FLATTEN", "confirm": "live", "start": "yes",
        "password1": "another long password 2", "password2": "another long password 2", "usable_password": "true",
    }  # fmt: skip

    def addresses(self, house: House) -> Iterator[str]:
        """Yield every address of the admin, with each of what may stand in it."""
        for route, name in routes(get_resolver()):
            if not route.startswith("admin/") or (name or "").removeprefix("admin:") in self.OWN:
                continue
            plain = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", r"<\1>", route).replace("^", "").replace("$", "")
            names = re.findall(r"<(?:\w+:)?(\w+)>", plain)
            filled_in = [plain]
            for one in names:
                assert one in self.FILLED, f"teach this test what {one} is in {route}"
                values = self.FILLED[one](house, name or route)
                filled_in = [
                    re.sub(rf"<(?:\w+:)?{one}>", str(value), made, count=1) for made in filled_in for value in values
                ]
            yield from (f"/{made}" for made in filled_in)

    def bulk(self) -> Iterator[tuple[str, str]]:
        """Yield every list and every action of it."""
        for model, model_admin in admin.site._registry.items():
            url = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            for action in model_admin.actions or ():
                yield url, action if isinstance(action, str) else action.__name__

    @pytest.mark.parametrize("who", ["Viewer", STRANGER])
    @pytest.mark.timeout(600)
    def test_whoever_may_only_look_changes_nothing(self, house: House, who: str) -> None:
        house.sign_in(who)
        before = everything()
        tried = 0
        for url in self.addresses(house):
            for form in (self.FORM, {**self.FORM, "value": "0", "again_answered": "POST", "again_password": "x"}):
                status = house.client.post(url, form).status_code
                assert status < 500, url
                assert status != 200 or who != STRANGER, url
                tried += 1
        for url, action in self.bulk():
            bots, orders = (model.objects.values_list("pk", flat=True) for model in (Bot, Order))
            chosen = [*bots, *orders, "kill_switch"]
            house.client.post(url, {**self.FORM, "action": action, "_selected_action": chosen, "index": "0"})
        assert tried > 200
        assert everything() == before

    @pytest.mark.timeout(600)
    def test_a_look_changes_nothing_not_even_a_superusers(self, house: House) -> None:
        house.sign_in(SUPERUSER)
        before = everything()
        for url in self.addresses(house):
            assert house.client.get(url).status_code < 500, url
        assert everything() == before

    def test_superuser_changes_no_audit_row(self, house: House) -> None:
        house.sign_in(SUPERUSER)
        for model in ("orderevent", "operatorevent"):
            [first, *_] = objects_of(f"audit_{model}_change")
            before = everything()
            for end in (f"{first}/change/", f"{first}/delete/", "add/"):
                form = {"reason": "forged", "hash": "0" * 64, "post": "yes"}
                assert house.client.post(f"/admin/audit/{model}/{end}", form).status_code == 403
            chosen: dict[str, Any] = {"action": "delete_selected", "_selected_action": [first], "post": "yes"}
            house.client.post(f"/admin/audit/{model}/", chosen)
            assert everything() == before


class TestGroups:
    def test_hold_only_rights_that_there_are_and_more_from_one_to_the_next(
        self, committed_db: CommittedDatabase
    ) -> None:
        held = [set(Group.objects.get(name=name).permissions.all()) for name in permissions.GROUPS]
        assert held[0] < held[1] < held[2]
        assert {right.codename.split("_")[0] for right in held[0]} == {"view"}

    def test_migration_made_the_rights_as_django_names_them(self, committed_db: CommittedDatabase) -> None:
        for right in Permission.objects.select_related("content_type"):
            model = right.content_type.model_class()
            assert model is not None, right
            usual = {
                f"{act}_{model._meta.model_name}": f"Can {act} {model._meta.verbose_name}"
                for act in model._meta.default_permissions
            }
            assert right.name == (usual | dict(model._meta.permissions))[right.codename]

    def test_every_model_can_be_looked_at_by_a_viewer(self, committed_db: CommittedDatabase) -> None:
        seen = set(Group.objects.get(name=permissions.VIEWER).permissions.values_list("codename", flat=True))
        models = [model for app in ("audit", "safety", "bots") for model in apps.get_app_config(app).get_models()]
        assert {f"view_{model._meta.model_name}" for model in models} <= seen

    def test_group_that_people_changed_stays_as_it_is(self, committed_db: CommittedDatabase) -> None:
        from importlib import import_module

        from django.db import connection

        add_groups = import_module("safety.migrations.0004_people").add_groups
        viewer = Group.objects.get(name=permissions.VIEWER)
        viewer.permissions.set(Permission.objects.filter(codename="view_bot"))
        Group.objects.get(name=permissions.OPERATOR).delete()
        with connection.schema_editor() as editor:
            add_groups(apps, editor)
        assert [right.codename for right in viewer.permissions.all()] == ["view_bot"]
        assert Group.objects.get(name=permissions.OPERATOR).permissions.filter(codename="operate_bot").exists()


def routes(resolver: Any, before: str = "") -> Iterator[tuple[str, str | None]]:
    """Yield every address there is, as it is written down, with its name."""
    for one in resolver.url_patterns:
        if isinstance(one, URLResolver):
            yield from routes(one, before + str(one.pattern))
        elif isinstance(one, URLPattern):
            yield before + str(one.pattern), one.name


def objects_of(name: str) -> list[Any]:
    """Return the ids of some objects of the model that an address is about."""
    app, model = re.findall(r"(?:admin/)?(\w+?)[_/](\w+?)[_/]", f"{name}/")[0]
    try:
        found = apps.get_model(app, model)
    except LookupError:
        return ["1"]
    return list(found._default_manager.values_list("pk", flat=True)[:3]) or ["1"]


def everything() -> dict[str, list[Any]]:
    """Return every row of the console's own tables and of the people's, but for when someone signed in last."""
    kept = {}
    for app in OWN_APPS:
        for model in apps.get_app_config(app).get_models(include_auto_created=True):
            if model in (ReadinessRun, KillRun) or not model._meta.managed:
                continue
            names = [field.attname for field in model._meta.concrete_fields if field.name != "last_login"]
            kept[model._meta.label] = sorted(model._default_manager.values_list(*names), key=repr)
    return kept
