"""Reconciliation: our books against what the venue says, account by account. DESIGN: order states; docs/adr/0011.

``compare`` and ``balances`` are pure: plain values in, findings out. ``facts`` reads our side, ``engine`` asks the venue and
carries out what was found, ``movements`` and ``differences`` write. Nothing here sends an order or a cancel.
"""
