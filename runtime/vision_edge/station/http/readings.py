"""What a station counts itself, read when somebody asks for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vision_edge.station.core.metrics import MAX_LABELS

if TYPE_CHECKING:
    from vision_edge.station.core.station import Station


class StationReadings(Collector):
    """What a station counts itself."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._labels: set[str] = set()

    def collect(self) -> Iterable[Metric]:
        """Read it."""
        yield from self._sources()
        yield from self._wires()
        yield from self._parts()
        station = self._station
        review, hub = station.review, station.hub
        yield _gauge("ready", "Whether the station gives verdicts.", float(station.ready))
        yield _gauge("review_pending", "Pictures that wait for a person.", review.pending)
        yield _counter("review_dropped", "Pictures pushed out of a full queue.", review.dropped)
        yield _counter("review_skipped", "Pictures that came too quickly.", review.skipped)
        yield _counter(
            "review_answered", "Pictures that waited and are recognised since.", review.answered
        )
        yield _counter("review_grouped", "Pictures like one that waits.", review.grouped)
        yield _gauge("subscribers", "Event streams that are open.", hub.subscribers)
        yield _counter("events_dropped", "Events that slow subscribers lost.", hub.dropped)
        yield _gauge("gallery_products", "Registered products.", station.products.count)
        yield _gauge("gallery_version", "The gallery's version.", station.products.version)
        if station.book is not None:
            failing = float(bool(station.book.problem))
            yield _gauge("records_failing", "Whether signed records cannot be written.", failing)

    def collect_nothing(self) -> Iterable[Metric]:
        """Name nothing ahead; a registry would read a station that has not started."""
        return ()

    describe = collect_nothing

    def _sources(self) -> Iterable[Metric]:
        frames = CounterMetricFamily("vision_edge_frames", "Frames seen.", labels=["source"])
        stale = CounterMetricFamily(
            "vision_edge_stale_frames", "Frames too old for a verdict.", labels=["source"]
        )
        spared = CounterMetricFamily(
            "vision_edge_spared_frames", "Frames that max_rate kept from a verdict.",
            labels=["source"],
        )  # fmt: skip
        reconnects = CounterMetricFamily(
            "vision_edge_reconnects", "Times that a lost source came back.", labels=["source"]
        )
        lost = CounterMetricFamily(
            "vision_edge_lost_frames",
            "Frames that a GenICam camera took and that did not arrive, or were not taken in time.",
            labels=["source"],
        )
        up = GaugeMetricFamily("vision_edge_source_live", "Whether it is live.", labels=["source"])
        changed = GaugeMetricFamily(
            "vision_edge_scene_changed", "Whether its scene has changed in silence.",
            labels=["source"],
        )  # fmt: skip
        for line in self._station.lines:
            changed.add_metric([line.name], float(line.guard.change is not None))
            frames.add_metric([line.name], line.frames)
            stale.add_metric([line.name], line.statistics.stale)
            spared.add_metric([line.name], line.spared)
            reconnects.add_metric([line.name], line.reconnects)
            lost.add_metric([line.name], line.lost_frames)
            up.add_metric([line.name], float(line.state == "live"))
        return frames, stale, spared, reconnects, lost, up, changed

    def _parts(self) -> Iterable[Metric]:
        """Read the parts' counts; products past the first `MAX_LABELS` are `other`."""
        parts = CounterMetricFamily(
            "vision_edge_parts", "Parts counted, over all restarts.",
            labels=["source", "kind", "label"],
        )  # fmt: skip
        bounded: Counter[tuple[str, str, str]] = Counter()
        for (source, kind, label), count in self._station.tally.totals().items():
            if label not in self._labels and len(self._labels) < MAX_LABELS:
                self._labels.add(label)
            bounded[source, kind, label if label in self._labels else "other"] += count
        for labels, count in bounded.items():
            parts.add_metric(list(labels), count)
        yield parts

    def _wires(self) -> Iterable[Metric]:
        queued = GaugeMetricFamily("vision_edge_wire_queued", "Verdicts waiting.", labels=["wire"])
        dropped = CounterMetricFamily(
            "vision_edge_wire_dropped", "Verdicts given up.", labels=["wire"]
        )
        up = GaugeMetricFamily("vision_edge_wire_ok", "Whether it works.", labels=["wire"])
        for health in self._station.wiring.health():
            queued.add_metric([health.name], health.queued)
            dropped.add_metric([health.name], health.dropped)
            up.add_metric([health.name], float(health.state == "ok"))
        return queued, dropped, up


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"vision_edge_{name}", what, value=value)


def _counter(name: str, what: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"vision_edge_{name}", what, value=value)
