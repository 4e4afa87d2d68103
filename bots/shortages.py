"""What a bot can really sell: where its account is known to hold less than the books, an exit offers what is there.

A venue refuses the sale of what is not there whole, and the part that is there would be kept from being sold, too. Only sales get
smaller by this, and only those that a bot, a flatten or *Close* makes: a control never resizes an order, and a person's own
order goes as it was given. What is missing stays in the books until a person settles the shortage (bots/reconciliation).

So it is with shares that a company made fewer: of what is left a book sells its own part, and the owner's is left alone.
"""

from decimal import ROUND_DOWN, Decimal

from bots.accounts import account_name
from bots.models import Bot, Difference, DifferenceKind
from bots.reconciliation import share_changes
from bots.reconciliation.compare import assets_of
from safety.intents import InstrumentRules


def really_there(bot: Bot, quantity: Decimal, rules: InstrumentRules) -> Decimal:
    """Return how much of ``quantity`` its account holds, in whole lots, if a shortage of the asset is open; else ``quantity``.

    Where nothing that could be sold is there, ``quantity`` comes back: the venue's refusal is then the honest answer. Of shares
    that were made fewer, by a reverse split or the like, it is the book's own part, and zero when nothing of that is left.
    """
    if not bot.trades_at_venue:
        return quantity
    name, asset = account_name(bot.venue, is_live=bot.is_live), assets_of(bot.symbol)[0]
    own = share_changes.book_after(bot, name)
    if own is not None and own < quantity:
        return _whole_lots(own, rules)
    rows = Difference.objects.filter(account_id=name, asset=asset, kind=DifferenceKind.SHORTAGE, closed_at__isnull=True)
    there = rows.values_list("venue", flat=True).first()
    if there is None or there >= quantity:
        return quantity
    sellable = _whole_lots(there, rules)
    return sellable if sellable >= rules.quantity_min else quantity


def _whole_lots(quantity: Decimal, rules: InstrumentRules) -> Decimal:
    return (max(quantity, Decimal(0)) / rules.lot_size).to_integral_value(rounding=ROUND_DOWN) * rules.lot_size
