"""How long the command line takes to start, and to verify a proof: processes of their own, median of several.

``verify`` checks a bundle that is among the test data, with its trust file; the yardstick is Python itself.

    python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

RUNS = 9
VECTOR = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "proof"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import cryptography's Ed25519": ["-c", "import cryptography.hazmat.primitives.asymmetric.ed25519"],
    "trainmark --version": ["-m", "ledger.cli", "--version"],
    "trainmark verify": [
        "-m",
        "ledger.cli",
        "verify",
        str(VECTOR / "anchored" / "bundle.proof.json"),
        "--trust",
        str(VECTOR / "trust.json"),
        "--json",
    ],
}


def main() -> None:
    """Prints the table."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, arguments in COMMANDS.items():
            start = perf_counter()
            done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
            times[name].append(perf_counter() - start)
            if done.returncode:
                raise SystemExit(f"{name}: {done.returncode}\n{done.stdout}{done.stderr}")
    print(f"milliseconds, median and best of {RUNS}")
    for name, own in times.items():
        print(f"  {name:32}{median(own) * 1000:7.0f}{min(own) * 1000:7.0f}")


if __name__ == "__main__":
    main()
