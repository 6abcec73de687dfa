"""A creator's side: a folder of pictures becomes tagged copies and a signed manifest.

``creator`` keeps the public profile and the keys; ``licenses`` makes terms and the words people read;
``source`` walks the folder; ``tagging`` prepares one file; ``output`` writes, checks and refreshes the
folder that comes out; ``build`` puts them together.
"""
