"""What it costs to buy and to sell again."""

from decimal import ROUND_UP, Decimal

from safety.intents import Quote

BPS = Decimal(10_000)
#: Of a bar's volatility this share is lost, each way, between the decision and the fill.
SLIPPAGE_SHARE = Decimal("0.1")
_STEP = Decimal("0.01")


def round_trip_bps(quote: Quote, fee_rate: Decimal, volatility: Decimal) -> Decimal:
    """Return what a round trip as a taker is expected to cost, in basis points of the value, rounded up to 0.01.

    The whole spread (half of it each way), the taker's fee twice, and twice a tenth of a bar's volatility (a fraction of the
    price) for what the price moves until the fill. The quote has to be a sound one.
    """
    spread = (quote.ask - quote.bid) / quote.mid
    return ((spread + 2 * fee_rate + 2 * SLIPPAGE_SHARE * volatility) * BPS).quantize(_STEP, ROUND_UP)
