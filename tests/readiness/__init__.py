"""Tests of the readiness checks, the runs and the command."""
