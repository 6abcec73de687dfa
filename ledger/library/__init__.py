"""A creator's side: a folder of pictures becomes tagged copies and a signed manifest.

Before it: ``creator`` keeps the public profile and the keys, ``licenses`` makes terms and the words people read.
The way of the data: ``source`` walks the folder; ``tagging`` prepares one file, ``copies`` all of them; ``heading``
makes the header and its statements; ``build`` puts them together.  The folder that comes out: ``staging`` gives it
its place, ``output`` names and fills it, ``verified`` checks it.  Under them: ``journal`` remembers between
runs, ``progress`` counts steps.
"""
