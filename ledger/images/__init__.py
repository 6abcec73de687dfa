"""Pictures: what a file shows, what it says about rights, and what it looks like.

``content`` hashes the picture data and names the media type; ``embed`` writes rights into a file
without touching the picture; ``private`` takes location, serial numbers and owner names out;
``fingerprints`` computes codes that survive re-encoding, in a limited process (``worker``).
``jpeg``, ``png``, ``webp`` and ``tiff`` walk the files (one walker per format, used by all of
these); ``xmp``, ``exif`` and ``iim`` read the three kinds of metadata.

This package imports nothing by itself, so that ``ledger.images.content`` costs nothing.
"""
