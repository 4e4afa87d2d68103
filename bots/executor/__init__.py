"""The executor: the one place that sends orders and cancels. DESIGN: how an order travels.

``paper`` fills orders in the built-in paper broker, within the caller's transaction; ``venue`` sends them over a network, with
transactions of its own around each step; ``steps`` is what both share.
"""

from bots.executor.paper import cancel, expire, is_over, is_stranded, match, may_match, paper_broker, pass_by, submit
from bots.executor.steps import Desk, ExecutorError, Submission, denials_of
from bots.executor.venue import OpenTransactionError, ask_to_cancel, cancel_at_venue, submit_to_venue

__all__ = [
    "Desk",
    "ExecutorError",
    "OpenTransactionError",
    "Submission",
    "ask_to_cancel",
    "cancel",
    "cancel_at_venue",
    "denials_of",
    "expire",
    "is_over",
    "is_stranded",
    "match",
    "may_match",
    "paper_broker",
    "pass_by",
    "submit",
    "submit_to_venue",
]
