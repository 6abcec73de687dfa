"""The independent auditor: reads a whole log, believes nothing, and remembers what it was shown.

::

    frontier    the right edge of a tree that grows tile by tile; which hash tiles there have to be
    bundles     reading entry bundles on several processors: form, hashes and signatures
    folder      what an auditor keeps: its own copy of the log, and how far it has come
    wording     what a leaf says, in words
    watching    what happened to keys, manifests and leaves that somebody watches
    auditor     the audit itself, in numbered steps
    answers     what a registry's API says, compared with the leaves

It has no code in common with what writes a log but the pure core: neither ``ledger.registry`` nor ``ledger.store`` nor
``ledger.sequencer`` is imported, not even by what it imports; pyproject.toml says so to the linter of imports.
"""
