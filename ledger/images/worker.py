"""The process that decodes strangers' pictures, and its keeper.

One process lives for many files.  It limits itself: 1.5 GiB of address space, no files written, few
descriptors, and for each file 10 seconds of processor time; the keeper adds 30 seconds on the clock.  A file that
kills the process costs that process and nothing else: the next file gets a new one.  It gets no environment
but its path, so no secret of its parent.

Frames: length u32be ‖ bytes; a request is the file, an answer the JSON of ``Fingerprints``.  End of input ends it.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO

import ledger
from ledger.errors import BackendError
from ledger.images.fingerprints import MAX_BYTES, Fingerprints, compute

MEMORY = 3 << 29
CPU_SECONDS = 10
WALL_SECONDS = 30.0
DESCRIPTORS = 32


class Worker:
    """Keeps one decoding process; safe to share between threads, which then wait for each other."""

    def __init__(self, *, cpu_seconds: int = CPU_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self._cpu_seconds = cpu_seconds
        self._wall_seconds = wall_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process; the next file starts a new one."""
        with self._lock:
            self._end()

    def examine(self, data: bytes) -> Fingerprints:
        """Returns the codes of a picture file, or the reason why it has none.

        Raises:
            BackendError: the process cannot be started.
        """
        if len(data) > MAX_BYTES:
            return Fingerprints(reason="too-large")
        with self._lock:
            process = self._running()
            expired = threading.Event()

            def expire() -> None:
                expired.set()
                process.kill()

            timer = threading.Timer(self._wall_seconds, expire)
            timer.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                _write_frame(process.stdin, data)
                answer = _read_frame(process.stdout)
            except OSError:
                answer = None
            finally:
                timer.cancel()
            if answer is not None:
                return Fingerprints(**json.loads(answer))
            self._end()
            if expired.is_set():
                return Fingerprints(reason="time-limit")
            return Fingerprints(reason="cpu-limit" if process.returncode == -signal.SIGXCPU else "crashed")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        root = str(Path(ledger.__file__).parent.parent)
        command = [sys.executable, "-P", "-m", "ledger.images.worker", str(self._cpu_seconds)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": root, "OPENBLAS_NUM_THREADS": "1"},
            )
            assert self._process.stdout is not None
            ready = _read_frame(self._process.stdout)
        except OSError as e:
            raise BackendError("the decoding process does not start", field="worker") from e
        if ready != b"ready":
            self._end()
            raise BackendError("the decoding process ends before its first picture", field="worker")
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was still to be written goes nowhere
        process.wait()


_shared: dict[int, Worker] = {}  # by process id: a fork must not use its parent's pipes


def shared_worker() -> Worker:
    """Returns the one worker of this process, which ends with it."""
    worker = _shared.get(os.getpid())
    if worker is None:
        worker = _shared.setdefault(os.getpid(), Worker())
        atexit.register(worker.close)
    return worker


def serve(source: BinaryIO, target: BinaryIO, cpu_seconds: int) -> None:
    """Answers requests until `source` ends."""
    _limit()
    _write_frame(target, b"ready")
    while (data := _read_frame(source)) is not None:
        _allow(cpu_seconds)
        try:
            found = compute(data)
        except MemoryError:
            found = Fingerprints(reason="memory-limit")
        except Exception:  # outermost border of this process: decoders raise whatever they like
            found = Fingerprints(reason="damaged")
        _write_frame(target, json.dumps(asdict(found)).encode())


def _limit() -> None:
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the keeper, which ends this process
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def _allow(seconds: int) -> None:
    """Sets the end of the processor time to `seconds` from what is used up: the limit counts the whole life."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (used + 1 + seconds, resource.RLIM_INFINITY))


def _write_frame(target: IO[bytes], data: bytes) -> None:
    target.write(struct.pack(">I", len(data)))
    target.write(data)
    target.flush()


def _read_frame(source: IO[bytes]) -> bytes | None:
    head = source.read(4)
    if len(head) < 4:
        return None
    size = struct.unpack(">I", head)[0]
    data = source.read(size)
    return data if len(data) == size else None


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]))
