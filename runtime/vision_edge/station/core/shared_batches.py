"""What several cameras ask for at once, embedded in one inference.

On a GPU sixteen pictures take hardly longer than one. Nobody waits for company: whoever finds the
session free runs at once, and what comes in meanwhile is the next batch.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image, Patches

MOST = 32
"""Pictures in one inference, unless one caller alone asks for more."""
Both = tuple[Embeddings, Patches | None]


class _Request:
    """What one caller wants, and what became of it."""

    def __init__(self, images: Image) -> None:
        self.images = images
        self.result: Both | None = None
        self.error: BaseException | None = None
        self.turn = threading.Lock()  # released when it is answered, or is to run the next batch
        self.turn.acquire()

    @property
    def answered(self) -> bool:
        return self.result is not None or self.error is not None

    def answer(self) -> Both:
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


class SharedBatches:
    """Runs what threads ask for in batches, those first that asked first.

    Args:
        embed: Embeds uint8 (N, S, S, 3) as float32 (N, D) and patches (N, T, D) or None; called by
            one thread at a time.
        rounded: Whether batches are filled up to powers of two, up to `MOST`: for a session that
            prepares itself for each size.
    """

    def __init__(self, embed: Callable[[Image], Both], *, rounded: bool = False) -> None:
        self._embed, self._rounded = embed, rounded
        self._guard = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._running = False

    def run(self, images: Image) -> Both:
        """Embed prepared images, alone or together with those of others.

        Args:
            images: uint8 (N, S, S, 3), BGR; N at least 1.

        Returns:
            float32 (N, D), and float32 (N, T, D) or None.

        Raises:
            Exception: What `embed` raises for these images. Others' failures are theirs alone.
        """
        request = _Request(images)
        with self._guard:
            self._waiting.append(request)
            leads = not self._running
            self._running = True
        if not leads:
            request.turn.acquire()
        if not request.answered:
            self._lead()
        return request.answer()

    def _lead(self) -> None:
        """Run the batch that begins with one's own request, and let the next leader begin."""
        with self._guard:
            group = self._next_group()
        try:
            self._answer(group)
        finally:
            with self._guard:
                if self._waiting:
                    self._waiting[0].turn.release()
                else:
                    self._running = False
            for request in group[1:]:
                request.turn.release()

    def _next_group(self) -> list[_Request]:
        group = [self._waiting.popleft()]
        count = len(group[0].images)
        while self._waiting and count + len(self._waiting[0].images) <= MOST:
            group.append(self._waiting.popleft())
            count += len(group[-1].images)
        return group

    def _answer(self, group: list[_Request]) -> None:
        """Fill in each request's result, or its error."""
        try:
            embeddings, patches = self._embed(self._filled([request.images for request in group]))
        except BaseException as error:
            self._failed(group, error)
            return
        start = 0
        for request in group:
            end = start + len(request.images)
            rows = None if patches is None else patches[start:end]
            request.result = (embeddings[start:end], rows)
            start = end

    def _failed(self, group: list[_Request], error: BaseException) -> None:
        """Try each of several alone: what is wrong with one camera's picture is its own fault."""
        alone = len(group) == 1 or not isinstance(error, Exception)
        for request in group:
            if alone:
                request.error = error
            else:
                self._answer([request])

    def _filled(self, parts: list[Image]) -> Image:
        count = sum(map(len, parts))
        if self._rounded and count < MOST:
            missing = (1 << (count - 1).bit_length()) - count
            parts = [*parts, np.repeat(parts[-1][-1:], missing, axis=0)] if missing else parts
        return np.concatenate(parts) if len(parts) > 1 else parts[0]
