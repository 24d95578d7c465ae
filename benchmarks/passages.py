"""How many pictures the review queue keeps of a belt without a trigger: one a part, or not.

    python benchmarks/passages.py

Eighteen strangers pass three times on the rendered belt, at several rates of looks, moving and
stopping. Says how many of them are in the queue, how many twice, and how many other pictures.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer


def main(
    seed: Annotated[int, typer.Option(help="Of the belt.")] = 3,
    most: Annotated[int, typer.Option(help="Kinds of parts.")] = 18,
) -> None:
    """Print a table."""
    looks = _looks(seed, most)
    print("| looks/s | rest s | parts | kept | twice | belt or edge | pictures before |")
    print("|---|---|---|---|---|---|---|")
    for every in (1, 2, 4, 8):
        for rest in (0.0, 4.0, 60.0):
            print(_row(looks[::every], 10.0 / every, rest, most))


def _looks(seed, most):
    from vision_edge.demo.conveyor import PART_NAMES, Conveyor, ConveyorConfig
    from vision_edge.runtime.bundles.bundle import load_bundle
    from vision_edge.runtime.bundles.shipped import asset
    from vision_edge.runtime.inference.session import open_session
    from vision_edge.runtime.pipeline.frame_views import FrameViews
    from vision_edge.station.core.passages import direction

    session, views = open_session(load_bundle(asset("bundle")), "cpu", threads=1), FrameViews(None)
    config = ConveyorConfig(seed=seed, speed=8.0, spacing=3.0, empty_rate=0.0, hand_rate=0.0)
    line = Conveyor(config, PART_NAMES[:most], passes=1)
    found = []
    for number in range(0, len(line), 3):
        image, truth = line[number]
        [(embedding, _)] = views.embed(session, [views.prepared(image, session.spec)])
        seen = tuple(part.instance for part in truth.parts if part.visible_fraction >= 0.5)
        found.append((image, direction(embedding, session.bundle.centre), seen))
    return found


def _row(looks, fps, rest, most):
    from vision_edge.runtime.sources.frame import Frame
    from vision_edge.station.core.review_queue import ReviewQueue
    from vision_edge.station.settings.station import ReviewSettings

    seen = {}
    with tempfile.TemporaryDirectory() as folder:
        queue = ReviewQueue(Path(folder) / "r.db", ReviewSettings(per_minute=600), lambda _: None)
        for number, (at, (image, vector, parts)) in enumerate(_played(looks, fps, rest, most)):
            record = {
                "id": f"{number:024x}", "time": "t", "source_name": "cam", "nearest": "",
                "score": 0, "margin": None, "band": "unknown", "known": False,
            }  # fmt: skip
            seen[record["id"]] = parts
            queue.offer(Frame(image, "cam", number, at), record, None, vector)
            queue.flush()
        queue.close()
        again = ReviewQueue(Path(folder) / "r.db", ReviewSettings(), lambda _: None)
        kept = Counter(seen[item["id"]] for item in again.items(10_000))
        again.close()
    parts = {key: times for key, times in kept.items() if len(key) == 1}
    twice = sum(parts.values()) - len(parts)
    others = sum(kept.values()) - sum(parts.values())
    return f"| {fps:g} | {rest:g} | {most} | {len(parts)} | {twice} | {others} | {len(seen)} |"


def _played(looks, fps, rest, most) -> Iterator:
    stops = set()
    for part in range(most):
        places = [k for k, look in enumerate(looks) if look[2] == (part,)]
        if places:
            stops.add(places[len(places) // 2])
    at = 0.0
    for _ in range(3):
        for number, look in enumerate(looks):
            for _ in range(max(1, round(rest * fps)) if number in stops else 1):
                yield at, look
                at += 1 / fps


if __name__ == "__main__":
    typer.run(main)
