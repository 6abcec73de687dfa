"""What tests share and no test is: the checkout's places."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

VECTORS = ROOT / "tests" / "vectors"
"""Known answers and test data."""
