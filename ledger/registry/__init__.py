"""What a registry does, over ports: log, payloads, review by rule, proofs, anchoring, tokens."""
