"""The readiness checks of this room; settings.READINESS_MODULES names their modules."""
