"""What Alpaca's answers look like, in small: shapes and figures as they were seen, written down by hand."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "data" / "alpaca.json"


def recorded(name: str) -> Any:
    """Return one answer as the client reads it: whole numbers as int, all others as Decimal."""
    return json.loads(FILE.read_text(), parse_float=Decimal)[name]
