"""What the intelligence layer decided for a bot, whenever that changed."""

from django.db import models

from audit.fields import CanonicalJSONField, ExactDecimalField
from bots.models.bot import Bot


class BotDecision(models.Model):
    """From ``decided_at`` until the next one this was thought of the bot's market, and this was allowed.

    ``inputs`` is what it was judged by, ``version`` says which formulas. ``reasons`` are ``{"code", "message"}``.
    """

    bot = models.ForeignKey(Bot, on_delete=models.PROTECT, related_name="decisions")
    decided_at = models.DateTimeField()
    action = models.CharField(max_length=20)
    regime = models.CharField(max_length=20)
    confidence = ExactDecimalField()
    score = models.PositiveSmallIntegerField()
    parts = CanonicalJSONField(default=dict, blank=True)
    reasons = CanonicalJSONField(default=list, blank=True)
    cost_bps = ExactDecimalField(null=True)
    inputs = CanonicalJSONField(default=dict, blank=True)
    version = models.PositiveSmallIntegerField()

    class Meta:
        db_table = "bot_decisions"
        ordering = ["-id"]
        indexes = [models.Index(fields=["bot", "-decided_at"], name="decision_of_bot_at")]

    def __str__(self) -> str:
        return f"{self.bot_id} {self.action} {self.decided_at:%Y-%m-%d %H:%M:%S}"
