"""Values that the API takes and gives: figures, texts and times, checked at the door."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from ninja import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from audit.decimals import decimal_text, storable

FIGURE_DIGITS_MAX = 40
#: The largest whole number that the database takes for a row's id.
ID_MAX = 2**63 - 1
#: Decimal itself takes "1_000", blanks around, exponents and other scripts' digits: likelier a slip than meant.
PLAIN_FIGURE = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
#: For the schema: the same, above zero.
ABOVE_ZERO = r"^([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)$"
#: In an address a plus that was not written as %2B arrives as a blank.
INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(Z|[+\- ]\d\d:\d\d)?", re.ASCII | re.IGNORECASE
)
INSTANT_WANTED = "a time as ISO 8601 is needed, such as 2026-01-31T14:05:09Z"


class Input(BaseModel):
    """What an endpoint takes. A field that it does not know is refused: likelier a slip than meant."""

    model_config = ConfigDict(extra="forbid")


class Output(BaseModel):
    """What an endpoint gives. Made from figures of our own: it is checked once, and never copied."""

    model_config = ConfigDict(frozen=True)


def _decimal(value: object) -> object:
    """Refuse what is no plain text: a JSON float has lost digits before anyone could look. Refuse what can't be kept, too."""
    if not isinstance(value, str) or len(value) > FIGURE_DIGITS_MAX or not PLAIN_FIGURE.fullmatch(value):
        raise ValueError('a decimal number as a text is needed, such as "0.015"')
    return storable(Decimal(value))


def _storable_text(text: str) -> str:
    """Refuse what no database keeps: PostgreSQL takes no null character, and half a surrogate pair is no text."""
    if "\0" in text:
        raise ValueError("a null character is not allowed")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half of a surrogate pair is not allowed: it is no character")
    return text


def _instant(value: object) -> object:
    """Return a moment in UTC. One without its offset is refused: nobody could tell which hour it means."""
    found = INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(INSTANT_WANTED)
    moment, offset = found.groups()
    if offset is None:
        raise ValueError("the offset from UTC is missing: end the time with Z, or with an offset such as +02:00")
    try:
        return datetime.fromisoformat((moment + offset.replace(" ", "+")).upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"there is no such time; {INSTANT_WANTED}") from error


def instant_text(moment: datetime) -> str:
    """Return a moment as the API shows it: UTC to the microsecond, ending in Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _schema(kind: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "format": kind, **more})


Figure = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    Field(gt=0, allow_inf_nan=False),
    WithJsonSchema({"type": "string", "pattern": ABOVE_ZERO, "maxLength": FIGURE_DIGITS_MAX, "examples": ["0.015"]}),
]
#: In a body, true or false and nothing that could be taken for one: {"dry_run": 0} must not set a bot live.
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, AfterValidator(_storable_text)]
#: A moment that is asked for, with its offset; it comes out in UTC.
Instant = Annotated[datetime, BeforeValidator(_instant), _schema("date-time", examples=["2026-01-31T14:05:09Z"])]
#: A moment that is told: UTC to the microsecond, ending in Z.
Time = Annotated[
    datetime,
    PlainSerializer(instant_text, return_type=str),
    _schema("date-time", examples=["2026-01-31T14:05:09.000000Z"]),
]
#: A decimal that is told, as a plain text: never a float, never an exponent.
DecimalText = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["0.015"]}),
]
#: As JSON writes it: neither a text nor true nor 5.0, which are likelier slips than meant.
WholeNumber = Annotated[int, Field(strict=True)]
RowId = Annotated[int, Field(ge=1, le=ID_MAX, examples=[7])]
#: The same in an address.
PathId = Annotated[int, Path(ge=1, le=ID_MAX, examples=[7])]


def text_of(figure: Decimal | None) -> str | None:
    """Return a figure as the API shows it, None where there is none."""
    return None if figure is None else decimal_text(figure)


def instant_or_none(moment: datetime | None) -> str | None:
    """Return a moment as the API shows it, None where there is none."""
    return None if moment is None else instant_text(moment)
