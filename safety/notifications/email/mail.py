"""The mail server. Its URL holds a password: it is read from the environment at each send, and stands in no text."""

import smtplib
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import environ
from django.conf import settings
from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend

from safety.notifications.email.letters import letter
from safety.notifications.messages import Message
from safety.notifications.outcomes import DeliveryState, Outcome

NAME = "email"
#: For each step of the conversation, and for all of it together.
STEP_S, LETTERS_S = 5.0, 12.0
#: From here on a mail server means "no", below it "not now".
_NO = 500
#: "Not now", and the connection is gone.
_HUNG_UP = 421
_UNREACHABLE = "The mail server could not be used ({}). Look at this host's network and at EMAIL_URL."
_MISTAKEN = "EMAIL_URL does not fit the mail server ({}): its name, its port, and smtp+tls or smtp+ssl."


class EmailChannel:
    """Sends to the addresses of ALERT_EMAIL_TO through the server of EMAIL_URL."""

    name = NAME

    def is_configured(self) -> bool:
        """Return whether EMAIL_URL and ALERT_EMAIL_TO are set."""
        return bool(settings.ENVIRONMENT.email_url and settings.ENVIRONMENT.alert_email_to)

    def deliver(self, message: Message) -> Outcome:
        """Send one letter to each address, and return what became of them: delivered, if the server took one."""
        if not self.is_configured():
            return Outcome(NAME, DeliveryState.NOT_CONFIGURED, "EMAIL_URL and ALERT_EMAIL_TO are not both set.")
        to = settings.ENVIRONMENT.alert_email_to
        config = environ.Env.email_url_config(settings.ENVIRONMENT.email_url)
        connection = connect(config)
        try:
            connection.open()
            return _judged(_sent(message, sender_of(config, to), to, connection), len(to))
        except smtplib.SMTPAuthenticationError as error:
            return _refused_sign_in(error.smtp_code)
        except smtplib.SMTPNotSupportedError:
            return Outcome(NAME, DeliveryState.REFUSED, _MISTAKEN.format("TLS or sign-in is not offered"), None, True)
        except (smtplib.SMTPException, ssl.SSLError, OSError, ValueError) as error:
            # The class only: a message may quote what the server was sent. ValueError: an answer that is no SMTP.
            return Outcome(NAME, DeliveryState.TRY_AGAIN, _UNREACHABLE.format(type(error).__name__))
        finally:
            _close(connection)


def connect(config: dict[str, Any]) -> BaseEmailBackend:
    """Return Django's mail connection for a URL that django-environ has read; not yet opened."""
    backend = config["EMAIL_BACKEND"]
    if backend.endswith("console.EmailBackend"):
        return get_connection(backend)
    return get_connection(
        backend,
        host=config["EMAIL_HOST"],
        port=config["EMAIL_PORT"] or _port(config),
        username=config["EMAIL_HOST_USER"] or "",
        password=config["EMAIL_HOST_PASSWORD"] or "",
        use_tls=config.get("EMAIL_USE_TLS", False),
        use_ssl=config.get("EMAIL_USE_SSL", False),
        timeout=STEP_S,
    )


def sender_of(config: dict[str, Any], to: tuple[str, ...]) -> str:
    """Return whom the letters are from: the user of the mail server where that is an address, else who gets them."""
    user = config["EMAIL_HOST_USER"] or ""
    return user if "@" in user else to[0]


def _port(config: dict[str, Any]) -> int:
    if config.get("EMAIL_USE_SSL"):
        return smtplib.SMTP_SSL_PORT
    return 587 if config.get("EMAIL_USE_TLS") else smtplib.SMTP_PORT


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the server said to one letter: a code of 0 for yes. ``is_of_text``: it refused what the letter says."""

    code: int = 0
    is_of_text: bool = False


def _sent(message: Message, sender: str, to: Iterable[str], connection: BaseEmailBackend) -> list[_Answer]:
    """Send the letters one by one, and return what the server said to each. Raises what broke it when it took none.

    A server that hangs up on one address is asked anew for the next: nobody misses a letter for another's address, and who has it
    gets it no second time.
    """
    answers: list[_Answer] = []
    broken: Exception | None = None
    started_s = time.monotonic()
    for address in to:
        if answers and time.monotonic() - started_s > LETTERS_S:
            break
        try:
            letter(message, sender, address, connection).send()
            answers.append(_Answer())
        except smtplib.SMTPRecipientsRefused as error:
            answers.append(_Answer(max(code for code, _ in error.recipients.values())))
        except smtplib.SMTPSenderRefused as error:
            answers.append(_Answer(error.smtp_code))
        except smtplib.SMTPDataError as error:
            answers.append(_Answer(error.smtp_code, is_of_text=True))
        except (smtplib.SMTPException, ssl.SSLError, OSError, ValueError) as error:
            broken = error
            answers.append(_Answer(_HUNG_UP))
        if answers[-1].code == _HUNG_UP:
            # The next letter opens it anew.
            _close(connection)
    if broken is not None and _Answer() not in answers:
        raise broken
    return answers


def _judged(answers: list[_Answer], wanted: int) -> Outcome:
    taken = answers.count(_Answer())
    if taken == wanted:
        return Outcome(NAME, DeliveryState.DELIVERED, "The mail server has the message.")
    refused = f"The mail server took the message for {taken} of {wanted} addresses"
    if taken:
        # Again for all of them would repeat it for those who have it.
        return Outcome(NAME, DeliveryState.DELIVERED, f"{refused}. Look at ALERT_EMAIL_TO.")
    worst = max(answers, key=lambda one: one.code)
    if worst.code < _NO:
        return Outcome(NAME, DeliveryState.TRY_AGAIN, f"{refused} (answer {worst.code}). It is tried again.")
    if worst.is_of_text:
        return Outcome(NAME, DeliveryState.REFUSED, f"The mail server refused the text (answer {worst.code}).")
    detail = f"{refused} (answer {worst.code}). Look at ALERT_EMAIL_TO and at the user of EMAIL_URL."
    return Outcome(NAME, DeliveryState.REFUSED, detail, is_of_channel=True)


def _refused_sign_in(code: int) -> Outcome:
    if code >= _NO:
        detail = f"The mail server refused the user or the password (answer {code}). Look at EMAIL_URL."
        return Outcome(NAME, DeliveryState.REFUSED, detail, None, True)
    return Outcome(NAME, DeliveryState.TRY_AGAIN, f"The mail server could not sign in now (answer {code}).")


def _close(connection: BaseEmailBackend) -> None:
    try:
        connection.close()
    except (smtplib.SMTPException, OSError):
        # What was taken is taken; a server that does not answer QUIT changes nothing of it.
        return
