"""How many pictures the review queue keeps of a belt without a trigger: one a part, or not.

    python benchmarks/passages.py
    python benchmarks/passages.py --passes 10
    python benchmarks/passages.py --bars

Eighteen strangers pass three times on the rendered belt, at several rates of looks, moving and
stopping. Says how many of them are in the queue, how many twice, and how many other pictures.
With `--passes` they come again in other poses, and it says how many pictures of each kind are kept
by how like they must be; with `--bars` how many parts are lost and kept twice by that bar, at every
rate from 10 to 1.25 looks a second and from every first look.
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
    passes: Annotated[int, typer.Option(help="Other poses of each; none.")] = 0,
    bars: Annotated[bool, typer.Option(help="Vary how like the same must be.")] = False,
) -> None:
    """Print a table."""
    if passes:
        _poses(seed, most, passes)
    elif bars:
        _bars(seed, most)
    else:
        _belt(seed, most)


def _belt(seed, most):
    looks = _looks(seed, most)
    print("| looks/s | rest s | parts | kept | twice | belt or edge | pictures before |")
    print("|---|---|---|---|---|---|---|")
    for every in (1, 2, 4, 8):
        for rest in (0.0, 4.0, 60.0):
            print(_row(looks[::every], 10.0 / every, rest, most))


BARS = (0.9, 0.87, 0.85, 0.82, 0.8)


def _poses(seed, most, passes):
    """Pictures of every pass, in the middle of the view: how many does the queue keep?"""
    from vision_edge.demo.conveyor import PART_NAMES, Conveyor, ConveyorConfig

    config = ConveyorConfig(seed=seed, speed=8.0, spacing=3.0, empty_rate=0.0, hand_rate=0.0)
    line = Conveyor(config, PART_NAMES[:most], passes=passes)
    seen = [
        (part.label, line[round((config.width / 2 + part.station) / config.speed)][0])
        for part in sorted(line.schedule.parts, key=lambda part: part.station)
    ]
    print("| picture | alike by | kept | kinds | most of one | counted with another kind |")
    print("|---|---|---|---|---|---|")
    for cut in (False, True):
        vectors = _middles([image for _, image in seen], line[0][0], cut)
        for bar in BARS:
            kept, wrong = [], 0
            for (label, _), vector in zip(seen, vectors, strict=True):
                alike = [(float(vector @ other), name) for name, other in kept]
                near = max((one for one in alike if one[0] >= bar), default=None)
                wrong += near is not None and near[1] != label
                kept += [] if near else [(label, vector)]
            kinds = Counter(label for label, _ in kept)
            row = (len(kept), len(kinds), max(kinds.values()), wrong)
            print("|", "cut out" if cut else "view", "|", bar, "|", *(f"{n} |" for n in row))


def _middles(images, empty, cut):
    from vision_edge.runtime.bundles.bundle import load_bundle
    from vision_edge.runtime.bundles.shipped import asset
    from vision_edge.runtime.images.presence import Presence, crop_around, most_prominent
    from vision_edge.runtime.inference.session import open_session
    from vision_edge.runtime.pipeline.frame_views import FrameViews
    from vision_edge.station.core.passages import direction

    session, views = open_session(load_bundle(asset("bundle")), "cpu", threads=1), FrameViews(None)
    height, width = empty.shape[:2]
    view = slice(height // 2 - 180, height // 2 + 180), slice(width // 2 - 210, width // 2 + 210)
    presence, vectors = Presence(empty[view].copy()), []
    for image in images:
        shown = image[view].copy()
        found = most_prominent(presence.find_all(shown)) if cut else None
        shown = shown if found is None else crop_around(shown, found.box)
        [(embedding, _)] = views.embed(session, [views.prepared(shown, session.spec)])
        vectors.append(direction(embedding, session.bundle.centre))
    return vectors


def _bars(seed, most):
    """The queue's rules without its file, so that many runs are quick."""
    from vision_edge.station.core import passages

    looks = _looks(seed, most)
    print("| alike by | looks/s | runs | lost | twice | belt or edge |")
    print("|---|---|---|---|---|---|")
    for passages.SAME in BARS:
        for every in (1, 2, 3, 4, 6, 8):
            runs = [
                _kept(looks[first::every], 10 / every, rest, most)
                for first in range(every)
                for rest in (0.0, 4.0)
            ]
            sums = [sum(column) for column in zip(*runs, strict=True)]
            rate = f"{10 / every:.3g}"
            print("|", passages.SAME, "|", rate, "|", len(runs), "|", *(f"{n} |" for n in sums))


def _kept(looks, fps, rest, most):
    """Return how many parts are lost, how many pictures show one again, and how many others."""
    from vision_edge.station.core.passages import Passages, Remembered

    passages, remembered, kept = Passages(), Remembered(), Counter()

    def take(given):
        for one in given:
            if not one.first:
                remembered.like("cam", one.at, one.vector)
            elif remembered.like("cam", one.at, one.vector, edge=one.is_edge) is None:
                remembered.add("cam", one.at, one.vector, str(kept.total()))
                kept[one.shown] += 1

    for at, (_, vector, parts) in _played(looks, fps, rest, most):
        take(passages.look("cam", at, vector, parts, answer=True))
    take([given for _, given in passages.overdue(float("inf"))])
    single = {parts: times for parts, times in kept.items() if len(parts) == 1}
    times = sum(single.values())
    return most - len(single), times - len(single), sum(kept.values()) - times


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
