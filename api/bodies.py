"""Bodies of writes, read at their senders' pace before anything waits for them.

Up to ``MEMORY_BYTES`` of a body are in memory; a longer one goes to a file in the data folder that has no name there:
nothing is left of it once it is closed, or the process is killed.  Such files are few: who would have one more than an
address may have, or than there may be in all, is told to come again (429).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

import anyio
from anyio.to_thread import run_sync
from fastapi import Request

from api.problems import RETRY_SECONDS, ProblemError, too_many
from ledger.store.files import disk_errors

MEMORY_BYTES: Final = 1 << 20
MAX_FILES: Final = 32
MAX_FILES_OF_ADDRESS: Final = 4
DISK_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class Body:
    """A body that has come: it is in `memory`, or all of it in `file`."""

    memory: bytes
    file: IO[bytes] | None

    @property
    def is_big(self) -> bool:
        """Whether it has more than ``MEMORY_BYTES``."""
        return self.file is not None

    def read(self) -> bytes:
        """Returns all of it. Raises BackendError."""
        if self.file is None:
            return self.memory
        with disk_errors("body"):
            self.file.seek(0)
            return self.file.read()


class Bodies:
    """Reads bodies; their files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: Counter[str] = Counter()
        self._disk = anyio.CapacityLimiter(DISK_THREADS)

    @asynccontextmanager
    async def of(self, request: Request, address: str) -> AsyncIterator[Body]:
        """Reads the whole body of a request from `address`; its file, if it has one, is gone at the end of the block.

        Raises:
            ProblemError: 429: too many bodies have files already.
            BackendError: the file cannot be written.
        """
        with ExitStack() as stack:
            memory, file = bytearray(), None
            async for part in request.stream():
                memory += part
                if len(memory) > MEMORY_BYTES:
                    if file is None:
                        stack.enter_context(self._counted(address))
                        file = stack.enter_context(await run_sync(self._open, limiter=self._disk))
                    await run_sync(_write, file, memory, limiter=self._disk)
            if file is not None:
                await run_sync(_write, file, memory, limiter=self._disk)
            yield Body(bytes(memory), file)

    @contextmanager
    def _counted(self, address: str) -> Iterator[None]:
        if self._files[address] >= MAX_FILES_OF_ADDRESS:
            raise ProblemError(too_many("too many big bodies come from this address", RETRY_SECONDS, closes=True))
        if self._files.total() >= MAX_FILES:
            raise ProblemError(too_many("too many big bodies are on their way", RETRY_SECONDS, closes=True))
        self._files[address] += 1
        try:
            yield
        finally:
            self._files[address] -= 1
            if not self._files[address]:
                del self._files[address]

    def _open(self) -> IO[bytes]:
        with disk_errors("body"):
            return TemporaryFile(dir=self._folder, buffering=0)


def _write(file: IO[bytes], memory: bytearray) -> None:
    """Moves what is in memory to the end of the file."""
    with disk_errors("body"):
        while memory:
            del memory[: file.write(memory)]
