"""``python -m ledger.cli``: the command line."""

from ledger.cli import main

raise SystemExit(main())
