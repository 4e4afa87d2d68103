"""What became of a message on one channel."""

from dataclasses import dataclass
from enum import StrEnum


class DeliveryState(StrEnum):
    """DELIVERED is the channel's own word for it. TRY_AGAIN may work later; REFUSED will not work as things are."""

    DELIVERED = "delivered"
    TRY_AGAIN = "try_again"
    REFUSED = "refused"
    NOT_CONFIGURED = "not_configured"
    SWITCHED_OFF = "switched_off"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message; ``detail`` says it in words, and what to do. It never holds a channel's address.

    ``retry_after_s``: how long the channel wants to be left alone, where it said so. ``is_of_channel``: it was refused
    whatever it says (the webhook is gone, the password is wrong), and so will every other be. ``left`` more may follow
    until the limit begins anew in ``refills_after_s``; None where the channel does not say.
    """

    channel: str
    state: DeliveryState
    detail: str
    retry_after_s: float | None = None
    is_of_channel: bool = False
    left: int | None = None
    refills_after_s: float | None = None

    @property
    def is_delivered(self) -> bool:
        """Return whether the channel said that it has the message."""
        return self.state == DeliveryState.DELIVERED
