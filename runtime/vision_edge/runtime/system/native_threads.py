"""Threads that may be inside a driver or decoder when the process is to end."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from typing import NoReturn


class NativeThread(threading.Thread):
    """A daemon thread that may be held up in native code, where nothing can end it.

    While one runs, the interpreter's own end takes C++ objects from under it, and the process
    dies of SIGABRT whatever its status was to be: `leave` ends it then.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(**options, daemon=True)  # type: ignore[arg-type]


def leave(status: int) -> NoReturn:
    """End the process with a status; at once, where a native thread still runs.

    Everything that must be finished is closed before this is called.
    """
    if any(isinstance(thread, NativeThread) for thread in threading.enumerate()):
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)
