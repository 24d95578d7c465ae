"""Metrics for Prometheus, in a registry of the station's own.

Counts are read from the station when somebody asks; times are observed as they pass. Products past
the first `MAX_LABELS` share the label `other`, so that their number stays bounded.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from vision_edge.station.core.counted import counted_as
from vision_edge.station.core.wire import Record

MAX_LABELS = 200
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """What is observed of a station."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._labels: set[str] = set()
        self._readings: Collector | None = None
        self._verdicts = Counter(
            "vision_edge_verdicts",
            "Verdicts given; band nothing: while nothing was in view.", ("source", "label", "band"),
            registry=self.registry,
        )  # fmt: skip
        self._verifications = Counter(
            "vision_edge_verifications", "Parts that were judged against an expected product.",
            ("source", "answer"), registry=self.registry,
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

    def read_from(self, readings: Collector) -> None:
        """Have what a station counts itself read along, in place of any earlier readings."""
        if self._readings is not None:
            self.registry.unregister(self._readings)
        self.registry.register(readings)
        self._readings = readings

    def verdict(self, record: Record) -> None:
        """Count a verdict."""
        label = record["label"] or "unknown"
        if label not in self._labels and len(self._labels) < MAX_LABELS:
            self._labels.add(label)
        shown = label if label in self._labels else "other"
        self._verdicts.labels(record["source_name"], shown, counted_as(record)).inc()
        told = record.get("verification")
        if told is not None:
            self._verifications.labels(record["source_name"], told["answer"]).inc()
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
