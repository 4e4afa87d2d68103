"""What a variable's text may say: one parser per kind. Each returns a value or raises ValueError with what is allowed.

No message repeats the text it was given, since it may be a secret that went into the wrong line.
"""

import ipaddress
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

OFF_WORDS = frozenset({"0", "false", "no", "off"})
ON_WORDS = frozenset({"1", "true", "yes", "on"})
LOOPBACK_NAMES = frozenset({"localhost"})
DISCORD_HOSTS = frozenset({"discord.com", "discordapp.com", "canary.discord.com", "ptb.discord.com"})
EMAIL_SCHEMES = frozenset({"smtp", "smtps", "smtp+tls", "smtp+ssl", "consolemail"})
PER_MINUTE_MAX = 1_000_000
#: A host name, an address, or Django's pattern for a domain with all its parts; with a port nowhere.
HOST_PATTERN = re.compile(r"\A(\*|\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])\Z")


@dataclass(frozen=True, slots=True)
class Gate:
    """One lock on live trading. ``source`` is where it was read, ``hint`` what to write if it was meant to be open."""

    name: str
    is_open: bool
    source: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A venue's address, without a slash at its end. A loopback one makes this console a rehearsal."""

    url: str
    is_loopback: bool


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A DATABASE_URL that was looked through. Its text may hold a password, so it is not shown."""

    url: str
    vendor: str

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.vendor})"


def gate(name: str, text: str, source: str) -> Gate:
    """Return the gate: open for exactly ``1``, closed for everything else."""
    if text == "1":
        return Gate(name, True, source)
    word = text.strip().lower()
    if word in OFF_WORDS or not word:
        return Gate(name, False, source)
    meant = "looks as if it were meant to be on" if word in ON_WORDS else "is not understood"
    return Gate(name, False, source, f"{name} {meant} and stays closed: only 1 opens it. Write {name}=1.")


def engaged(text: str) -> bool:
    """Return whether KILL_SWITCH halts: everything does but 0, false, no and off. Blank is not one of them."""
    return text.strip().lower() not in OFF_WORDS


def switch(text: str) -> bool:
    """Return an ordinary yes or no."""
    word = text.lower()
    if word not in OFF_WORDS | ON_WORDS:
        raise ValueError("allowed are 1, true, yes, on, 0, false, no and off")
    return word in ON_WORDS


def plain(text: str) -> str:
    """Return text that is one word of visible ASCII, as keys and tokens are."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("only visible ASCII characters are allowed, with no space among them")
    return text


def port(text: str) -> int:
    """Return a TCP port."""
    # int() alone would let +8000, 8_000 and digits of other scripts pass.
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError("a whole number from 1 to 65535 is needed")
    return int(text)


def per_minute(text: str) -> int:
    """Return how often in a minute something may be done."""
    if not re.fullmatch(r"[0-9]{1,7}", text) or not 1 <= int(text) <= PER_MINUTE_MAX:
        raise ValueError(f"a whole number from 1 to {PER_MINUTE_MAX} is needed")
    return int(text)


def usd(text: str) -> Decimal:
    """Return an amount of USD that is 0 or more."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if "_" in text or not amount.is_finite() or amount < 0:
        raise ValueError("a decimal number of 0 or more is needed, written with a point, such as 5 or 0.50")
    return amount


def host(text: str) -> str:
    """Return an address or name to listen on."""
    bare = text.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        if not HOST_PATTERN.match(text) or text.startswith(("*", ".")):
            raise ValueError("an IP address or a host name is needed, without http:// and without a port") from None
    return bare


def hosts(text: str) -> tuple[str, ...]:
    """Return host names parted by commas."""
    found = _parts(text)
    if not all(HOST_PATTERN.match(one) for one in found):
        raise ValueError("host names parted by commas are needed, without http:// and without a port")
    return found


def origins(text: str) -> tuple[str, ...]:
    """Return origins (scheme, host and perhaps port) parted by commas."""
    found = _parts(text)
    for one in found:
        url = _split(one)
        if url.scheme not in {"http", "https"} or not url.hostname or one != f"{url.scheme}://{url.netloc}":
            raise ValueError("origins parted by commas are needed, such as https://console.example.org")
    return found


def addresses(text: str) -> tuple[str, ...]:
    """Return e-mail addresses parted by commas."""
    found = _parts(text)
    for one in found:
        try:
            validate_email(one)
        except ValidationError:
            raise ValueError("e-mail addresses parted by commas are needed") from None
    return found


def web_url(text: str) -> str:
    """Return a URL that is https, or http on a loopback address."""
    url = _split(text)
    if not url.hostname or not (url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname))):
        raise ValueError("a URL with https:// is needed, or with http:// on a loopback address")
    return text


def discord_url(text: str) -> str:
    """Return a webhook's URL on Discord's hosts, or on a loopback address."""
    allowed = f"https:// on one of {', '.join(sorted(DISCORD_HOSTS))}, or http:// on a loopback address"
    url = _split(text)
    on_discord = url.scheme == "https" and url.hostname in DISCORD_HOSTS and url.port in {None, 443}
    on_loopback = url.scheme == "http" and is_loopback(url.hostname or "")
    if not (on_discord or on_loopback) or url.username is not None or not url.path.strip("/"):
        raise ValueError(f"a webhook's whole URL is needed, with {allowed}")
    return text


def email_url(text: str) -> str:
    """Return the URL of a mail server, in the form that django-environ reads."""
    url = _split(text)
    if url.scheme not in EMAIL_SCHEMES or (url.scheme != "consolemail" and not url.hostname):
        schemes = ", ".join(sorted(EMAIL_SCHEMES))
        raise ValueError(f"a URL such as smtp+tls://user:password@mail.example.org:587 is needed; schemes: {schemes}")
    return text


def endpoint(text: str, venue_host: str) -> Endpoint:
    """Return a venue's base URL: https on the venue's own host, or http on a loopback address."""
    url = _split(text)
    path_is_plain = url.path in {"", "/"} and not url.query and not url.fragment and url.username is None
    own = url.scheme == "https" and url.hostname == venue_host and url.port in {None, 443}
    loopback = url.scheme == "http" and is_loopback(url.hostname or "")
    if not path_is_plain or not (own or loopback):
        raise ValueError(f"allowed are https://{venue_host}, and http:// on a loopback address for a rehearsal")
    return Endpoint(text.rstrip("/"), loopback)


def database_url(text: str, base_dir: Path) -> DatabaseUrl:
    """Return a database's URL; a relative SQLite path counts from the project's directory."""
    url = _split(text)
    if url.scheme in {"postgres", "postgresql"}:
        # postgres://%2Fdir/name and ?host=/dir are how a socket's directory is named.
        if not url.path.strip("/"):
            raise ValueError("the database's name is missing: postgres://user:password@host:5432/NAME is needed")
        return DatabaseUrl(text, "postgresql")
    if url.scheme != "sqlite" or url.netloc or url.query or not url.path.strip("/") or ":memory:" in url.path:
        raise ValueError(
            "allowed are postgres://user:password@host:5432/name and sqlite:///path/to/file"
            " (four slashes begin an absolute path; a database in memory can't be shared with the workers)"
        )
    return sqlite_file(base_dir / unquote(url.path.removeprefix("/")))


def sqlite_file(path: Path) -> DatabaseUrl:
    """Return the URL of a SQLite file, whatever characters its path has."""
    return DatabaseUrl(f"sqlite:///{quote(str(path))}", "sqlite")


def is_loopback(name: str) -> bool:
    """Return whether a host name or address stays on this machine."""
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return name.lower() in LOOPBACK_NAMES


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part for part in (one.strip() for one in text.split(",")) if part)


def _split(text: str) -> SplitResult:
    """Take a URL apart. Raises ValueError for what is none, also for a port that is not a number."""
    try:
        url = urlsplit(plain(text))
        _ = url.port
    except ValueError:
        raise ValueError("this is not a URL") from None
    return url
