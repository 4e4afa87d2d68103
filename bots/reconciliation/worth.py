"""How much of what an account holds counts when its worth is measured."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal, localcontext

from django.utils import timezone

from bots.books import EXACT
from bots.models import Account, AccountMovement, AccountSync, DifferenceKind, MovementKind
from bots.reconciliation.balances import MONEY, counted_for_equity, standings, tolerance
from bots.reconciliation.differences import open_ones
from bots.reconciliation.facts import baselines_of, read_books, trades_since

#: A venue may list a change of shares before its positions show it, by so much at most.
LISTED_AHEAD = timedelta(days=1)


def counted(account: Account, figures: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return what counts of the venue's figures: see ``balances.counted_for_equity``. All, before a baseline was taken."""
    if not AccountSync.objects.filter(account=account, baseline_at__isnull=False).exists():
        return dict(figures)
    baselines, books = baselines_of(account), read_books(account)
    short = set(open_ones(account).filter(kind=DifferenceKind.SHORTAGE).values_list("asset", flat=True))
    found = {}
    for asset, one in standings(
        figures, {name: row.quantity for name, row in baselines.items()}, books.held, books.flows
    ).items():
        since = baselines[asset].agreed_at if asset in baselines else None
        tolerated = tolerance(account.venue, asset, trades_since(account, asset, since)) if one.delta else Decimal(0)
        # A change of shares that is listed and not carried out yet: the price is from before it, too.
        is_due = bool(one.delta) and asset not in MONEY and _changed(account, asset) == -one.delta
        found[asset] = one.venue if is_due else counted_for_equity(one, tolerated, is_known_short=asset in short)
    return found


def _changed(account: Account, asset: str) -> Decimal:
    """Return by how much shares changed that were listed lately."""
    rows = AccountMovement.objects.filter(account=account, asset=asset, kind=MovementKind.SHARE_CHANGE, counts=True)
    rows = rows.filter(undone_at__isnull=True, noted_at__gte=timezone.now() - LISTED_AHEAD)
    with localcontext(EXACT):
        return sum(rows.values_list("quantity", flat=True), Decimal(0))


def is_armed_anew(account: Account) -> bool:
    """Return whether an account that was out of use is in use again, with its holdings not counted since: see ``arm``."""
    again = AccountSync.objects.filter(account=account, baseline_at__isnull=True, history_at__isnull=False)
    return again.exists()
