"""``manage.py reset_second_factor USER``: for who lost the phone and the recovery codes."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.actors import terminal_actor
from safety import second_factor


class Command(BaseCommand):
    """Turns a person's second factor off, with an operator event. Whoever can run it can read the database anyway."""

    help = "Turn off the second factor of a user who lost the phone. The password stays as it is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="who lost the phone")
        parser.add_argument("--reason", default="", help="kept in the audit")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['username']!r}.", returncode=2)
        if not second_factor.turn_off(user, actor=terminal_actor(), reason=options["reason"]):
            self.stdout.write(f"The second factor of {user} was off already.")
            return
        self.stdout.write(f"{user} signs in with the password alone from now on.")
