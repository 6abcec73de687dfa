"""Where a registry keeps what it knows: the stores behind the Protocols of :mod:`ledger.ports`.

::

    memory    all four in memory: the reference, for tests and stories
    entries   the log's leaves, head and staged tiles in a database
    catalog   the registry's index and what may be erased, in a database
    files     tiles and checkpoint, and blobs, in folders
    s3        the same in buckets of an object store
    places    which of the two, by the settings
    outbox    what is to be brought to an IPFS node, in an SQLite file

    rules     what all of them refuse, in the same words
    tables    the database's tables
    schema    their version, and the migrations from one to another
    engine    opening a database; transactions; its errors as ours
    sqlite    what is particular to SQLite
    postgres  what is particular to PostgreSQL
    locks     what lets at most one process write

Nothing is imported here: ``memory``, ``files``, ``places`` and ``outbox`` need the standard library only, ``s3`` needs
obstore, the rest SQLModel.
"""
