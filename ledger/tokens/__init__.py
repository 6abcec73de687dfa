"""Attribution tokens, their status lists and their bundles (docs/format.md, section 6)."""
