"""The measurement: cases take turns, so that a noisy machine disturbs all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vision_edge.bench.cases import TORCH, Case, Settings
from vision_edge.bench.process import CaseError, CaseProcess
from vision_edge.runtime.errors import BundleError

MIN_COSINE = {"fp32": 0.999, "fp16": 0.99, "int8": 0.8}
"""How well a bundle must agree with the PyTorch model that it is compared with, by precision."""

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass
class Measured:
    """What was measured of a case.

    Attributes:
        case: Which.
        opened: What opening told: `provider`, `open_s`, `first_ms`, `before_mb`.
        turns: Milliseconds of each part of each call, a turn each.
        peak_mb: The most memory its process held.
        cosine: Least agreement with the reference over a few pictures; None where models differ.
    """

    case: Case
    opened: dict[str, Any]
    turns: list[dict[str, list[float]]] = field(default_factory=list)
    peak_mb: float = 0.0
    cosine: float | None = None

    def all(self, part: str) -> np.ndarray:
        """Return the milliseconds of one part of every call."""
        return np.concatenate([turn[part] for turn in self.turns])

    def per_image(self, part: str) -> float:
        """Return the median milliseconds of one part, for each image."""
        return float(np.median(self.all(part))) / self.case.batch

    def images_per_second(self) -> float:
        """Return how many images a second the model alone embeds."""
        times = self.all("embed")
        return 1000.0 * self.case.batch * len(times) / float(times.sum())

    def ratio_to(self, reference: Measured) -> float:
        """Return how many times as long a call takes: the median over turns of medians."""
        pairs = zip(self.turns, reference.turns)  # noqa: B905  # one may have failed midway
        ratios = [np.median(own["embed"]) / np.median(other["embed"]) for own, other in pairs]
        return float(np.median(ratios))


@dataclass(frozen=True)
class Failed:
    """A case that could not be timed."""

    case: Case
    what: str
    fix: str | None


@dataclass
class Outcome:
    """All that was measured, and all that failed."""

    measured: list[Measured] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def reference(self, batch: int) -> Measured | None:
        """Return what others of that batch size are compared with: the first that worked."""
        return next((m for m in self.measured if m.case.batch == batch), None)


def measure(
    cases: Sequence[Case], settings: Settings, precisions: dict[str, str], say: Say
) -> Outcome:
    """Time cases in turns.

    Args:
        cases: What to time.
        settings: How.
        precisions: Precision of each label, to know how well it must agree with PyTorch.
        say: Where progress goes.

    Raises:
        BundleError: If PyTorch's model is not the bundle's: their times would mean nothing.
    """
    outcome = Outcome()
    with ExitStack() as stack:
        running = _Running(outcome)
        for case in cases:
            say(f"opening {case.label} on {case.provider}, batch {case.batch}")
            process = CaseProcess(case)
            stack.callback(process.close)
            running.open(process, settings)
        _compare(running, precisions)
        for number in range(settings.rounds):
            say(f"round {number + 1} of {settings.rounds}")
            running.round(number, settings.seconds)
        for measured in list(outcome.measured):
            running.ask(measured, lambda m, process: setattr(m, "peak_mb", process.peak_mb()))
    return outcome


class _Running:
    """The processes of what is still being measured; who fails leaves the field."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._processes: dict[int, CaseProcess] = {}

    def open(self, process: CaseProcess, settings: Settings) -> None:
        """Open a case's model."""
        try:
            measured = Measured(process.case, process.open(settings))
        except CaseError as error:
            self.outcome.failed.append(Failed(process.case, error.what, error.fix))
            return
        self._processes[id(measured)] = process
        self.outcome.measured.append(measured)

    def ask(self, measured: Measured, action: Callable[[Measured, CaseProcess], T]) -> T | None:
        """Do something with a case's process; None if that failed."""
        try:
            return action(measured, self._processes[id(measured)])
        except CaseError as error:
            self.outcome.failed.append(Failed(measured.case, error.what, error.fix))
            self.outcome.measured.remove(measured)
            return None

    def round(self, number: int, seconds: float) -> None:
        """Give each case its turn, beginning with another one each round."""
        here = list(self.outcome.measured)
        for k in range(len(here)):
            measured = here[(k + number) % len(here)]
            self.ask(measured, lambda m, process: m.turns.append(process.turn(seconds)))


def _compare(running: _Running, precisions: dict[str, str]) -> None:
    """Compare all embeddings with PyTorch's, or with the first bundle's."""
    known: dict[tuple[str, Path, str], np.ndarray] = {}
    for measured in list(running.outcome.measured):
        if measured.case.model not in known:
            got = running.ask(measured, lambda _, process: process.embeddings())
            known.update({} if got is None else {measured.case.model: np.asarray(got)})
    torch = [model for model in known if model[2] == TORCH]
    first = known[torch[0]] if torch else next(iter(known.values()), None)
    for measured in running.outcome.measured:
        own = known.get(measured.case.model)
        if first is None or own is None or own.shape != first.shape:
            continue
        measured.cosine = _least_cosine(first, own)
        if torch and measured.case.bundle == torch[0][1]:
            _refuse_another_model(measured, precisions)


def _least_cosine(left: np.ndarray, right: np.ndarray) -> float:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / np.maximum(lengths, 1e-12)).min())


def _refuse_another_model(measured: Measured, precisions: dict[str, str]) -> None:
    least = MIN_COSINE.get(precisions.get(measured.case.label, "fp32"), 0.999)
    if measured.cosine is not None and measured.cosine < least:
        raise BundleError(
            f"{measured.case.bundle}: PyTorch's model is another one: on the same pictures their "
            f"embeddings agree to a cosine of {measured.cosine:.4f} only (at least {least})",
            fix="give --backbone, --weights and --adapter that the bundle was exported from",
        )
