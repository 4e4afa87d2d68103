"""An honest check of what the intelligence layer is worth: its scores, regimes and takings against what the market then did."""
