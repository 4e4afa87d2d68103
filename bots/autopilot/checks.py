"""What settings of the autopilot make sense, field by field, before they are kept."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.conf import settings

from audit.decimals import decimal_text
from bots.autopilot.choices import capital_usd_min
from bots.autopilot.sectors import ASSET_TYPES
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.models import AutopilotConfig, AutopilotProfile, CloseMode, Venue

SYMBOLS_MAX = 500
SYMBOL_CHARS_MAX = 20
#: Every whole number with its least and its largest value.
BOUNDS = {
    "slots": (1, 100),
    "sector_slots": (1, 100),
    "score_min": (0, 100),
    "score_demote": (0, 100),
    "cooldown_minutes": (0, 100_000),
    "scan_interval_s": (30, 86_400),
}
FLAGS = ("enabled", "is_by_conviction", "auto_start")
PERCENTS = ("daily_loss_pct", "weekly_loss_pct")
CAPITAL_USD_MAX = Decimal(1_000_000_000)

Problems = list[tuple[str, str]]


class AutopilotConfigError(ValueError):
    """Settings that make no sense. ``problems`` are pairs of a field and what is wrong with it."""

    def __init__(self, problems: Problems) -> None:
        super().__init__(" ".join(text for _, text in problems))
        self.problems = tuple(problems)


def check(config: AutopilotConfig) -> None:
    """Return quietly when these settings can be kept. Asks no venue. Raises AutopilotConfigError with all that is wrong."""
    problems = [*_single(config), *_universe(config.universe)]
    # What belongs together is judged only once each field by itself makes sense.
    problems = problems or [*_together(config), *_capital(config)]
    if problems:
        raise AutopilotConfigError(problems)


def check_symbols(universe: object, before: Mapping[str, Any]) -> None:
    """Return quietly when each venue has the symbols that are new. It may go over the network. Raises AutopilotConfigError.

    A venue that can't be asked now can't say; a scan tells then what it found.
    """
    problems: Problems = []
    for venue, symbols in _by_venue(universe).items():
        new = [one for one in symbols if one not in before.get(venue, ())]
        if not new:
            continue
        try:
            known = set(feed_for(venue).symbols())
        except MarketDataError:
            continue
        unknown = [one for one in new if one not in known]
        if unknown:
            named = ", ".join(repr(one) for one in unknown[:10]) + (" and more" if len(unknown) > 10 else "")
            problems.append(("universe", f"{venue} has no symbol {named}."))
    if problems:
        raise AutopilotConfigError(problems)


def _by_venue(universe: object) -> dict[str, list[str]]:
    """Return what of a universe can be read; the rest is told of by ``check``."""
    return {} if _universe(universe) or not isinstance(universe, dict) else universe


def _single(config: AutopilotConfig) -> Problems:
    problems: Problems = []
    for name, (low, high) in BOUNDS.items():
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            problems.append((name, f"{name} has to be a whole number from {low} to {high}."))
    for name in FLAGS:
        if not isinstance(getattr(config, name), bool):
            problems.append((name, f"{name} has to be on or off."))
    for name, highest in (("total_capital_usd", CAPITAL_USD_MAX), *((one, Decimal(100)) for one in PERCENTS)):
        value = getattr(config, name)
        if not isinstance(value, Decimal) or not value.is_finite() or not 0 < value <= highest:
            problems.append((name, f"{name} has to be a figure above zero, at most {decimal_text(highest)}."))
    if config.profile not in AutopilotProfile.values:
        problems.append(("profile", f"profile has to be one of {', '.join(AutopilotProfile.values)}."))
    if config.close_mode not in CloseMode.values:
        problems.append(("close_mode", f"close_mode has to be one of {', '.join(CloseMode.values)}."))
    kinds = config.asset_types
    if not isinstance(kinds, list) or any(one not in ASSET_TYPES for one in kinds) or len(set(kinds)) < len(kinds):
        problems.append(
            ("asset_types", f"asset_types may name {' and '.join(ASSET_TYPES)}, each once; none means both.")
        )
    return problems


def _universe(universe: object) -> Problems:
    if not isinstance(universe, dict):
        return [("universe", "universe has to list symbols by venue.")]
    problems: Problems = []
    for venue, symbols in universe.items():
        if venue not in Venue.values:
            problems.append(("universe", f"There is no venue {venue!r}. Known are: {', '.join(Venue.values)}."))
        elif not isinstance(symbols, list) or not all(_is_symbol(one) for one in symbols):
            text = f"The symbols of {venue} have to be a list of texts, each of 1 to {SYMBOL_CHARS_MAX} characters."
            problems.append(("universe", text))
        elif len(set(symbols)) < len(symbols):
            problems.append(("universe", f"A symbol stands twice in the universe of {venue}."))
    if not problems and sum(map(len, universe.values())) > SYMBOLS_MAX:
        problems.append(("universe", f"The universe may have {SYMBOLS_MAX} symbols at most."))
    return problems


def _is_symbol(one: object) -> bool:
    return isinstance(one, str) and 1 <= len(one.strip()) == len(one) <= SYMBOL_CHARS_MAX


def _together(config: AutopilotConfig) -> Problems:
    problems: Problems = []
    if config.score_demote > config.score_min:
        text = "score_demote must not be above score_min: what may stay would then not be let in."
        problems.append(("score_demote", text))
    if config.daily_loss_pct > config.weekly_loss_pct:
        problems.append(("daily_loss_pct", "daily_loss_pct must not be above weekly_loss_pct."))
    if config.sector_slots > config.slots:
        problems.append(("sector_slots", "sector_slots must not be above slots."))
    if config.enabled and not any(config.universe.values()):
        problems.append(("universe", "Choose at least one symbol in the universe before it is switched on."))
    return problems


def _capital(config: AutopilotConfig) -> Problems:
    """Return that a bot's share of the capital is too little for a venue's smallest order."""
    share = config.total_capital_usd / config.slots
    if config.is_by_conviction:
        # The least that conviction gives: see planning.share_usd.
        share /= 2
    problems: Problems = []
    for venue in sorted(venue for venue, symbols in config.universe.items() if symbols):
        floor_usd = settings.ENVIRONMENT.notional_usd_min[venue]
        least_usd = capital_usd_min(floor_usd)
        if share < least_usd:
            text = (
                f"A bot at {venue} needs {decimal_text(least_usd)} USD of capital for its smallest entry to be worth "
                f"{decimal_text(floor_usd)} USD, and a slot's share comes to {share:.2f} USD: "
                "raise total_capital_usd or use fewer slots."
            )
            problems.append(("total_capital_usd", text))
    return problems
