"""Where a command writes: also to a reader that ends early, such as `head`, and to a stream that is closed.

A command goes on then and its exit code stands: a gate that is slower is no pass because its sentence had no reader.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


class _WithoutReader(io.RawIOBase):
    """Writes to a file descriptor, and drops what comes after its reader has ended."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def fileno(self) -> int:
        """Return the descriptor, by which a terminal is known."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: Any, /) -> int:
        """Write what the descriptor takes."""
        try:
            return os.write(self._descriptor, data)
        except BrokenPipeError:
            return len(data)


@contextlib.contextmanager
def tolerant_streams() -> Iterator[None]:
    """Replace standard output and standard error for as long as a command runs."""
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as opened:
        sys.stdout, sys.stderr = (_tolerant(stream, opened) for stream in before)
        try:
            yield
        finally:
            # A log handler may keep a stream, so it is not closed here. A full disk was told by the command itself.
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            sys.stdout, sys.stderr = before


def _tolerant(stream: TextIO | None, opened: contextlib.ExitStack) -> TextIO:
    if stream is None:
        # Closed by the caller (`>&-`).
        return opened.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    # A trace may hold half a character; a terminal that cannot show one is no reason to stop.
    stream.reconfigure(errors="backslashreplace")
    # Without a buffer where Python is run with `-u` or PYTHONUNBUFFERED.
    unbuffered = isinstance(stream.buffer, io.FileIO)
    if not unbuffered and not isinstance(getattr(stream.buffer, "raw", None), io.FileIO):
        return stream
    stream.flush()
    buffered = io.BufferedWriter(_WithoutReader(stream.fileno()))
    by_line = unbuffered or stream.line_buffering
    return io.TextIOWrapper(buffered, encoding=stream.encoding, errors="backslashreplace", line_buffering=by_line)
