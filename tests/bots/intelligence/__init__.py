"""The intelligence layer: quality, regime, score, cost, and what is allowed."""
