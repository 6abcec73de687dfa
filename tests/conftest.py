"""Settings of all tests: no outside configuration leaks in, and properties are drawn the same way every time in CI."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator

import hypothesis
import pytest

from tests.support import ROOT
from tests.support.objects import ObjectStore, object_store
from tests.support.postgres import Cluster, cluster

# No deadline: a slow moment of a shared machine is no failure.  In CI the examples are the same on every run, so that a
# red run can be repeated; on a developer's machine they are new each time and failures are kept.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

# A shell that runs something in the background lets it ignore Ctrl-C, and what it starts inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Marks everything below tests/e2e as ``e2e``."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "e2e"):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes what the developer's shell says to Trainmark, and of object stores."""
    for name in [name for name in os.environ if name.startswith(("TRAINMARK_", "AWS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL that all tests share; each takes a database of its own (``new_database``)."""
    with cluster() as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An S3 service that all tests share; each takes a bucket of its own (``new_bucket``)."""
    with object_store(tmp_path_factory.mktemp("s3") / "output") as store:
        yield store
