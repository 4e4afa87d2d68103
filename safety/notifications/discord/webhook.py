"""The webhook itself. Its URL is a secret: it is read from the environment at each send, and stands in no text."""

import math
from http import HTTPStatus

import requests
from django.conf import settings

from safety.notifications.discord.embeds import payload
from safety.notifications.messages import Message
from safety.notifications.outcomes import DeliveryState, Outcome

NAME = "discord"
CONNECT_S, ANSWER_S = 3.0, 8.0
#: A wait that Discord asks for is never taken for longer than this, whatever its answer says.
WAIT_S_MAX = 3_600.0
LEFT_MAX = 1_000_000
#: The webhook was deleted, or its URL was mistyped: only a person can mend that.
_GONE = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
_ABOUT_THE_MESSAGE = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


class DiscordChannel:
    """Sends to the webhook of DISCORD_WEBHOOK_URL."""

    name = NAME

    def is_configured(self) -> bool:
        """Return whether DISCORD_WEBHOOK_URL is set."""
        return bool(settings.ENVIRONMENT.discord_webhook_url)

    def deliver(self, message: Message) -> Outcome:
        """Send one message once, and wait for Discord's word that it keeps it. At most some 11 s."""
        url = settings.ENVIRONMENT.discord_webhook_url
        if not url:
            return Outcome(NAME, DeliveryState.NOT_CONFIGURED, "DISCORD_WEBHOOK_URL is not set.")
        try:
            with requests.Session() as session:
                # No proxy and no password file of this machine may see the webhook's address.
                session.trust_env = False
                answer = session.post(
                    url,
                    json=payload(message),
                    # Without it Discord says yes to what it then does not keep.
                    params={"wait": "true"},
                    timeout=(CONNECT_S, ANSWER_S),
                    allow_redirects=False,
                )
        except requests.RequestException as error:
            # The class only: the message of an error quotes the address.
            detail = f"Discord could not be reached ({type(error).__name__}). Look at this host's network."
            return Outcome(NAME, DeliveryState.TRY_AGAIN, detail)
        return _judged(answer)


def _judged(answer: requests.Response) -> Outcome:
    status = answer.status_code
    if status == HTTPStatus.OK:
        left, refills_after_s = _limit(answer)
        detail = "Discord has the message."
        return Outcome(NAME, DeliveryState.DELIVERED, detail, left=left, refills_after_s=refills_after_s)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait_s = _wait_s(answer)
        return Outcome(NAME, DeliveryState.TRY_AGAIN, f"Discord wants no message for {wait_s:.1f} s.", wait_s)
    if status in _GONE:
        detail = f"Discord does not know this webhook (status {status}). Make a new one and set DISCORD_WEBHOOK_URL."
        return Outcome(NAME, DeliveryState.REFUSED, detail, is_of_channel=True)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Outcome(
            NAME, DeliveryState.TRY_AGAIN, f"Discord has a fault of its own (status {status}). Try again later."
        )
    # Anything else that is no answer to this one message would be the answer to every other too.
    is_of_channel = status not in _ABOUT_THE_MESSAGE
    detail = f"Discord refused the message (status {status})."
    return Outcome(NAME, DeliveryState.REFUSED, detail, is_of_channel=is_of_channel)


def _wait_s(answer: requests.Response) -> float:
    """Return how long Discord wants to be left alone: the longer of its header and its body, which may be missing or odd."""
    given = [answer.headers.get("Retry-After"), answer.headers.get("X-RateLimit-Reset-After")]
    try:
        body = answer.json()
    except requests.JSONDecodeError:
        body = None
    if isinstance(body, dict):
        given.append(body.get("retry_after"))
    return min(max([1.0, *(_seconds(one) for one in given)]), WAIT_S_MAX)


def _limit(answer: requests.Response) -> tuple[int | None, float | None]:
    """Return how many more messages Discord takes until its limit begins anew, and in how many seconds; None if it is silent."""
    left, after = answer.headers.get("X-RateLimit-Remaining"), answer.headers.get("X-RateLimit-Reset-After")
    if left is None or after is None:
        return None, None
    return int(min(max(_seconds(left), 0.0), LEFT_MAX)), min(max(_seconds(after), 0.0), WAIT_S_MAX)


def _seconds(given: object) -> float:
    try:
        found = float(str(given))
    except ValueError:
        return 0.0
    return found if math.isfinite(found) else WAIT_S_MAX
