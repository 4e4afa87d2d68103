"""One run over one account: ask the venue, carry out what is found about orders, count what moved, and compare.

Everything is asked outside any transaction, and nothing is asked that an answer already there can tell: a venue's questions are
few. An answer that fails or is unsound ends the run; what was carried out until then stands, and no figure is judged.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone

from bots.account_chores import Answer, figures_of, measure_at_venue
from bots.accounts import account_name
from bots.brokers.base import ListedOrder, VenueBroker, VenueError
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.market_data.base import MarketDataError
from bots.models import Account, AccountSync, ReconciliationRun
from bots.reconciliation import facts, history, judging, orders, passes, turns
from bots.reconciliation.facts import Books
from bots.reconciliation.reading import Reader
from bots.reconciliation.turns import Turn, TurnLost, TurnTaken

log = logging.getLogger(__name__)
__all__ = ["TurnTaken", "reconcile", "watch_orders"]


class Postponed(Exception):
    """There was no time left in this turn for what is still to be asked; the next run goes on."""


def reconcile(venue: str, *, is_live: bool, trigger: str) -> ReconciliationRun:
    """Compare an account's orders, fills, transfers and balances with our books, and return the run, which is kept.

    ``trigger`` says who wanted it, in a word. A run that failed has changed no figure, and says why. The account's worth is
    measured with the same answer. Not inside a transaction. Raises TurnTaken while somebody else does the same.
    """
    turn = turns.take(venue, is_live=is_live)
    try:
        return _Round(turn, venue, is_live).run(trigger)
    finally:
        turn.give_back()


def watch_orders(venue: str, *, is_live: bool) -> None:
    """Look through the account's open orders alone, for fills of ours and for orders of others. One question, if nothing is new.

    Raises TurnTaken, BrokerUnavailable and VenueError.
    """
    turn = turns.take(venue, is_live=is_live)
    try:
        _Round(turn, venue, is_live).look_at_open_orders()
    finally:
        turn.give_back()


@dataclass(slots=True)
class _Round:
    """One run, with what it has found so far."""

    turn: Turn
    venue: str
    is_live: bool
    found: Counter[str] = field(default_factory=Counter)

    @property
    def account(self) -> Account:
        return Account.objects.get(pk=account_name(self.venue, is_live=self.is_live))

    def run(self, trigger: str) -> ReconciliationRun:
        try:
            return self._compare(trigger)
        except (BrokerUnavailable, VenueError, MarketDataError, Postponed, TurnLost) as error:
            log.warning("the account %s could not be reconciled: %s", self.turn.name, error)
            return judging.keep_failure(self.turn, trigger, str(error), self.found)

    def look_at_open_orders(self) -> tuple[ListedOrder, ...]:
        """List the open orders, and carry out what follows from them."""
        account, asked_at = self.account, timezone.now()
        listed = self._broker().open_orders()
        self.found += orders.carry_out(account, listed, self._broker(), self.turn, asked_at=asked_at, is_open_list=True)
        AccountSync.objects.filter(account=account).update(listed_at=asked_at)
        return listed

    def _compare(self, trigger: str) -> ReconciliationRun:
        account, broker = self.account, self._broker()
        before = facts.read_books(account)
        others_before = set(facts.open_externals(account))
        listed = self.look_at_open_orders()
        answer = self._balances(broker)
        sync = AccountSync.objects.get(account=account)
        if sync.baseline_at is None:
            return self._first_time(account, listed, answer, before, trigger)
        view = judging.view_of(account, figures_of(answer.report), before, self._unsettled(account, listed))
        others_changed = others_before - {one.venue_order_id for one in listed} or self.found["externals"]
        is_wanted = trigger == "command" or view.wants_history or bool(others_changed)
        if sync.reading_since is not None or is_wanted or history.is_due(sync, answer.asked_at):
            try:
                is_read = self._read_history(account, broker, listed, answer.asked_at)
            except (VenueError, MarketDataError, Postponed):
                judging.keep_missing(self.turn, view)
                raise
            if not is_read:
                self._measure(answer)
                return judging.keep_reading(self.turn, view, trigger, self.found)
            unsettled = self._unsettled(account, listed)
            view = judging.view_of(account, figures_of(answer.report), before, unsettled, has_history=True)
        self._measure(answer)
        return judging.keep(self.turn, view, trigger, self.found)

    def _first_time(
        self, account: Account, listed: tuple[ListedOrder, ...], answer: Answer, before: Books, trigger: str
    ) -> ReconciliationRun:
        """Take the baseline, when everything stands still for as long as it takes to read all twice."""
        self._in_time()
        read = history.ask(self._broker(), answer.asked_at - passes.OVERLAP, timezone.now(), lambda: self.turn.has_time)
        if read is None:
            why = "too much happened in the last ten minutes to read it at once while the baseline is taken"
            return judging.keep_waiting(self.turn, trigger, why, self.found)
        self.found += orders.carry_out(account, read.ended, self._broker(), self.turn, asked_at=answer.asked_at)
        sorted_ = history.sort(account, read.fills, answer.asked_at)
        self.found += orders.look_up_all(sorted_.look_up, self._broker(), self.turn)
        again = self._balances(self._broker())
        now_books = facts.read_books(account)
        is_still = figures_of(again.report) == figures_of(answer.report)
        is_still = is_still and not sorted_.look_up and not sorted_.unidentified
        moving = now_books.moved_since(before) | self._unsettled(account, listed)
        self._measure(again)
        if not is_still or moving:
            return judging.keep_waiting(self.turn, trigger, "something moved while the baseline was taken", self.found)
        return judging.keep_baseline(
            self.turn, trigger, figures_of(again.report), now_books, read, sorted_, answer.asked_at
        )

    def _read_history(
        self, account: Account, broker: VenueBroker, listed: tuple[ListedOrder, ...], asked_at: datetime
    ) -> bool:
        """Read on in the account's history, and return whether all of it was read until now."""
        self._in_time()
        reader = Reader(account, broker, self.turn, self.found)
        if not reader.read():
            return False
        orders.note_ended(account, listed, (), asked_at)
        return True

    def _unsettled(self, account: Account, listed: tuple[ListedOrder, ...]) -> frozenset[str]:
        return orders.unsettled_assets(facts.own_orders(account, listed), listed, self.turn.started_at)

    def _measure(self, answer: Answer) -> None:
        try:
            measure_at_venue(self.venue, is_live=self.is_live, answer=answer)
            self.found["measured"] += 1
        except MarketDataError as error:
            # Both sides can be compared without a price; the old figures keep their age.
            log.warning("the account %s could not be valued: %s", self.turn.name, error)

    def _balances(self, broker: VenueBroker) -> Answer:
        self._in_time()
        asked_at = timezone.now()
        return Answer(broker.account(), asked_at)

    def _broker(self) -> VenueBroker:
        return broker_for(self.venue, is_live=self.is_live)

    def _in_time(self) -> None:
        if not self.turn.has_time:
            raise Postponed("the venue answers slowly: the next run goes on")
