"""What the balances come to: who agrees, what has to be confirmed, which difference opens or closes; and the run is kept."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation

from django.utils import timezone

from audit.log import unit
from bots.models import Account, AccountSync, Difference, ReconciliationRun, RunState
from bots.reconciliation import differences, facts, history, movements, passes, share_changes
from bots.reconciliation.balances import ZERO, Doubt, Standing, Verdict, confirm, judge, standings, tolerance
from bots.reconciliation.compare import CLOCK_SKEW
from bots.reconciliation.differences import FIGURES, open_ones
from bots.reconciliation.facts import Books
from bots.reconciliation.history import History, Sorted
from bots.reconciliation.turns import Turn

OFF = (Verdict.SHORTAGE, Verdict.SURPLUS, Verdict.FOLLOWS)


@dataclass(frozen=True, slots=True)
class View:
    """Both sides of every asset with this round's verdicts, and the books that they rest on.

    ``tolerated`` is by how much each may be off. ``has_history``: what others did was read and counted before.
    """

    standings: Mapping[str, Standing]
    verdicts: Mapping[str, Verdict]
    books: Books
    known: Mapping[str, Decimal]
    tolerated: Mapping[str, Decimal]
    has_history: bool = False

    @property
    def wants_history(self) -> bool:
        """Return whether something is off that was not so before: a trade or a transfer of somebody may explain it."""
        return any(
            verdict != Verdict.AGREES and self.known.get(asset) != self.standings[asset].delta
            for asset, verdict in self.verdicts.items()
            if verdict != Verdict.MOVES
        )


def view_of(
    account: Account,
    venue: Mapping[str, Decimal],
    before: Books,
    unsettled: Collection[str],
    *,
    has_history: bool = False,
) -> View:
    """Return both sides of every asset. What moved since ``before``, read before the venue was asked, is not judged."""
    books, baselines = facts.read_books(account), facts.baselines_of(account)
    moving = books.moved_since(before) | frozenset(unsettled)
    owned = {name: one.quantity for name, one in baselines.items()}
    both = standings(venue, owned, books.held, books.flows, facts.pending_shares(account))
    verdicts, tolerated = {}, {}
    for asset, one in both.items():
        since = baselines[asset].agreed_at if asset in baselines else None
        trades = facts.trades_since(account, asset, since) if one.delta else 0
        tolerated[asset] = tolerance(account.venue, asset, trades)
        verdicts[asset] = judge(
            one,
            tolerated=tolerated[asset],
            is_moving=asset in moving,
            is_ours=asset in books.ours,
        )
    return View(both, verdicts, books, _known_deltas(account), tolerated, has_history)


def keep(turn: Turn, view: View, trigger: str, found: Counter[str]) -> ReconciliationRun:
    """Write what the round came to, and return the run. Raises TurnLost."""
    now = timezone.now()
    with unit():
        sync = turn.locked_with_account()
        account = sync.account
        # What was booked while the figures were valued and written is judged by the next round.
        moved = facts.read_books(account).moved_since(view.books)
        verdicts = {asset: Verdict.MOVES if asset in moved else one for asset, one in view.verdicts.items()}
        doubted = [view.standings[asset] for asset, one in verdicts.items() if one in OFF]
        doubts, confirmed = confirm(_doubts(sync), doubted, now, view.tolerated)
        for asset in confirmed:
            if verdicts[asset] != Verdict.FOLLOWS:
                differences.keep(account, view.standings[asset], verdicts[asset], now)
        for one in _still_open(account):
            if verdicts.get(one.asset) in (Verdict.SHORTAGE, Verdict.SURPLUS) and one.asset not in confirmed:
                differences.keep(account, view.standings[one.asset], verdicts[one.asset], now)
        agreed = [asset for asset, one in verdicts.items() if one == Verdict.AGREES]
        # Of what neither side has any more, nothing differs.
        gone = [one.asset for one in _still_open(account) if one.asset not in verdicts]
        differences.close_agreed(account, [*agreed, *gone], now)
        for asset, standing in view.standings.items():
            if standing.pending and asset not in moved:
                share_changes.bring_up_to_date(account, asset, standing, now)
        followed = [asset for asset in confirmed if verdicts[asset] == Verdict.FOLLOWS]
        # Before the history was read, a small fee could be taken for rounding here and be counted once more when it is listed.
        _follow(account, view, [*(agreed if view.has_history else ()), *followed], turn.started_at)
        return _keep_run(sync, turn, trigger, found, view, verdicts, doubts, now)


def keep_missing(turn: Turn, view: View) -> None:
    """Name what is missing from our positions, though the history could not be read: nothing in it would explain that.

    The run fails all the same, and nothing else is judged. Raises TurnLost.
    """
    with unit():
        sync = turn.locked_with_account()
        sync.doubts = _plain(_name_missing(sync, view, timezone.now()))
        sync.save(update_fields=["doubts"])


def keep_reading(turn: Turn, view: View, trigger: str, found: Counter[str]) -> ReconciliationRun:
    """Keep a run that read a part of a long history, and return it: no figure is judged on a part. Raises TurnLost.

    Only what is missing from our positions is named, as in ``keep_missing``. The account does not count as compared meanwhile.
    """
    now = timezone.now()
    with unit():
        sync = turn.locked_with_account()
        sync.reading_since = sync.reading_since or now
        doubts, why = _name_missing(sync, view, now), passes.told(sync)
        return _keep_run(sync, turn, trigger, found, None, {}, doubts, now, why, is_compared=False)


def _name_missing(sync: AccountSync, view: View, now: datetime) -> dict[str, Doubt]:
    moved = facts.read_books(sync.account).moved_since(view.books)
    short = [one for asset, one in view.standings.items() if one.missing and asset not in moved]
    short = [one for one in short if view.verdicts[one.asset] == Verdict.SHORTAGE]
    # By what the venue has and our positions say: the owner's part moves while a history is read.
    plain = [Standing(one.asset, one.venue, held=one.held) for one in short]
    doubts, confirmed = confirm(_doubts(sync), plain, now, view.tolerated)
    for asset in confirmed:
        differences.keep(sync.account, view.standings[asset], Verdict.SHORTAGE, now)
    return doubts


def keep_baseline(
    turn: Turn, trigger: str, venue: Mapping[str, Decimal], books: Books, read: History, sorted_: Sorted, at: datetime
) -> ReconciliationRun:
    """Take the baseline from what the account holds and the books account for, and return the run. Raises TurnLost."""
    both = standings(venue, {}, books.held, books.flows)
    figures = {asset: one.delta for asset, one in both.items()}
    with unit():
        sync = turn.locked_with_account()
        if facts.read_books(sync.account).moved_since(books):
            # What was booked since the books were read would be taken for the owner's, or be missing from it.
            why = "something was booked while the baseline was taken"
            return _keep_run(sync, turn, trigger, found=Counter(), view=None, verdicts={}, doubts={}, reason=why)
        movements.note_before(sync.account, history.all_movements(sorted_.external, read.transfers))
        movements.set_baselines(sync.account, figures, at=at)
        share_changes.end_all(sync.account, timezone.now())
        sync.baseline_at = sync.history_at = at
        sync.history_since, sync.reading = at - passes.OVERLAP, {}
        view = View(
            {asset: Standing(asset, one.venue, figures[asset], one.held, one.flows) for asset, one in both.items()},
            dict.fromkeys(both, Verdict.AGREES),
            books,
            {},
            {},
        )
        return _keep_run(sync, turn, trigger, found=Counter(baseline=1), view=view, verdicts=view.verdicts, doubts={})


def keep_waiting(turn: Turn, trigger: str, why: str, found: Counter[str]) -> ReconciliationRun:
    """Keep a run that judged nothing, since something moved meanwhile. Raises TurnLost."""
    with unit():
        sync = turn.locked_with_account()
        return _keep_run(sync, turn, trigger, found=found, view=None, verdicts={}, doubts={}, reason=why)


def keep_failure(turn: Turn, trigger: str, why: str, found: Counter[str]) -> ReconciliationRun:
    """Keep a run that failed. It changed no figure, and what the last sound one found goes on."""
    now = timezone.now()
    with unit():
        Account.objects.select_for_update(no_key=True).get(pk=turn.name)
        sync = AccountSync.objects.select_for_update(no_key=True, of=("self",)).get(pk=turn.name)
        sync.failing_since, sync.failure = sync.failing_since or now, why[:500]
        sync.wanted_at, sync.wanted_by = None, ""
        sync.save(update_fields=["failing_since", "failure", "wanted_at", "wanted_by"])
        return ReconciliationRun.objects.create(
            account_id=turn.name,
            trigger=trigger[:20],
            state=RunState.FAILED,
            started_at=turn.started_at,
            finished_at=now,
            reason=why[:500],
            found=_counted(found),
        )


def _keep_run(
    sync: AccountSync,
    turn: Turn,
    trigger: str,
    found: Counter[str],
    view: View | None,
    verdicts: Mapping[str, Verdict],
    doubts: Mapping[str, Doubt],
    now: datetime | None = None,
    reason: str = "",
    *,
    is_compared: bool = True,
) -> ReconciliationRun:
    now = now or timezone.now()
    sync.failing_since, sync.failure = None, ""
    if is_compared:
        sync.sound_at, sync.reading_since = now, None
    if sync.wanted_at is not None and sync.wanted_at <= turn.started_at:
        sync.wanted_at, sync.wanted_by = None, ""
    sync.doubts = _plain(doubts)
    sync.save()
    return ReconciliationRun.objects.create(
        account=sync.account,
        trigger=trigger[:20],
        state=_state(sync.account, verdicts, reason),
        started_at=turn.started_at,
        finished_at=now,
        reason=reason,
        figures={} if view is None else _figures(view, verdicts),
        found=_counted(found),
    )


def _state(account: Account, verdicts: Mapping[str, Verdict], reason: str) -> RunState:
    if open_ones(account).exists():
        return RunState.DIFFERS
    waits = reason or any(one in (Verdict.SHORTAGE, Verdict.SURPLUS, Verdict.MOVES) for one in verdicts.values())
    return RunState.WAITS if waits else RunState.AGREES


def _follow(account: Account, view: View, assets: Collection[str], asked_at: datetime) -> None:
    """Let baselines take on a venue's rounding, and assets that no bot trades; note now and then that both sides agree.

    They agreed when the venue was asked, by its clock: a trade that came after the answer is rounded in the next one.
    """
    known, at = facts.baselines_of(account), asked_at - CLOCK_SKEW
    deltas = {}
    for asset in assets:
        one, row = view.standings[asset], known.get(asset)
        is_old = row is not None and (row.agreed_at is None or at - row.agreed_at > history.EVERY)
        if one.delta or is_old:
            deltas[asset] = one.delta
    movements.follow(account, deltas, at)


def _still_open(account: Account) -> list[Difference]:
    return list(open_ones(account).filter(kind__in=FIGURES))


def _known_deltas(account: Account) -> dict[str, Decimal]:
    return {
        one.asset: (one.venue or ZERO) - (one.expected or ZERO) for one in open_ones(account).filter(kind__in=FIGURES)
    }


def _doubts(sync: AccountSync) -> dict[str, Doubt]:
    try:
        return {
            asset: Doubt(Decimal(one["delta"]), Decimal(one["missing"]), datetime.fromisoformat(one["since"]))
            for asset, one in sync.doubts.items()
        }
    except (KeyError, TypeError, ValueError, InvalidOperation):
        # What can't be read is found anew, and confirmed a round later.
        return {}


def _plain(doubts: Mapping[str, Doubt]) -> dict[str, dict[str, object]]:
    return {
        asset: {"delta": one.delta, "missing": one.missing, "since": one.since.isoformat()}
        for asset, one in doubts.items()
    }


def _figures(view: View, verdicts: Mapping[str, Verdict]) -> dict[str, dict[str, object]]:
    return {
        asset: {
            "venue": one.venue,
            "baseline": one.baseline,
            "held": one.held,
            "flows": one.flows,
            "expected": one.expected,
            "delta": one.delta,
            "pending": one.pending,
            "verdict": str(verdicts[asset]),
            "ours": asset in view.books.ours,
        }
        for asset, one in view.standings.items()
    }


def _counted(found: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in sorted(found.items()) if count}
