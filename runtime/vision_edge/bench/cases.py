"""What is timed: a bundle (or PyTorch) on a provider with a batch size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_edge.runtime.errors import VisionEdgeError

TORCH = "torch"
MAX_BATCH = 4096


@dataclass(frozen=True)
class TorchModel:
    """The PyTorch model to compare with; each None means what ships with the program.

    Attributes:
        backbone: A timm model's name.
        weights: Its safetensors file.
        adapter: The adapter to merge.
    """

    backbone: str | None = None
    weights: str | None = None
    adapter: str | None = None


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes:
        label: Name and precision of the model, for people.
        bundle: Folder of the bundle; with PyTorch, of the bundle that it must agree with.
        provider: A session's provider, or `"torch"`.
        batch: Images a call.
        torch: Which PyTorch model, where the provider is that.
    """

    label: str
    bundle: Path
    provider: str
    batch: int
    torch: TorchModel | None = None

    @property
    def model(self) -> tuple[str, Path, str]:
        """What is the same for all batch sizes."""
        return self.label, self.bundle, self.provider


@dataclass(frozen=True)
class Settings:
    """How it is timed.

    Attributes:
        rounds: How often each case takes its turn.
        seconds: How long a turn lasts; at least three calls are made.
        threads: CPU threads of one inference; by default, the cores this process may use.
        frame: Width and height of the frames that are prepared, in pixels.
        products: How many products are told apart.
        cold_starts: How many fresh processes are started for each bundle and provider.
    """

    rounds: int = 5
    seconds: float = 0.5
    threads: int | None = None
    frame: tuple[int, int] = (1280, 720)
    products: int = 20
    cold_starts: int = 5


def parse_batches(text: str) -> list[int]:
    """Parse `1,8,64`.

    Raises:
        VisionEdgeError: If it is not a list of different whole numbers from 1 to 4096.
    """
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if part.isdecimal() and 1 <= int(part) <= MAX_BATCH]
    if not numbers or len(numbers) != len(parts) or len(set(numbers)) != len(numbers):
        raise VisionEdgeError(
            f"--batch {text!r}: expected different whole numbers from 1 to {MAX_BATCH}",
            fix="for instance --batch 1,8,64",
        )
    return sorted(numbers)


def parse_providers(text: str) -> list[str]:
    """Parse `cpu,openvino`; which of them are here is found out when they are opened.

    Raises:
        VisionEdgeError: If a name is empty or there twice.
    """
    names = [part.strip() for part in text.split(",")]
    if not all(names) or len(set(names)) != len(names):
        raise VisionEdgeError(
            f"--provider {text!r}: expected different names", fix="for instance cpu,openvino"
        )
    return names


def parse_frame(text: str) -> tuple[int, int]:
    """Parse `1280x720`.

    Raises:
        VisionEdgeError: If it is no size of a frame.
    """
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 16 <= int(width) <= 16384):
        raise VisionEdgeError(f"--frame {text!r}: expected WIDTHxHEIGHT", fix="--frame 1280x720")
    if not 16 <= int(height) <= 16384:
        raise VisionEdgeError(f"--frame {text!r}: not from 16 to 16384", fix="--frame 1280x720")
    return int(width), int(height)


def cases_of(
    labels: Sequence[tuple[str, Path]],
    providers: Sequence[str],
    batches: Sequence[int],
    torch: TorchModel | None,
) -> list[Case]:
    """Return every case; PyTorch, if asked for, comes last and answers to the first bundle.

    Args:
        labels: Label and folder of each bundle.
        providers: Providers of each.
        batches: Batch sizes of each.
        torch: The PyTorch model to compare with, if any.
    """
    cases = [
        Case(label, path, provider, batch)
        for batch in batches
        for label, path in labels
        for provider in providers
    ]
    if torch is not None:
        first = labels[0][1]
        cases += [Case("PyTorch fp32", first, TORCH, batch, torch) for batch in batches]
    return sorted(cases, key=lambda case: case.batch)
