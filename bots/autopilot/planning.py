"""What the autopilot would do: from what is known at one moment to one decision for each symbol. Pure: no clock, no database."""

from collections.abc import Collection
from decimal import ROUND_DOWN, Decimal

from bots.autopilot.values import Candidate, Decision, Kind, OwnBot, Rules, Situation, Stand
from bots.intelligence.values import Action

CENT = Decimal("0.01")


def plan(given: Situation) -> tuple[Decision, ...]:
    """Return what to do now: first about the bots that there are, then about every other symbol, the best score first."""
    known = {one.key: one for one in given.candidates}
    own = tuple(_about_own(bot, known.get(bot.key), given) for bot in given.own)
    closed = {one.bot_id for one in own if one.kind == Kind.CLOSED}
    room = _Room(given, [bot for bot in given.own if bot.bot_id not in closed])
    have = {bot.key for bot in given.own}
    others = (one for one in given.candidates if one.key not in have)
    # Those of which nothing is known come last.
    ranked = sorted(others, key=lambda one: (one.score is None, -(one.score or 0), one.venue, one.symbol))
    return (*own, *(_about_candidate(one, given, room) for one in ranked))


def _about_own(bot: OwnBot, found: Candidate | None, given: Situation) -> Decision:
    """Return what becomes of a bot of its own."""
    if bot.stand == Stand.HANDS_OFF:
        return _of(bot, found, Kind.KEPT, "by_hand", f"{bot.said}. It is left as it is until a person starts it again.")
    if bot.stand == Stand.STARTING:
        return _finish(bot, found, given)
    if found is not None and found.score is None and not (bot.stand == Stand.LEAVING and bot.is_flat):
        return _of(
            bot, found, Kind.KEPT, found.problem_code, f"Nothing is known of its market, so it stays: {found.problem}"
        )
    if bot.stand == Stand.LEAVING:
        return _about_leaving(bot, found, given)
    is_low = found is None or (found.score or 0) < given.rules.score_demote
    is_kept = bot.is_kept or bot.stand == Stand.KEPT
    if is_low and not is_kept:
        return _demotion(bot, found, given)
    if bot.stand == Stand.LOSS_HOLD:
        if bot.held:
            return _of(bot, found, Kind.KEPT, bot.held_code, f"Its entries wait: {bot.held}")
        return _of(bot, found, Kind.STARTED, "loss_over", "The time of the loss limit is over, so it may buy again.")
    if bot.stand == Stand.PAUSED:
        return _of(bot, found, Kind.KEPT, "paused", f"{bot.said}. A person has to look at it and start it.")
    if bot.stand == Stand.WAITING:
        return _of(bot, found, Kind.KEPT, "waits_for_start", "It waits for a person to start it: auto-start is off.")
    if found is None or is_low:
        _, why = _fall(found, given.rules)
        text = f"{why}, but a person let it go on: it is closed only once its score had recovered and falls again."
        return _of(bot, found, Kind.KEPT, "started_by_hand", text)
    return _good_enough(bot, found, given.rules)


def _good_enough(bot: OwnBot, found: Candidate, rules: Rules) -> Decision:
    score = found.score or 0
    if score < rules.score_min:
        why = f"Its score of {score} is below {rules.score_min} but not below {rules.score_demote}: it stays, and is watched."
        return _of(bot, found, Kind.KEPT, "watch", why)
    return _of(bot, found, Kind.KEPT, "score", f"Its score of {score} is at least {rules.score_min}.")


def _about_leaving(bot: OwnBot, found: Candidate | None, given: Situation) -> Decision:
    """Return what becomes of a bot that makes no more entries: it may come back, or goes when it holds nothing."""
    rules = given.rules
    is_back = found is not None and (found.score or 0) >= rules.score_min and found.action == Action.TRADE_ALLOWED
    blocked = bot.held or given.halted.get(bot.venue, "") or bot.said
    if found is not None and is_back and not rules.is_flatten and not blocked:
        why = f"Its score is back at {found.score}, which is at least {rules.score_min}: it may buy again."
        return _of(bot, found, Kind.PROMOTED, "score_back", why)
    if bot.is_flat:
        return _of(bot, found, Kind.CLOSED, "flat", "It was on its way out and holds nothing any more: it is archived.")
    if rules.is_flatten:
        return _of(
            bot, found, Kind.DEMOTED, "still_held", "It is on its way out and still holds something: it is sold."
        )
    return _of(
        bot, found, Kind.KEPT, "leaving", "It is on its way out: no entries, and its exits go on until all is sold."
    )


def _demotion(bot: OwnBot, found: Candidate | None, given: Situation) -> Decision:
    """Return what becomes of a bot whose symbol is no longer good enough."""
    code, why = _fall(found, given.rules)
    if found is not None and found.barred_code == "market_closed" and found.barred:
        return _of(
            bot, found, Kind.KEPT, "market_closed", f"{why}, but its market is closed: that is judged when it is open."
        )
    if bot.is_flat:
        return _of(bot, found, Kind.CLOSED, code, f"{why}. It holds nothing, so it is archived.")
    how = "all it holds is sold" if given.rules.is_flatten else "it makes no more entries, and its exits go on"
    return _of(bot, found, Kind.DEMOTED, code, f"{why}: {how}.")


def _fall(found: Candidate | None, rules: Rules) -> tuple[str, str]:
    """Return why a bot's symbol is not good enough any more, after its code."""
    if found is None:
        return "not_in_universe", "Its symbol is no longer in the universe"
    return "score", f"Its score fell to {found.score}, below {rules.score_demote}"


def _finish(bot: OwnBot, found: Candidate | None, given: Situation) -> Decision:
    """Return what becomes of a bot that a cycle made and was cut off before it could set it live and start it."""
    locked = bot.said or given.locked.get(bot.venue, "")
    if locked:
        return _of(bot, found, Kind.CLOSED, "locks", f"It was made to trade live, and that is shut now: {locked}")
    if given.stopped:
        return _of(bot, found, Kind.CLOSED, "loss_limit", f"It was made and never started: {given.stopped}")
    if found is None or found.score is None or found.score < given.rules.score_demote:
        return _of(
            bot, found, Kind.CLOSED, "score", "It was made and never started, and its symbol is not good enough now."
        )
    return _of(
        bot, found, Kind.STARTED, "made_before", "A cycle that was cut off made it: it is set live and started now."
    )


class _Room:
    """What is left while bots are being planned: slots, places of each sector, capital."""

    def __init__(self, given: Situation, staying: Collection[OwnBot]) -> None:
        self._rules = given.rules
        self.slots_left = given.rules.slots - len(staying)
        self._by_sector: dict[str, int] = {}
        for bot in staying:
            self._by_sector[bot.sector] = self._by_sector.get(bot.sector, 0) + 1
        self.capital_left_usd = given.rules.total_capital_usd - sum((bot.capital_usd for bot in staying), Decimal(0))

    def in_sector(self, sector: str) -> int:
        """Return how many bots there are in a sector."""
        return self._by_sector.get(sector, 0)

    def share_usd(self, score: int) -> Decimal:
        """Return what a bot with this score gets: see ``share_usd``."""
        return min(share_usd(self._rules, score), max(self.capital_left_usd, Decimal(0)))

    def take(self, sector: str, capital_usd: Decimal) -> None:
        """Let a bot have a slot, a place of its sector and its capital."""
        self.slots_left -= 1
        self._by_sector[sector] = self.in_sector(sector) + 1
        self.capital_left_usd -= capital_usd


def share_usd(rules: Rules, score: int) -> Decimal:
    """Return what a bot gets of the capital, in whole cents: the equal share of a slot.

    By conviction it is between half of that at ``score_min`` and one and a half times that at a score of 100.
    """
    share = rules.total_capital_usd / rules.slots
    if rules.is_by_conviction and rules.score_min < 100:
        above = Decimal(score - rules.score_min) / Decimal(100 - rules.score_min)
        share *= Decimal("0.5") + above
    return share.quantize(CENT, ROUND_DOWN)


def _about_candidate(found: Candidate, given: Situation, room: _Room) -> Decision:
    """Return whether a symbol gets a bot, and why not."""
    refused = _refused_for_itself(found, given) or _refused_now(found, given) or _refused_for_room(found, given, room)
    if refused is not None:
        kind, code, reason = refused
        return _about(found, kind, code, reason)
    capital_usd = room.share_usd(found.score or 0)
    objection = given.objection(found, capital_usd)
    if objection:
        why = f"With {capital_usd} USD its orders would be denied: {objection}"
        return _about(found, Kind.SKIPPED, "limits", why)
    room.take(found.sector, capital_usd)
    why = f"Its score of {found.score} is at least {given.rules.score_min}, and a slot is free."
    return Decision(
        Kind.CREATED,
        "score",
        why,
        found.venue,
        found.symbol,
        None,
        found.score,
        capital_usd,
        found.strategy,
        found.regime,
    )


Refusal = tuple[Kind, str, str] | None


def _refused_for_itself(found: Candidate, given: Situation) -> Refusal:
    """Return why a symbol is not looked at, or not good enough."""
    rules = given.rules
    if rules.asset_types and found.asset_type not in rules.asset_types:
        return Kind.SKIPPED, "asset_type", f"It is {found.asset_type}, which the settings leave out."
    if found.key in given.taken:
        return Kind.SKIPPED, "has_bot", f"The bot {given.taken[found.key]} trades it already: one bot for a symbol."
    if found.score is None:
        return Kind.SKIPPED, found.problem_code, found.problem
    if found.score < rules.score_demote:
        return Kind.SKIPPED, "score", f"Its score of {found.score} is below {rules.score_demote}."
    if found.score < rules.score_min:
        why = f"Its score of {found.score} is at least {rules.score_demote}, and a bot needs {rules.score_min}."
        return Kind.WATCHED, "watch", why
    return None


def _refused_now(found: Candidate, given: Situation) -> Refusal:
    """Return why a good symbol gets no bot at this moment."""
    since = given.closed_at.get(found.key)
    if since is not None and since <= given.now < since + given.rules.cooldown:
        until = since + given.rules.cooldown
        return (
            Kind.SKIPPED,
            "cooldown",
            f"Its last bot was closed a while ago: it is left alone until {until:%Y-%m-%d %H:%M} UTC.",
        )
    if given.halted.get(found.venue):
        return Kind.SKIPPED, "halted", given.halted[found.venue]
    if found.barred:
        return Kind.SKIPPED, found.barred_code, found.barred
    if found.strategy is None:
        return (
            Kind.SKIPPED,
            "regime",
            f"No strategy here begins in a market like this ({found.regime.replace('_', ' ')}).",
        )
    if found.action != Action.TRADE_ALLOWED:
        return Kind.SKIPPED, "not_allowed", f"New entries are not allowed there now: {found.why_not}"
    if given.stopped:
        return Kind.SKIPPED, "loss_limit", given.stopped
    if given.unknown_losses:
        return Kind.SKIPPED, "losses_unknown", given.unknown_losses
    if given.locked.get(found.venue):
        return Kind.SKIPPED, "locks", f"A live bot may not be made there now: {given.locked[found.venue]}"
    return None


def _refused_for_room(found: Candidate, given: Situation, room: _Room) -> Refusal:
    """Return why there is no room for one more bot of this kind."""
    rules = given.rules
    if room.slots_left <= 0:
        return Kind.SKIPPED, "slots_full", f"All {rules.slots} slots are in use."
    if room.in_sector(found.sector) >= rules.sector_slots:
        why = f"There are {room.in_sector(found.sector)} bots in the sector {found.sector}; the cap is {rules.sector_slots}."
        return Kind.SKIPPED, "sector_cap", why
    wanted = share_usd(rules, found.score or 0)
    if room.share_usd(found.score or 0) * 2 < wanted or wanted <= 0:
        left = max(room.capital_left_usd, Decimal(0)).quantize(CENT, ROUND_DOWN)
        return Kind.SKIPPED, "capital", f"Only {left} USD of its capital are left, and it would get {wanted} USD."
    return None


def _of(bot: OwnBot, found: Candidate | None, kind: Kind, code: str, reason: str) -> Decision:
    score = None if found is None else found.score
    return Decision(kind, code, reason, bot.venue, bot.symbol, bot.bot_id, score, stand=bot.stand)


def _about(found: Candidate, kind: Kind, code: str, reason: str) -> Decision:
    return Decision(kind, code, reason, found.venue, found.symbol, None, found.score)
