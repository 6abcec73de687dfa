"""Chains and time-stamping services that a log's heads are anchored to."""
