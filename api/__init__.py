"""The registry over HTTP: one application, composed from settings."""
