"""Files that nobody has business with, watched by the system: is one of them opened?"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from pathlib import Path

NAMES = ("secret", "secret.bin", "weights.bin", "passwd")
_IN_OPEN = 0x20
_EVENT = struct.Struct("iIII")


class Canaries:
    """Lays files called like what hostile bundles and archives name, and notes who opens one.

    By `inotify(7)`, which tells every opening by any process.

    Args:
        folders: Where they lie.

    Attributes:
        opened: The names of those that were opened.
    """

    def __init__(self, *folders: Path) -> None:
        self.opened: list[str] = []
        self._paths = [folder / name for folder in folders for name in NAMES]

    def __enter__(self) -> Canaries:
        library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = library.inotify_init1(os.O_CLOEXEC)
        self._watched: dict[int, str] = {}
        for path in self._paths:
            path.write_bytes(b"canary")
            number = library.inotify_add_watch(self._descriptor, os.fsencode(path), _IN_OPEN)
            if number < 0:
                raise OSError(ctypes.get_errno(), "inotify cannot watch")
            self._watched[number] = str(path)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def settle(self) -> None:
        """Wait until what was opened by now is noted."""
        time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self.settle()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _read(self) -> None:
        while True:
            data, at = os.read(self._descriptor, 65536), 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size + length
                if mask & _IN_OPEN and number in self._watched:
                    self.opened.append(self._watched[number])
