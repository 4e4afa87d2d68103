"""How much of what an account holds counts when its worth is measured."""

from collections.abc import Mapping
from decimal import Decimal

from bots.models import Account, AccountSync, DifferenceKind
from bots.reconciliation.balances import counted_for_equity, standings, tolerance
from bots.reconciliation.differences import open_ones
from bots.reconciliation.facts import baselines_of, read_books, trades_since


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
        found[asset] = counted_for_equity(one, tolerated, is_known_short=asset in short)
    return found


def is_armed_anew(account: Account) -> bool:
    """Return whether an account that was out of use is in use again, with its holdings not counted since: see ``arm``."""
    again = AccountSync.objects.filter(account=account, baseline_at__isnull=True, history_at__isnull=False)
    return again.exists()
