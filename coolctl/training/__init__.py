"""Making of the shipped policy (extra `train`); never imported by the daemon."""
