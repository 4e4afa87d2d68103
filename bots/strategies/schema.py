"""What a strategy's params are: typed, bounded and explained once.

Checks, form fields, the API's schema and the docs all come from here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from django import forms

ERROR_KEY_ALL = "__all__"
DECIMAL_PLACES = 4
TEXT_LENGTH_MAX = 40
_DECIMAL_TEXT = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?")
_INTEGER_TEXT = re.compile(r"[+-]?[0-9]{1,20}")


class ParamError(ValueError):
    """Params that cannot be used. ``errors`` maps a param's name, or ``__all__``, to every problem with it."""

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {text}" for name, texts in self.errors.items() for text in texts))


class Param(Protocol):
    """One param of a strategy. ``parse`` raises ValueError with a sentence for people."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def default(self) -> Any: ...

    def parse(self, raw: object) -> Any:
        """Return the typed value of ``raw``. Raises ValueError."""
        ...

    def plain(self, value: Any) -> str | int | bool:
        """Return ``value`` as JSON can hold it without loss."""
        ...

    def bounds(self) -> str:
        """Return what is allowed, for people."""
        ...

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema of this param."""
        ...

    def form_field(self) -> forms.Field:
        """Return a Django form field with label, help, bounds and initial value."""
        ...


def _shown(raw: object) -> str:
    """Return ``raw`` for an error message, cut to a bounded length."""
    text = repr(raw)
    return text if len(text) <= TEXT_LENGTH_MAX else text[:TEXT_LENGTH_MAX] + "…"


def _why_no_number(raw: object, wanted: str) -> str:
    if isinstance(raw, float):
        return f"is a float ({raw}), which is not exact; write {wanted}, as text"
    return f"must be {wanted}, not {_shown(raw)}"


def _help_with_unit(param: Param) -> str:
    return f"{param.help} Unit: {param.unit}. Allowed: {param.bounds()}." if param.unit else param.help


@dataclass(frozen=True, slots=True)
class DecimalParam:
    """A decimal figure, both bounds included, with at most ``places`` decimal places."""

    name: str
    label: str
    default: Decimal
    minimum: Decimal
    maximum: Decimal
    unit: str
    help: str
    places: int = DECIMAL_PLACES

    def parse(self, raw: object) -> Decimal:
        """Return ``raw``, a Decimal, an int or plain decimal text, as Decimal. Raises ValueError, for floats too."""
        value = self._decimal(raw)
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"must be {self.bounds()}, not {value:f}")
        return value

    def _decimal(self, raw: object) -> Decimal:
        if isinstance(raw, str) and _DECIMAL_TEXT.fullmatch(raw.strip()):
            value = Decimal(raw.strip())
        elif (isinstance(raw, Decimal) and raw.is_finite()) or (isinstance(raw, int) and not isinstance(raw, bool)):
            value = Decimal(raw)
        else:
            raise ValueError(_why_no_number(raw, f"a number such as {self.plain(self.default)}"))
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -self.places:
            raise ValueError(f"has more than {self.places} decimal places")
        return value

    def plain(self, value: Decimal) -> str:
        """Return the exact decimal text, without an exponent."""
        return f"{value:f}"

    def bounds(self) -> str:
        """Return what is allowed, for people."""
        return f"from {self.minimum:f} to {self.maximum:f} {self.unit}".rstrip()

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema: text or a whole number. The bounds are annotations: JSON schema has none for text."""
        return {
            "type": ["string", "integer"],
            "title": self.label,
            "description": self.help,
            "default": self.plain(self.default),
            "x-format": "decimal",
            "x-minimum": self.plain(self.minimum),
            "x-maximum": self.plain(self.maximum),
            "x-unit": self.unit,
        }

    def form_field(self) -> forms.Field:
        """Return a decimal form field."""
        return forms.DecimalField(
            label=self.label,
            help_text=_help_with_unit(self),
            initial=self.default,
            min_value=self.minimum,
            max_value=self.maximum,
            decimal_places=self.places,
        )


@dataclass(frozen=True, slots=True)
class IntegerParam:
    """A whole number, both bounds included."""

    name: str
    label: str
    default: int
    minimum: int
    maximum: int
    unit: str
    help: str

    def parse(self, raw: object) -> int:
        """Return ``raw``, an int or text of digits, as int. Raises ValueError; floats are refused."""
        if isinstance(raw, str) and _INTEGER_TEXT.fullmatch(raw.strip()):
            value = int(raw.strip())
        elif isinstance(raw, int) and not isinstance(raw, bool):
            value = raw
        else:
            raise ValueError(_why_no_number(raw, f"a whole number such as {self.default}"))
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"must be {self.bounds()}, not {_shown(value)}")
        return value

    def plain(self, value: int) -> int:
        """Return the value as it is."""
        return value

    def bounds(self) -> str:
        """Return what is allowed, for people."""
        return f"from {self.minimum} to {self.maximum} {self.unit}".rstrip()

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {
            "type": "integer",
            "title": self.label,
            "description": self.help,
            "default": self.default,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "x-unit": self.unit,
        }

    def form_field(self) -> forms.Field:
        """Return a whole-number form field."""
        return forms.IntegerField(
            label=self.label,
            help_text=_help_with_unit(self),
            initial=self.default,
            min_value=self.minimum,
            max_value=self.maximum,
        )


@dataclass(frozen=True, slots=True)
class ChoiceParam:
    """One of a few words. ``choices`` maps each word to its label."""

    name: str
    label: str
    default: str
    choices: Mapping[str, str]
    help: str
    unit: str = ""

    def parse(self, raw: object) -> str:
        """Return ``raw`` when it is one of the choices. Raises ValueError."""
        if not isinstance(raw, str) or raw not in self.choices:
            raise ValueError(f"must be {self.bounds()}, not {_shown(raw)}")
        return raw

    def plain(self, value: str) -> str:
        """Return the value as it is."""
        return value

    def bounds(self) -> str:
        """Return what is allowed, for people."""
        return "one of " + ", ".join(self.choices)

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {
            "type": "string",
            "enum": list(self.choices),
            "title": self.label,
            "description": self.help,
            "default": self.default,
        }

    def form_field(self) -> forms.Field:
        """Return a choice form field."""
        return forms.ChoiceField(
            label=self.label, help_text=self.help, initial=self.default, choices=list(self.choices.items())
        )


@dataclass(frozen=True, slots=True)
class BooleanParam:
    """Yes or no."""

    name: str
    label: str
    default: bool
    help: str
    unit: str = ""

    def parse(self, raw: object) -> bool:
        """Return ``raw`` when it is true or false, as a value or as that text. Raises ValueError."""
        if isinstance(raw, bool):
            return raw
        if raw in ("true", "false"):
            return raw == "true"
        raise ValueError(f"must be true or false, not {_shown(raw)}")

    def plain(self, value: bool) -> bool:
        """Return the value as it is."""
        return value

    def bounds(self) -> str:
        """Return what is allowed, for people."""
        return "true or false"

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "boolean", "title": self.label, "description": self.help, "default": self.default}

    def form_field(self) -> forms.Field:
        """Return a check box."""
        return forms.BooleanField(label=self.label, help_text=self.help, initial=self.default, required=False)


TIMEFRAME_AUTO = "auto"
TIMEFRAME = ChoiceParam(
    "timeframe",
    "Timeframe",
    TIMEFRAME_AUTO,
    {
        TIMEFRAME_AUTO: "The feed's own",
        "1m": "1 minute",
        "5m": "5 minutes",
        "15m": "15 minutes",
        "1h": "1 hour",
        "4h": "4 hours",
        "1d": "1 day",
    },
    "Length of one candle; 'auto' takes the shortest that the feed has for the symbol.",
)


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """A rule over several params: ``problem`` returns a sentence when it is broken; it is shown at ``name``."""

    name: str
    problem: Callable[[dict[str, Any]], str | None]


@dataclass(frozen=True, slots=True)
class ParamSchema:
    """All params of one strategy, in the order in which people see them."""

    params: tuple[Param, ...]
    checks: tuple[CrossCheck, ...] = ()

    def defaults(self) -> dict[str, Any]:
        """Return every param at its default, typed."""
        return {param.name: param.default for param in self.params}

    def clean(self, raw: Mapping[str, object]) -> dict[str, Any]:
        """Return typed values, with defaults for what is missing. Raises ParamError with every problem found.

        The rules over several params are judged only when each param by itself is good.
        """
        if not isinstance(raw, Mapping):
            raise ParamError({ERROR_KEY_ALL: [f"params must be an object of names and values, not {_shown(raw)}"]})
        errors: dict[str, list[str]] = {}
        values: dict[str, Any] = {}
        for param in self.params:
            try:
                values[param.name] = param.parse(raw[param.name]) if param.name in raw else param.default
            except ValueError as error:
                errors[param.name] = [str(error)]
        known = ", ".join(param.name for param in self.params)
        for name in raw:
            if name not in values and name not in errors:
                errors[str(name)] = [f"is not a param of this strategy; known: {known}"]
        for check in () if errors else self.checks:
            problem = check.problem(values)
            if problem is not None:
                errors.setdefault(check.name, []).append(problem)
        if errors:
            raise ParamError(errors)
        return values

    def plain(self, values: Mapping[str, Any]) -> dict[str, str | int | bool]:
        """Return clean values as JSON can hold them: decimals as text. ``clean(plain(v)) == v``."""
        return {param.name: param.plain(values[param.name]) for param in self.params}

    def json_schema(self) -> dict[str, Any]:
        """Return a JSON schema of the params object; rules over several params are only in ``clean``."""
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {param.name: param.json_schema() for param in self.params},
        }

    def form_fields(self, prefix: str = "") -> dict[str, forms.Field]:
        """Return one form field per param, keyed by ``prefix`` and its name."""
        return {f"{prefix}{param.name}": param.form_field() for param in self.params}

    def from_form(self, cleaned: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """Return the raw params held in a form's cleaned data, for ``clean``; what the form left out stays out."""
        keys = {param.name: f"{prefix}{param.name}" for param in self.params}
        return {name: cleaned[key] for name, key in keys.items() if cleaned.get(key) is not None}
