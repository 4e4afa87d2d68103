"""A live desk whose work is done by processes that can be killed, at a loopback venue whose own ledger is the witness."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone

from audit.models import OrderEvent
from bots.models import Account, AccountSync, Bot, NonceKey, Order, RateCounter
from safety.intents import OrderIntent, Side
from tests.bots.live import live_intent
from tests.conftest import CommittedDatabase
from tests.faults.nursery import Nursery
from tests.faults.oracle import check
from tests.faults.venues import VenueSide
from tests.faults.wire import intent_json

SWEEP = "bots.sweep.sweep"
RECONCILE = "bots.reconciliation.chores.reconcile_accounts"
#: More rounds than anything here takes to be settled.
ROUNDS_MAX = 12
#: What one round of the sweep lies after the one before.
ROUND_S = 31

Note = Callable[[str, object], None]


class Desk:
    """A bot at a venue, and the processes that work for it."""

    def __init__(
        self, nursery: Nursery, database: CommittedDatabase, venue: VenueSide, bot: Bot, note: Note, **environ: str
    ) -> None:
        self.nursery, self.venue, self.bot = nursery, venue, bot
        self._note = note
        self.struck = ""
        nursery.common = {"environ": {**venue.environ(), **environ}, "var_dir": str(database.var_dir)}

    # What processes do.

    def intent(self, side: Side = Side.BUY, quantity: str = "0.3", limit: str | None = None) -> OrderIntent:
        """Return an intent of the bot, about 30 USD."""
        found = live_intent(self.bot, side, quantity, limit)
        return replace(found, is_live=self.venue.is_live)

    def send(self, intent: OrderIntent, **options: Any) -> Any:
        """Have a process send an intent; return its exit code, or minus the signal that killed it."""
        # As the workers do every few seconds: on a slow machine the desk's own measurement would be too old by now.
        Account.objects.filter(measured_at__isnull=False).update(measured_at=timezone.now())
        return self.nursery.run("send", [self.bot.pk], intent=intent_json(intent), **self._at(options))

    def start_sending(self, intent: OrderIntent, **options: Any) -> int:
        """Have a process begin to send an intent; return its id, for ``nursery.kill`` or ``nursery.wait``."""
        return self.nursery.spawn("send", [self.bot.pk], intent=intent_json(intent), **self._at(options))

    def tick(self, **options: Any) -> Any:
        """Have a worker tick the bot now, or at ``due_at``."""
        given = {"due_at": timezone.now().isoformat(), **options}
        return self.nursery.run("tick", [self.bot.pk], **self._at(given))

    def do(self, what: str, **options: Any) -> Any:
        """Have a process do something else."""
        return self.nursery.run(what, [self.bot.pk], **self._at(options))

    def chores(self, *names: str, **options: Any) -> Any:
        """Have a fresh process do one round of these chores."""
        return self.do("chores", names=list(names) or [SWEEP], **options)

    def _at(self, options: dict[str, Any]) -> dict[str, Any]:
        if "point" in options:
            self.struck = self.struck or options["point"]
        return options

    # What time does.

    @staticmethod
    def later(seconds: float) -> None:
        """Let so much time have passed for every order, for the turns of processes that died, and for what was asked."""
        passed = timedelta(seconds=seconds)
        fields = ("submitting_at", "deadline_at", "looked_up_at", "cancel_requested_at")
        Order.objects.filter(deadline_at__isnull=False).update(
            **{name: F(name) - passed for name in fields}, updated_at=F("updated_at") - passed
        )
        NonceKey.objects.update(expires_at=F("expires_at") - passed)
        RateCounter.objects.update(empty_at=F("empty_at") - passed)
        moments = ("expires_at", "wanted_at", "started_at", "listed_at", "sound_at", "history_at", "failing_since")
        AccountSync.objects.update(**{name: F(name) - passed for name in moments})
        for sync in AccountSync.objects.all():
            for doubt in sync.doubts.values():
                doubt["since"] = (datetime.fromisoformat(doubt["since"]) - passed).isoformat()
            sync.save(update_fields=["doubts"])

    def settle(self, *names: str, are_settled: Callable[[], bool] | None = None) -> None:
        """Let fresh processes do their rounds of the chores until nothing is open any more, as time passes."""
        done = are_settled or (lambda: not self.unsettled())
        for _ in range(ROUNDS_MAX):
            if done():
                return
            self.later(ROUND_S)
            assert self.chores(*names) == 0
        assert done(), f"not settled: {[(one.client_order_id, one.status) for one in Order.objects.all()]}"

    @staticmethod
    def unsettled() -> list[Order]:
        """Return the orders whose outcome nobody knows, and those whose cancel is still to come."""
        sent = Order.objects.filter(status__in=["pending", "submitting", "unknown"])
        resting = Order.objects.filter(status__in=["accepted", "partially_filled"])
        return [*sent, *resting.filter(cancel_requested_at__isnull=False)]

    # What is seen.

    def order(self, intent: OrderIntent) -> Order:
        """Return the stored order of an intent."""
        return Order.objects.get(client_order_id=intent.client_order_id)

    @staticmethod
    def story(intent: OrderIntent) -> list[str]:
        """Return the names of the audit rows of an order."""
        rows = OrderEvent.objects.filter(client_order_id=intent.client_order_id).order_by("id")
        return list(rows.values_list("event", flat=True))

    def sent(self) -> int:
        """Return how many orders the venue was asked to take, by its own log."""
        return len(self.venue.loopback.log(self.venue.add))

    def there(self, intent: OrderIntent) -> int:
        """Return how many orders the venue holds of an intent."""
        return sum(one.client_order_id == intent.client_order_id for one in self.venue.orders())

    def check(self, *intents: OrderIntent, struck: str = "") -> None:
        """Ask the oracle, and note for docs/faults.md where the fault struck and what became of these intents."""
        check(self.venue)
        stories = [
            f"{' → '.join(self.story(one)) or 'nothing recorded'}; at the venue: {self.there(one)}" for one in intents
        ]
        self.note(struck or self.struck, " | ".join(stories) or "the oracle holds")

    def note(self, struck: str, happened: str) -> None:
        """Note for docs/faults.md where the fault struck and what happened."""
        self._note("struck", struck)
        self._note("happened", happened)
        self._note("venue", self.venue.name)
