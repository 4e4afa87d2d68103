"""Values that the API takes and gives: figures and texts, checked at the door."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from audit.decimals import decimal_text, storable

FIGURE_DIGITS_MAX = 40
#: Decimal itself takes "1_000", blanks around, exponents and other scripts' digits: likelier a slip than meant.
PLAIN_FIGURE = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


def _decimal(value: object) -> object:
    """Refuse what is no plain text: a JSON float has lost digits before anyone could look. Refuse what can't be kept, too."""
    if not isinstance(value, str) or len(value) > FIGURE_DIGITS_MAX or not PLAIN_FIGURE.fullmatch(value):
        raise ValueError('a decimal number as a text is needed, such as "0.015"')
    return storable(Decimal(value))


def _no_null(text: str) -> str:
    """Refuse a null character: PostgreSQL keeps none."""
    if "\0" in text:
        raise ValueError("a null character is not allowed")
    return text


Figure = Annotated[Decimal, BeforeValidator(_decimal), Field(gt=0, allow_inf_nan=False, examples=["0.015"])]
Text = Annotated[str, AfterValidator(_no_null)]


def text_of(figure: Decimal | None) -> str | None:
    """Return a figure as the API shows it, None where there is none."""
    return None if figure is None else decimal_text(figure)
