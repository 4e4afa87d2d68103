"""Carries the work: a cluster that survives being killed, leases with fencing tokens, and tasks with a bounded life."""
