"""The routes, by what they are about: access, log, resolving, publishing, reading, tokens."""
