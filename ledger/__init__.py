"""Trainmark's core: manifests, log, proofs, tokens; importing it needs no network, database or web library."""
