"""Ledger and closed-loop comparison: what was saved, at equal service."""
