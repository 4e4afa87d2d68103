"""TA-Lib without pandas: it imports pandas only to accept its series too, which costs each process seconds and 40 MB."""

import sys
from types import ModuleType

_UNWANTED = ("pandas", "polars")


def _load() -> ModuleType:
    """Import TA-Lib while what it could do without looks uninstalled; what is imported already stays as it is."""
    hidden = [name for name in _UNWANTED if name not in sys.modules]
    # None makes an import raise ModuleNotFoundError, as for a package that is not there.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        import talib as loaded
    finally:
        for name in hidden:
            del sys.modules[name]
    return loaded


talib = _load()
