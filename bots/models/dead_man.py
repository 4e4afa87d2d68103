"""The dead-man switch of an account at a venue that has one."""

from django.db import models


class DeadManSwitch(models.Model):
    """Whether the venue cancels every order of an account when nobody is heard of any more, and how that stands.

    ``account`` is the account's name (``kraken``). ``is_wanted`` is a person's choice. ``tried_at`` is when the venue was last
    asked, ``asked_at`` when it last answered; ``fires_at`` is when it then fires unless it is asked again, by the worker's clock
    (null: it is off). ``failure`` is why it could not be asked, last at ``failed_at``, and empty once it could: until then nobody
    knows whether it is on. ``fired_at`` is when its time last ran out.
    """

    account = models.CharField(max_length=40, primary_key=True)
    is_wanted = models.BooleanField(default=False)
    asked_at = models.DateTimeField(null=True)
    fires_at = models.DateTimeField(null=True)
    tried_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=300, blank=True, default="")
    fired_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "dead_man_switches"
        verbose_name_plural = "dead man switches"
        ordering = ["account"]

    def __str__(self) -> str:
        return self.account
