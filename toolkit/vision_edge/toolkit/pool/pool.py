"""The synthetic pool: inverted images on disk, one file an adapter.

A pool is a folder with `pool.json` (backbone, settings) and one safetensors file an adapter:
`images` uint8 (n, S, S, 3) BGR, `labels` int64 (n,), `logits` float32 (n, K), `order` int16
(n, P), and where they came from as metadata. Each file is written whole or not at all, so a pool
is resumed adapter by adapter; images are read one by one, so its size is no limit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import DataError
from vision_edge.runtime.system.files import atomic_file
from vision_edge.toolkit.adapters.adapter import Adapter
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.backbones.weights import write_safetensors
from vision_edge.toolkit.pool.inverted import Inverted

POOL_FILE = "pool.json"
KEY = "vision_edge"


@dataclass(frozen=True)
class PoolPart:
    """The synthetic images of one adapter, on disk.

    Attributes:
        path: The file.
        name: The adapter's name.
        sha256: Hash of the adapter's weights.
        classes: Names of the head's classes, where they are known.
        labels: int64 (n,).
        logits: float32 (n, K): the teacher's.
        order: int16 (n, P): each image's patches, the most important first.
        facts: Agreement with the teacher, losses, settings.
    """

    path: Path
    name: str
    sha256: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    order: NDArray[np.int16]
    facts: dict[str, Any]

    @property
    def way(self) -> int:
        """Number of classes K."""
        return int(self.logits.shape[1])

    def images(self, rows: NDArray[np.int64] | None = None) -> Image:
        """Read images, uint8 (n, S, S, 3) BGR; only these rows are read from the disk."""
        with _opened(self.path) as stream:
            part = stream.get_slice("images")
            if rows is None:
                whole: Image = part[:].numpy()
                return whole
            return np.stack([part[int(row)].numpy() for row in rows])


@dataclass(frozen=True)
class Pool:
    """A folder of inverted images.

    Attributes:
        folder: Where it is.
        claim: What it was made of, as in `pool.json`.
    """

    folder: Path
    claim: Mapping[str, Any]

    def part(self, adapter: Adapter) -> Path:
        """Return the file of an adapter's images, whether it is there or not."""
        name = adapter.name.replace("/", "--")  # of a hub with folders in folders
        return self.folder / f"{name}-{adapter.sha256[:12]}.safetensors"

    def has(self, adapter: Adapter) -> bool:
        """Whether an adapter's images are complete."""
        return self.part(adapter).is_file()

    def add(self, adapter: Adapter, inverted: Inverted) -> None:
        """Write an adapter's images, whole or not at all."""
        facts = {
            "name": adapter.name,
            "sha256": adapter.sha256,
            "classes": list(adapter.classes),
            "agreement": inverted.agreement,
            "cross_entropy": inverted.cross_entropy,
            "prior": inverted.prior,
        }
        tensors = {
            "images": torch.from_numpy(inverted.images),
            "labels": torch.from_numpy(inverted.labels),
            "logits": torch.from_numpy(inverted.logits),
            "order": torch.from_numpy(inverted.order),
        }
        with atomic_file(self.part(adapter)) as temporary:
            write_safetensors(temporary, tensors, {KEY: json.dumps(facts)})

    def read(self, adapter: Adapter) -> PoolPart:
        """Open an adapter's images.

        Raises:
            DataError: If they are absent or damaged.
        """
        return read_part(self.part(adapter))

    def parts(self) -> list[PoolPart]:
        """Open all that are there, in the order of their names.

        Raises:
            DataError: If one is damaged.
        """
        paths = sorted(self.folder.glob("*.safetensors"))
        # a process that was killed leaves the hidden file behind that it was writing
        return [read_part(path) for path in paths if not path.name.startswith(".")]


def open_pool(
    folder: Path, backbone: Backbone, settings: Mapping[str, Any], prior: str, start: str
) -> Pool:
    """Open a pool to add to, or begin one.

    Args:
        folder: Where it is, or shall be.
        backbone: What its adapters belong to.
        settings: How images are inverted, as JSON values; all of it must be equal to add to a pool.
        prior: Name of the prior.
        start: What images start from, in words.

    Raises:
        DataError: If there is a pool of another backbone or with other settings, or something
            else.
    """
    claim = {
        "backbone": backbone.name,
        "backbone_sha256": backbone.sha256,
        "prior": prior,
        "start": start,
        "settings": dict(settings),
    }
    path = folder / POOL_FILE
    if path.is_file():
        found = _claim(path)
        if backbone.is_known_as(found.get("backbone_sha256")):
            found["backbone_sha256"] = backbone.sha256  # written before hashes ignored the size
        differing = [key for key in claim if claim[key] != found.get(key)]
        if differing:
            raise DataError(
                f"{folder}: holds a pool with another {differing[0]} "
                f"({found.get(differing[0])!s:.80}; now {claim[differing[0]]!s:.80})",
                fix="give another --work, or the same options to resume",
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: exists, is not empty and is no pool", fix="give another --work")
    else:
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(claim, indent=2) + "\n", encoding="utf-8")
    return Pool(folder, claim)


def existing_pool(folder: Path, backbone: Backbone) -> Pool:
    """Open a pool that was made earlier, to learn from.

    Raises:
        DataError: If there is none, or it belongs to another backbone.
    """
    path = folder / POOL_FILE
    if not path.is_file():
        raise DataError(f"{folder}: no pool here ({POOL_FILE} is missing)", fix="check --pool")
    claim = _claim(path)
    if not backbone.is_known_as(claim.get("backbone_sha256")):
        raise DataError(
            f"{folder}: a pool of backbone {claim.get('backbone')!r}, not of {backbone.name!r} "
            f"({backbone.sha256[:12]}…)",
            fix="give the backbone and weights that the pool was made with",
        )
    return Pool(folder, claim)


def read_part(path: Path) -> PoolPart:
    """Open one adapter's images.

    Raises:
        DataError: If the file is absent, damaged or of another form.
    """
    with _opened(path) as stream:
        try:
            facts = json.loads((stream.metadata() or {})[KEY])
            shape = stream.get_slice("images").get_shape()
            labels, logits, order = (
                stream.get_tensor(name).numpy() for name in ("labels", "logits", "order")
            )
            name, sha256, classes = facts["name"], facts["sha256"], tuple(facts["classes"])
        except (KeyError, ValueError, TypeError, SafetensorError) as error:
            raise DataError(
                f"{path}: no part of a pool ({error})", fix="invert it again"
            ) from error
    lengths = {shape[0], len(labels), len(logits), len(order)}
    if len(lengths) > 1 or len(shape) != 4 or logits.ndim != 2 or order.ndim != 2:
        raise DataError(f"{path}: its tensors do not go together", fix="invert it again")
    return PoolPart(path, name, sha256, classes, labels, logits, order, facts)


def _claim(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error})", fix="remove the pool") from error
    return found if isinstance(found, dict) else {}


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: truncated or unreadable ({error})", fix="remove the file to invert it again"
        ) from error
