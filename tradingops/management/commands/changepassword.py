"""``manage.py changepassword [USER]``: Django's own, with the change in the audit."""

import getpass
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.actors import terminal_actor
from audit.log import OperatorEventRecord, record, unit

TRIES_MAX = 3


class Command(BaseCommand):
    """Asks twice for a new password and sets it, with an operator event that names the person at the terminal."""

    help = "Set a user's password. Without a name, that of the user who is called like the system's."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", nargs="?", help="whose password")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["username"] or getpass.getuser()
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name!r}.")
        self.stdout.write(f"Changing the password of {user}.")
        for _ in range(TRIES_MAX):
            if (password := self._asked(user)) is not None:
                self._set(user, password)
                self.stdout.write(f"The password of {user} is changed. Its sessions have ended.")
                return
        raise CommandError(f"The password of {user} was not changed, after {TRIES_MAX} tries.")

    def _asked(self, user: User) -> str | None:
        """Return the password that was typed twice, or None when it won't do."""
        first, second = getpass.getpass("Password: "), getpass.getpass("Password (again): ")
        if first != second:
            self.stderr.write("The two are not the same. Try again.")
            return None
        try:
            validate_password(first, user)
        except ValidationError as error:
            self.stderr.write("\n".join(error.messages))
            return None
        return first

    def _set(self, user: User, password: str) -> None:
        with unit():
            user.set_password(password)
            user.save(update_fields=["password"])
            what = f"user:{user.pk} {user}"
            record(OperatorEventRecord(terminal_actor(), "user_password_set", what, "", "a new password"))
