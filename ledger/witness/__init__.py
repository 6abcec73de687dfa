"""Witnesses over HTTP (C2SP tlog-witness): those a log asks, and one that cosigns for other logs."""
