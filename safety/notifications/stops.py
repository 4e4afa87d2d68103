"""What is told when the kill switch is engaged or released. Neither waits for it or fails by it."""

from safety.intents import Level
from safety.notifications.beside import tell_beside
from safety.scopes import GLOBAL

ENGAGED, RELEASED = "kill_switch_engaged", "kill_switch_released"
#: What a level means and what to do, for somebody who was just woken up.
_MEANS = {
    Level.HALTED: (
        "No new order leaves. Resting orders are being cancelled; positions stay as they are, and nobody sells them. Look at the"
        " Safety page for what is still in flight, and find out why before you release. Only a person can release."
    ),
    Level.REDUCING: (
        "Bots may sell what they hold and buy nothing. Look at the positions and at the market. Release on the Safety page when"
        " you know why; only a person can."
    ),
}
_FLATTEN = (
    "Everything that is held there is being sold in capped orders. It ends halted, when nothing is left or after two minutes:"
    " look at the Safety page then for what could not be sold."
)


def where(scope: str) -> str:
    """Return a scope in words: ``everything``, ``Kraken``, ``bot 12``."""
    kind, _, name = scope.partition(":")
    if scope == GLOBAL:
        return "everything"
    return name.capitalize() if kind == "venue" else f"bot {name}"


def tell_of_stop(level: Level, scope: str, reason: str, actor: str, *, is_flatten: bool = False) -> None:
    """Tell of an engagement in the unit that commits it."""
    concerned = where(scope)
    if is_flatten:
        title = f"A flatten of {concerned} has begun"
    elif level == Level.HALTED:
        title = "All trading is HALTED" if scope == GLOBAL else f"Trading of {concerned} is HALTED"
    else:
        title = f"Reduce-only: {concerned} only sells"
    facts = (("State", level.value.upper()), ("Where", concerned), ("By", actor), ("Why", reason or "no reason given"))
    text = f"{reason}\n{_FLATTEN if is_flatten else _MEANS[level]}".strip()
    tell_beside(ENGAGED, f"trading:{scope}", title, text, facts=facts)


def tell_of_flatten_end(scope: str, why: str, actor: str) -> None:
    """Tell that a flatten is over and trading halted, in the unit that commits it."""
    concerned = where(scope)
    facts = (("State", Level.HALTED.value.upper()), ("Where", concerned), ("Asked for by", actor), ("Why", why))
    text = (
        f"{why}\nTrading of {concerned} is halted now. What is still held is on the Safety page: sell it at the venue if it must"
        " go."
    )
    tell_beside(ENGAGED, f"trading:{scope}", f"The flatten of {concerned} is over: HALTED", text, facts=facts)


def tell_of_release(scope: str, reason: str, actor: str) -> None:
    """Tell of a release, in its unit, which holds the row that a halt needs."""
    concerned = where(scope)
    text = (
        f"{reason}\nEntries of live bots there stay held until a person lets them go on. If you did not expect this, press HALT"
        " and look at who did it in the operator events."
    )
    facts = (("Where", concerned), ("By", actor), ("Why", reason))
    tell_beside(RELEASED, f"trading:{scope}", f"Trading of {concerned} was released", text, facts=facts)
