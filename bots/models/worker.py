"""Workers: who holds which shard of the bots, and who is alive."""

from django.db import models


class Lease(models.Model):
    """A right held for a few seconds by one worker; ``epoch`` rises with each new holder and is the fencing token.

    Claimed, renewed and given back only by ``bots.workers.leases``, by conditional updates whose row count decides.
    """

    name = models.CharField(max_length=64, primary_key=True)
    holder = models.CharField(max_length=100, blank=True, default="")
    epoch = models.PositiveBigIntegerField(default=0)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "leases"
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name}#{self.epoch}"


class WorkerKind(models.TextChoices):
    """What a heartbeat tells of: a task that ticks bots, one that does the chores, the cluster that carries them, or the web."""

    RUNNER = "runner"
    CHORES = "chores"
    CLUSTER = "cluster"
    WEB = "web"


class WorkerHeartbeat(models.Model):
    """One living worker. ``shards`` is the text of the shards it holds ("0,3,7"); ``details`` is what the page shows."""

    worker_id = models.CharField(max_length=100, primary_key=True)
    kind = models.CharField(max_length=10, choices=WorkerKind.choices)
    cluster_id = models.CharField(max_length=100, blank=True, default="")
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=40)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    shards = models.CharField(max_length=400, blank=True, default="")
    details = models.JSONField(default=dict, blank=True)

    class Meta:
        db_table = "worker_heartbeats"
        ordering = ["kind", "worker_id"]
        indexes = [models.Index(fields=["kind", "seen_at"], name="heartbeat_kind_seen")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=WorkerKind.values),
                name="heartbeat_kind_known",
            ),
        ]

    def __str__(self) -> str:
        return self.worker_id
