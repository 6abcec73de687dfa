"""What is measured of a running registry, for Prometheus: each application has its own numbers, none are the process's.

Labels have few values: a path is the template of its route, a witness one that the operator named.  What the registry
knows anyway is read when somebody asks.  Times are Unix timestamps, from which an age follows.  They are served from a
port of their own, which is nobody else's business: on loopback, unless the settings name another address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.observing import Served
from ledger.encoding import sha256
from ledger.errors import BackendError, TrainmarkError
from ledger.receipt import verify_record
from ledger.registry.anchoring import MINED_STATES, OPEN_STATES, read_record
from ledger.registry.log import MAX_BATCH, Batch
from ledger.witness.cosigners import HttpCosigners

if TYPE_CHECKING:
    from api.composition import Running

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LEAVES: Final = (1, 4, 16, 64, 256, MAX_BATCH)
BROKEN: Final = ("log-stopped", "quorum")
ANCHORS_READ: Final = 20


class Metrics:
    """The numbers of one application."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "trainmark_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._request_seconds = Histogram(
            "trainmark_request_seconds",
            "How long it took until all of an answer was sent.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self._batch_leaves = Histogram(
            "trainmark_batch_leaves", "New leaves in a batch.", buckets=LEAVES, registry=registry
        )
        self._batch_seconds = Histogram(
            "trainmark_batch_seconds",
            "How long a batch took to be published, its witnesses included.",
            buckets=SECONDS,
            registry=registry,
        )
        self._checkpoint = Gauge(
            "trainmark_checkpoint_timestamp_seconds", "When a checkpoint was published last.", registry=registry
        )
        self._standby = Gauge("trainmark_standby", "1 while another process writes the log.", registry=registry)

    def request(self, served: Served) -> None:
        """Counts a request."""
        self._requests.labels(served.method, served.route, served.status).inc()
        self._request_seconds.labels(served.route).observe(served.seconds)

    def published(self, batch: Batch) -> None:
        """Counts a batch."""
        self._batch_leaves.observe(batch.leaves)
        self._batch_seconds.observe(batch.seconds)
        self._checkpoint.set_to_current_time()

    def standing_by(self) -> AbstractContextManager[object]:
        """Says in the block that another process writes the log."""
        return self._standby.track_inprogress()

    @contextmanager
    def watching(self, running: Running) -> Iterator[None]:
        """Measures an open registry until the block ends."""
        state = _State(running)
        if running.writing is not None:
            log = running.writing.registry.log
            if log.broken is None:
                self._checkpoint.set_to_current_time()  # opening a log publishes its head
            log.observer = self.published
        self.registry.register(state)
        try:
            yield
        finally:
            self.registry.unregister(state)


@contextmanager
def exposed(metrics: Metrics, host: str, port: int | None) -> Iterator[None]:
    """Serves the numbers at ``/metrics`` of that port until the block ends, if there is one.

    Raises:
        BackendError: ``cannot-listen``: it is in use, or not this machine's.
    """
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as e:
        raise BackendError(
            f"cannot listen on port {port} of {host}: {str(e.strerror).lower()}",
            code="cannot-listen",
            field="TRAINMARK_METRICS_PORT",
        ) from e
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _State(Collector):
    """What an open registry says of itself at the moment."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def collect(self) -> Iterator[Metric]:
        log, writing = self._running.registry.log, self._running.writing
        broken, failing = log.broken, self._running.beside.trouble is not None
        yield _gauge("trainmark_log_leaves", "Leaves under the published checkpoint.", log.head.size)
        yield _gauges(
            "trainmark_log_broken",
            "1 for why the log takes nothing: for good, or until the witnesses answer.",
            "code",
            {code: broken is not None and broken.code == code for code in BROKEN},
        )
        yield from self._anchors()
        if writing is None:
            yield _gauge("trainmark_following_failing", "1 while what is published cannot be followed.", failing)
            return
        yield _gauge("trainmark_anchoring_failing", "1 while something is wrong with anchoring.", failing)
        waiting = writing.registry.log.waiting
        yield _gauge("trainmark_pool_statements", "Statements that wait for the next batch.", waiting)
        if writing.cosigners is not None:
            yield from _witnesses(writing.cosigners)

    def _anchors(self) -> Iterator[Metric]:
        origin = sha256(self._running.registry.log.origin.encode())
        try:
            rows = self._running.registry.catalog.anchors(None, ANCHORS_READ)
            newest = next((row.record for row in rows if row.record is not None), None)
            time = None if newest is None else verify_record(read_record(newest), origin).block_time
        except TrainmarkError:
            return  # the others are known without a database
        sizes = {state: max((r.size for r in rows if r.state == state), default=0) for state in MINED_STATES}
        waiting = {state: sum(r.state == state for r in rows) for state in OPEN_STATES}
        yield _gauges("trainmark_anchored_leaves", "Leaves under the newest anchor in that state.", "state", sizes)
        yield _gauges("trainmark_anchors_open", "Newest anchors that are not final yet, by state.", "state", waiting)
        if time is not None:
            yield _gauge("trainmark_anchor_timestamp_seconds", "The time of the newest anchor's block.", time)


def _witnesses(cosigners: HttpCosigners) -> Iterator[Metric]:
    states = cosigners.states()
    for name, text, values in (
        ("failing", "1 if it did not cosign when it was asked last.", {n: s.failing for n, s in states.items()}),
        ("contradicting", "1 while it contradicts the log.", {n: s.contradicting for n, s in states.items()}),
        ("leaves", "Leaves it cosigned last.", {n: s.size for n, s in states.items()}),
        ("timestamp_seconds", "When it cosigned last, 0 before.", {n: s.answered_at for n, s in states.items()}),
    ):
        yield _gauges(f"trainmark_witness_{name}", text, "witness", values)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
