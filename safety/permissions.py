"""Who may do what: the names of the rights, and the one rule that depends on the bot.

Looking is Django's own ``view_*`` right of each model. The groups Viewer, Operator and Risk manager, which hold these
rights, are made by the migration ``0004_people``; docs/people.md has the table.
"""

from typing import Protocol

#: Start, stop, pause and close bots, cancel orders.
OPERATE_BOT = "bots.operate_bot"
#: Set a bot live, start or change a live one, and trade with real money by hand.
TRADE_LIVE = "bots.trade_live"
#: Let entries go on that something holds back. The same right: whoever may set a bot live may let it buy again.
CLEAR_HOLDS = TRADE_LIVE
ENGAGE = "safety.engage_kill_switch"
RELEASE = "safety.release_kill_switch"
CHANGE_LIMITS = "safety.change_risklimits"
CHANGE_NOTIFICATIONS = "safety.change_notificationprefs"
#: Make and revoke the API's scoped tokens.
MANAGE_TOKENS = "safety.manage_api_tokens"
RUN_READINESS = "safety.run_readiness"

VIEWER, OPERATOR, RISK_MANAGER = "Viewer", "Operator", "Risk manager"
GROUPS = (VIEWER, OPERATOR, RISK_MANAGER)


class HasRights(Protocol):
    """Whoever can be asked for a right: a user, signed in or not."""

    def has_perm(self, perm: str, /) -> bool: ...


def may_operate(user: HasRights, *, is_live: bool, raises_risk: bool) -> bool:
    """Return whether ``user`` may do this to a bot or its orders.

    What can only shrink a risk (stop, pause, close, cancel, archive, back to paper) takes OPERATE_BOT. What may raise one
    (start, change the settings, place an order) takes TRADE_LIVE as well when the bot is live.
    """
    if not user.has_perm(OPERATE_BOT):
        return False
    return not (is_live and raises_risk) or user.has_perm(TRADE_LIVE)
