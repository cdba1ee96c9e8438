"""Files as somebody hostile makes them, and what bounds the harm that a test of them can do."""

import contextlib
import io
import os
import pickle
import resource
import signal
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

#: Seconds that reading a small file may take, on the slowest machine.
SPARE_SECONDS = 20

#: Memory that reading a small file may take: many times what any reader needs, and less than any bomb asks for.
SPARE_BYTES = 1 << 30


class Call:
    """Pickled, it has whoever reads it without care call a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._reduced = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._reduced


def trap(canary: Path) -> Call:
    """Pickled, it leaves a folder behind at `canary` when it is read without care."""
    return Call(os.mkdir, str(canary))


def saved(content: object, **options: Any) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def pickle_in(data: bytes) -> bytes:
    """The pickle in a file of torch.save."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))


def rezipped(
    data: bytes,
    changes: Mapping[str, bytes | None] | None = None,
    compression: int = zipfile.ZIP_STORED,
    extra: tuple[tuple[str, bytes], ...] = (),
) -> bytes:
    """A file of torch.save with other records, each known by the end of its name; None leaves it out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w", compression) as target:
        for name in source.namelist():
            changed = next(
                (content for end, content in (changes or {}).items() if name.endswith(end)), source.read(name)
            )
            if changed is not None:
                target.writestr(name, changed)
        for name, content in extra:
            target.writestr(name, content)
    return buffer.getvalue()


def with_pickle_of(data: bytes, content: object) -> bytes:
    """A file of torch.save with the pickle of something else in place of its own."""
    return rezipped(data, {"data.pkl": pickle.dumps(content, protocol=2)})


@contextlib.contextmanager
def bounded_memory(spare: int = SPARE_BYTES) -> Iterator[None]:
    """Lets this process take only so much more memory than it has now; the kernel refuses it the rest."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def bounded_time() -> Iterator[None]:
    """Ends what takes for ever."""

    def end(number: int, frame: object) -> None:
        raise TimeoutError("it has no end")

    handler = signal.signal(signal.SIGALRM, end)
    signal.alarm(SPARE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
