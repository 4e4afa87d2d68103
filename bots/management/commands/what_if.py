"""`what_if`: each control's verdict on an order that nobody sends."""

import json
from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.decimals import decimal_text
from bots.market_data.base import MarketDataError
from bots.models import Bot
from bots.what_if import WhatIf, judge
from safety.intents import OrderType, Side


class Command(BaseCommand):
    """Exit codes: 0 answered, whatever the answer; 1 it cannot be asked (unknown bot, bad figure, no market)."""

    help = "Show what every control says of an order of this bot now. Nothing is placed and nothing is changed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--bot", required=True, help="the bot's name")
        parser.add_argument("--side", required=True, choices=Side.values)
        parser.add_argument("--quantity", required=True, help="in units of the base asset, such as 0.1")
        parser.add_argument("--price", default=None, help="the limit price; without it, it is a market order")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask the controls and print what they say."""
        quantity = _figure("--quantity", options["quantity"])
        price = None if options["price"] is None else _figure("--price", options["price"])
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        try:
            bot = Bot.objects.get(name=options["bot"])
            answer = judge(bot, Side(options["side"]), kind, quantity, price)
        except Bot.DoesNotExist as error:
            raise CommandError(f"There is no bot called {options['bot']!r}.") from error
        except MarketDataError as error:
            raise CommandError(f"There is no market to judge by: {error}") from error
        self.stdout.write(json.dumps(_plain(bot, answer), indent=2) if options["json"] else _text(bot, answer))


def _figure(name: str, text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise CommandError(f"{name} has to be a figure, not {text!r}.") from error
    if not value.is_finite() or value <= 0:
        raise CommandError(f"{name} has to be above zero.")
    return value


def _plain(bot: Bot, answer: WhatIf) -> dict[str, Any]:
    intent, quote = answer.intent, answer.quote
    return {
        "bot": bot.name,
        "venue": intent.venue,
        "symbol": intent.symbol,
        "is_live": intent.is_live,
        "side": intent.side.value,
        "type": intent.type.value,
        "quantity": decimal_text(intent.quantity),
        "limit_price": None if intent.limit_price is None else decimal_text(intent.limit_price),
        "bid": str(quote.bid),
        "ask": str(quote.ask),
        "quote_seen_at": quote.seen_at.isoformat(),
        "notional_usd": str(answer.notional_usd),
        "would_pass": not answer.denied,
        "verdicts": [
            {"code": one.code, "passes": one.denial is None, **({} if one.denial is None else one.denial.as_dict())}
            for one in answer
        ],
    }


def _text(bot: Bot, answer: WhatIf) -> str:
    intent, quote = answer.intent, answer.quote
    book = "live" if intent.is_live else "paper"
    what = "at the market" if intent.limit_price is None else f"at {decimal_text(intent.limit_price)}"
    lines = [
        f"{bot.name} ({book}): {intent.side.value} {decimal_text(intent.quantity)} {intent.symbol} {what}",
        f"bid {quote.bid}, ask {quote.ask}; the order is worth {answer.notional_usd:.2f} USD",
    ]
    width = max(len(one.code) for one in answer)
    for one in answer:
        if one.denial is None:
            lines.append(f"  {one.code:{width}}  passes")
            continue
        figures = f" (limit {one.denial.limit}, actual {one.denial.actual})" if one.denial.limit else ""
        lines.append(f"  {one.code:{width}}  DENIES: {one.denial.message}{figures}")
    verdict = f"{len(answer.denied)} of {len(answer.verdicts)} controls deny it" if answer.denied else "It would pass"
    return "\n".join([*lines, f"{verdict}. Nothing was placed."])
