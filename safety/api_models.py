"""What the API keeps of who asks: scoped tokens, and tokens that were wrong."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from safety.api_scopes import Scope


class ApiToken(models.Model):
    """A token for one program, with a scope. Its text is ``top_PREFIX_SECRET``; only the prefix and a hash are kept.

    ``secret_hash`` is the SHA-256 of the whole text. A fast hash is right here: the secret is 256 random bits, so nobody finds it
    by trying, however fast a try is. Slow hashes protect what people think up, and would cost each request a tenth of a second.

    A token can do what its scope allows and whoever made it may do at that moment. It is dead when it is revoked or expired, and
    while its maker is inactive, no staff, or without the right to make tokens. Scope and name never change.
    """

    name = models.CharField(max_length=60, unique=True)
    prefix = models.CharField(max_length=8, unique=True)
    secret_hash = models.CharField(max_length=64)
    scope = models.CharField(max_length=10, choices=[(one.value, one.value) for one in Scope])
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    #: None: it never expires, which somebody chose on purpose.
    expires_at = models.DateTimeField(null=True)
    #: Written at most once a minute.
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.CharField(max_length=150, blank=True)

    class Meta:
        db_table = "api_tokens"
        verbose_name = "API token"
        ordering = ["-id"]
        permissions = [("manage_api_tokens", "Can make and revoke API tokens")]
        constraints = [
            models.CheckConstraint(condition=Q(scope__in=[one.value for one in Scope]), name="api_token_scope_known")
        ]

    def __str__(self) -> str:
        return self.name


class ApiFailure(models.Model):
    """How many wrong tokens came from one address since ``began_at``; the row ``all`` counts every address together.

    ``untold`` of them are in no operator event yet; ``told_at`` is when the last such event was written.
    """

    address = models.CharField(max_length=45, primary_key=True)
    began_at = models.DateTimeField()
    failures = models.PositiveIntegerField(default=0)
    untold = models.PositiveIntegerField(default=0)
    told_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "api_failures"
        verbose_name = "API failure"
        ordering = ["address"]

    def __str__(self) -> str:
        return self.address
