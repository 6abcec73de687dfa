"""A second pair of eyes: verifies what Trainmark writes, from the public specifications only.

Written from docs/format.md and the standards that it names, with the standard library, one Ed25519 and one Keccak; it
shares no line with the packages it checks and imports none of them (``test_reference.py`` holds that).  Simple and slow
is right here: trees are built by the recursive definitions of the RFCs, files are read whole.

Each module raises ``RefutedError`` with the code of the step that refuses (docs/format.md, section 6) and returns
plain values.  It makes nothing that is signed, opens no connection and knows no clock.

    refuted     the one error
    jcs         canonical JSON (RFC 8785 in the profile of section 0), digests, base64url
    ed25519     the strict check of signatures, did:key
    merkle      RFC 9162 trees, from their recursive definitions
    note        signed notes, verifier keys, checkpoints, policies with witnesses (C2SP)
    tiles       a whole log from a folder of tiles (C2SP tlog-tiles)
    documents   header, entry, manifest file, attribution file, license terms
    statement   statements, the keys of a party, void leaves
    receipt     RLP, receipt tries and the event of an anchor (Ethereum)
    snapshot    rows, buckets, proofs of presence and absence
    bundle      trust files and proof bundles: the twelve steps
    fork        evidence that a log signed two histories
    token       SD-JWT attribution tokens, status lists, token bundles
"""
