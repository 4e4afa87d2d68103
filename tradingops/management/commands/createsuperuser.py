"""``manage.py createsuperuser``: Django's own, with the new user in the audit."""

from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.models import User

from audit.actors import terminal_actor
from audit.log import OperatorEventRecord, record, unit


class _AuditedUsers:
    """The users' manager, whose new superusers are operator events. Nothing is open while the command asks its questions."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def db_manager(self, using: str) -> "_AuditedUsers":
        """Return the manager for a database; there is only one."""
        return self

    def create_superuser(self, **fields: Any) -> User:
        """Make the user and its audit row, or neither."""
        with unit():
            user: User = self._manager.create_superuser(**fields)
            record(OperatorEventRecord(terminal_actor(), "user_created", f"user:{user.pk} {user}", "", "superuser"))
            return user


class _AuditedUser:
    """The user model as the command sees it."""

    def __init__(self, model: Any) -> None:
        self._model, self._default_manager = model, _AuditedUsers(model._default_manager)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Command(createsuperuser.Command):
    """Makes a superuser."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.UserModel = _AuditedUser(self.UserModel)  # type: ignore[assignment]
