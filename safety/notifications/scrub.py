"""The last guard before a text leaves this machine: no value of a secret variable stays in it, whoever put it there."""

import dataclasses
from urllib.parse import unquote, urlsplit

from django.conf import settings

#: Shorter values are none that anybody could be kept from guessing, and would cut holes into plain words.
SECRET_CHARS_MIN = 8
INSTEAD = "[secret]"


def without_secrets(text: str) -> str:
    """Return a text in which every value of a secret variable of the environment is replaced."""
    for secret in _secrets():
        if secret in text:
            text = text.replace(secret, INSTEAD)
    return text


def _secrets() -> list[str]:
    """Return the values that ``repr()`` of the environment leaves out, the longest first: a URL before a part of it."""
    hidden = (getattr(settings.ENVIRONMENT, one.name) for one in _hidden_fields())
    texts = [
        one for value in hidden for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, str)
    ]
    password = str(settings.DATABASES["default"].get("PASSWORD") or "")
    found = (*texts, *(part for one in texts for part in _parts(one)), password)
    return sorted({one for one in found if len(one) >= SECRET_CHARS_MIN}, key=len, reverse=True)


def _parts(value: str) -> tuple[str, ...]:
    """Return what errors quote of a URL without its beginning: the path and the query, or the password."""
    try:
        url = urlsplit(value)
        password = url.password or ""
    except ValueError:
        return ()
    address = (
        (url._replace(scheme="", netloc="", fragment="").geturl(), url.path) if url.scheme in ("http", "https") else ()
    )
    return (*address, password, unquote(password))


def _hidden_fields() -> list["dataclasses.Field[object]"]:
    return [one for one in dataclasses.fields(settings.ENVIRONMENT) if not one.repr]
