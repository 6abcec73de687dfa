"""The independent auditor: reads a whole log, believes nothing, and remembers what it was shown.

::

    frontier    the right edge of a tree that grows tile by tile; which hash tiles there have to be
    bundles     reading entry bundles on several processors: form, hashes and signatures
    folder      what an auditor keeps: its own copy of the log, and how far it has come
    wording     what a leaf says, in words
    watching    what happened to keys, manifests and leaves that somebody watches
    auditor     the audit itself, in numbered steps
    asking      what is asked of a registry's API, and where that says something else than the leaves
    answers     which of these differences count, though the log goes on growing

It has no code in common with what writes a log but the pure core: neither ``ledger.registry`` nor ``ledger.store`` nor
``ledger.sequencer`` is imported, not even by what it imports; pyproject.toml says so to the linter of imports.
"""
