"""The registry's pages for people: server-rendered, without a build step, without anything from elsewhere."""

from __future__ import annotations

from api.web.pages import problem_page, router

__all__ = ["problem_page", "router"]
