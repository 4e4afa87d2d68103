"""The console's static files, looked for once in a process of tests."""

from typing import Any, ClassVar

from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]
    """Serves them as the console does. Each new test client builds all middleware anew, and looking for them takes 10 ms."""

    files: dict[str, Any]
    _found: ClassVar[dict[str, Any]] = {}

    def add_files_from_finders(self) -> None:
        """Take what the first one found."""
        if not self._found:
            super().add_files_from_finders()
            self._found.update(self.files)
        self.files = self._found
