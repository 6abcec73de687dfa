"""The numbers of a registry: what they say while it publishes, anchors, asks a witness and stops; where they are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ledger.client import RegistryClient
from ledger.errors import BackendError, ConflictError
from tests.support.library import make_library, signing_key
from tests.support.process import START_SECONDS, ServerProcess, free_port
from tests.support.server import Server, running_server
from tests.support.witness import running_witness

WAIT = 20.0
Numbers = dict[str, float]


def parsed(text: str) -> Numbers:
    """Returns each sample, under its name with its labels in the order of the alphabet."""
    return {
        f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def numbers(server: Server) -> Numbers:
    return parsed(generate_latest(server.app.state.metrics.registry).decode())


def wait_for(server: Server, condition: Callable[[Numbers], bool]) -> Numbers:
    """Returns the numbers as soon as they meet a condition."""
    deadline = time.monotonic() + WAIT
    while not condition(found := numbers(server)):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def publish(server: Server, title: str) -> None:
    key = signing_key("ada")
    with RegistryClient(server.url, sleep=lambda _: None) as client:
        client.authenticate(key, key.did, ("publish",))
        library = make_library(key, client.policy().origin, title=title)
        client.publish(library.manifest, library.terms, library.text)


def test_what_the_numbers_say(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:  # the first start makes the key that witnesses need to know
        vkey = server.registry.log.vkey
    began = time.time()
    with ExitStack() as stack:
        witness = stack.enter_context(running_witness(tmp_path / "witness", [vkey]))
        (tmp_path / "witnesses").write_text(f"witness w1 {witness.witness.vkey} {witness.url}\nquorum w1\n")
        port = server.settings.port
        settings = {"witnesses": tmp_path / "witnesses", "witness_seconds": 0.5, "port": port}
        with running_server(tmp_path / "data", **settings) as server:
            before = numbers(server)
            publish(server, "One")  # two leaves: the manifest, and the review by rule
            found = wait_for(server, lambda n: n["trainmark_anchored_leaves{state=final}"] == 3)
            assert before["trainmark_log_leaves{}"] == 1
            assert (found["trainmark_log_leaves{}"], found["trainmark_pool_statements{}"]) == (3, 0)
            assert found["trainmark_batch_leaves_sum{}"] == 2
            assert found["trainmark_batch_leaves_count{}"] == found["trainmark_batch_seconds_count{}"] == 2
            assert found["trainmark_requests_total{method=POST,route=/v1/manifests,status=201}"] == 1
            assert found["trainmark_request_seconds_count{route=/v1/manifests}"] == 1
            assert found["trainmark_log_broken{code=log-stopped}"] == found["trainmark_log_broken{code=quorum}"] == 0
            assert found["trainmark_anchors_open{state=pending}"] == found["trainmark_anchoring_failing{}"] == 0
            assert found["trainmark_witness_failing{witness=w1}"] == 0
            assert found["trainmark_witness_contradicting{witness=w1}"] == 0
            assert found["trainmark_witness_leaves{witness=w1}"] == 3
            for name in ("checkpoint_timestamp_seconds{}", "witness_timestamp_seconds{witness=w1}"):
                assert began <= found[f"trainmark_{name}"] <= time.time()
            assert found["trainmark_anchor_timestamp_seconds{}"] >= int(began)
            assert found["process_resident_memory_bytes{}"] > 0

            # Paths that there are not, and methods, are one label whatever strangers ask for.
            for n, method in enumerate(("PROPFIND", "MKCOL", "LOCK", "SEARCH")):  # that servers let through
                httpx.request(method, f"{server.url}/x{n}")
            others = "trainmark_requests_total{method=other,route=none,status=404}"
            found = wait_for(server, lambda n: n.get(others) == 4)  # counted after it is answered
            assert not any("MKCOL" in name or "/x" in name for name in found)

            # The witness goes: the log waits for it, and says so.
            stack.close()
            with pytest.raises(BackendError, match="quorum"):
                publish(server, "Two")
            found = numbers(server)
            ready = httpx.get(f"{server.url}/readyz")
            assert (ready.status_code, ready.json()["code"]) == (503, "quorum")
            assert (found["trainmark_log_broken{code=quorum}"], found["trainmark_log_leaves{}"]) == (1, 3)
            assert (found["trainmark_witness_failing{witness=w1}"], found["trainmark_witness_leaves{witness=w1}"]) == (
                1,
                3,
            )


def test_a_log_that_stopped(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        server.registry.log.stop(ConflictError("the chain holds another history", code="log-disagreement"))
        found = numbers(server)
    assert (found["trainmark_log_broken{code=log-stopped}"], found["trainmark_log_broken{code=quorum}"]) == (1, 0)


def test_metrics_have_a_port_of_their_own(tmp_path: Path) -> None:
    port = free_port()
    waiting = ServerProcess(tmp_path / "data", {"TRAINMARK_METRICS_PORT": str(port), "TRAINMARK_STANDBY": "true"})

    def wait_until(condition: Callable[[Numbers], bool]) -> Numbers:
        deadline, found = time.monotonic() + START_SECONDS, Numbers()
        while not condition(found):
            assert time.monotonic() < deadline, waiting.output.read_text()
            time.sleep(0.05)
            with contextlib.suppress(httpx.TransportError):
                found = parsed(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        return found

    try:
        with running_server(tmp_path / "data") as writing:
            assert httpx.get(f"{writing.url}/metrics").status_code == 404
            waiting.spawn()
            found = wait_until(lambda n: n.get("trainmark_standby{}") == 1)
            assert "trainmark_log_leaves{}" not in found  # it knows nothing of a log that another process writes
        found = wait_until(lambda n: "trainmark_log_leaves{}" in n)
        assert (found["trainmark_log_leaves{}"], found["trainmark_standby{}"]) == (2, 0)  # its own port is a new issuer
    finally:
        waiting.stop()
    assert waiting.output.read_text().endswith("the registry has ended\n")
