"""Metrics for Prometheus, in a registry of the station's own.

Counts are read from the station when somebody asks; times are observed as they pass. Products past
the first `MAX_LABELS` share the label `other`, so that their number stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from vision_edge.runtime.station.wire import Record

if TYPE_CHECKING:
    from vision_edge.runtime.station.service import Station

MAX_LABELS = 200
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """What is observed of a station.

    Args:
        station: Read when the metrics are.
    """

    def __init__(self, station: Station) -> None:
        self.registry = CollectorRegistry()
        self._labels: set[str] = set()
        self._verdicts = Counter(
            "vision_edge_verdicts", "Verdicts given.", ("source", "label", "band"),
            registry=self.registry,
        )  # fmt: skip
        self._age = Histogram(
            "vision_edge_frame_age_seconds", "Age of a frame at its verdict.", ("source",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._inference = Histogram(
            "vision_edge_inference_seconds", "Inference, waiting for the session included.",
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._requests = Counter(
            "vision_edge_http_requests", "HTTP requests answered.", ("method", "status"),
            registry=self.registry,
        )  # fmt: skip
        self.registry.register(_Readings(station))

    def verdict(self, record: Record) -> None:
        """Count a verdict."""
        label = record["label"] or "unknown"
        if label not in self._labels and len(self._labels) < MAX_LABELS:
            self._labels.add(label)
        shown = label if label in self._labels else "other"
        self._verdicts.labels(record["source_name"], shown, record["band"]).inc()
        self._age.labels(record["source_name"]).observe(record["age_ms"] / 1000)

    def inference(self, seconds: float) -> None:
        """Observe an inference."""
        self._inference.observe(seconds)

    def request(self, method: str, status: int) -> None:
        """Count an answered request."""
        known = method if method in ("GET", "HEAD", "POST") else "other"
        self._requests.labels(known, str(status)).inc()

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self.registry)


class _Readings(Collector):
    """What a station counts itself."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def collect(self) -> Iterable[Metric]:
        """Read it."""
        yield from self._sources()
        yield from self._wires()
        station = self._station
        review, hub = station.review, station.hub
        yield _gauge("ready", "Whether the station gives verdicts.", float(station.ready))
        yield _gauge("review_pending", "Pictures that wait for a person.", review.pending)
        yield _counter("review_dropped", "Pictures pushed out of a full queue.", review.dropped)
        yield _counter("review_skipped", "Pictures that came too quickly.", review.skipped)
        yield _gauge("subscribers", "Event streams that are open.", hub.subscribers)
        yield _counter("events_dropped", "Events that slow subscribers lost.", hub.dropped)
        yield _gauge("gallery_products", "Registered products.", station.products.count)
        yield _gauge("gallery_version", "The gallery's version.", station.products.version)

    def collect_nothing(self) -> Iterable[Metric]:
        """Name nothing ahead; a registry would read a station that has not started."""
        return ()

    describe = collect_nothing

    def _sources(self) -> Iterable[Metric]:
        frames = CounterMetricFamily("vision_edge_frames", "Frames seen.", labels=["source"])
        stale = CounterMetricFamily(
            "vision_edge_stale_frames", "Frames too old for a verdict.", labels=["source"]
        )
        reconnects = CounterMetricFamily(
            "vision_edge_reconnects", "Times that a lost source came back.", labels=["source"]
        )
        up = GaugeMetricFamily("vision_edge_source_live", "Whether it is live.", labels=["source"])
        for line in self._station.lines:
            frames.add_metric([line.name], line.frames)
            stale.add_metric([line.name], line.statistics.stale)
            reconnects.add_metric([line.name], line.reconnects)
            up.add_metric([line.name], float(line.state == "live"))
        return frames, stale, reconnects, up

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
