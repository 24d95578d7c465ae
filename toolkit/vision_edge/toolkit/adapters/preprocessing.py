"""Preprocessing belongs to adapters as it does to backbones: pixels scaled otherwise are others.

An adapter that was tuned on pixels of one mean and deviation says something else on pixels of
another, and no comparison of an export with PyTorch can tell, for both would share the mistake.
The size may differ: position embeddings are resampled for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from vision_edge.runtime.errors import AdapterError
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.toolkit.backbones.backbone import Backbone

PREPROCESSING_KEY = "vision_edge_preprocessing"
"""Key of the safetensors metadata: a `PreprocessSpec` as JSON."""
_FIELDS = ("mean", "std", "interpolation", "crop_pct")
_TOLERANCE = 1e-4


def preprocessing_metadata(backbone: Backbone) -> dict[str, str]:
    """Return what a file of an adapter of this backbone says of its preprocessing."""
    return {PREPROCESSING_KEY: json.dumps(backbone.spec.model_dump(mode="json"), sort_keys=True)}


def read_preprocessing(metadata: Mapping[str, str], where: str) -> PreprocessSpec | None:
    """Return the preprocessing that an adapter's file states, or None if it states none.

    Raises:
        AdapterError: If what it states makes no sense.
    """
    text = metadata.get(PREPROCESSING_KEY)
    if text is None:
        return None
    try:
        return PreprocessSpec.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        raise AdapterError(
            f"{where}: metadata {PREPROCESSING_KEY!r} makes no sense: {problem['msg']}",
            fix="tune or build it again",
        ) from error


def check_preprocessing(stated: PreprocessSpec | None, backbone: Backbone, where: str) -> None:
    """Raise unless an adapter was made on pixels prepared as the backbone's are.

    Args:
        stated: What the adapter says; None, as all adapters of others, passes.
        backbone: Whose preprocessing is used now.
        where: What to call the adapter.

    Raises:
        AdapterError: With both values, and the options that agree.
    """
    if stated is None:
        return
    for name in _FIELDS:
        theirs, ours = getattr(stated, name), getattr(backbone.spec, name)
        if not _same(theirs, ours):
            raise AdapterError(
                f"{where}: it was made with {name} {_text(theirs)}, but the backbone is used with "
                f"{name} {_text(ours)}",
                fix=_fix(name, theirs),
            )


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return bool(left == right)
    pairs = zip(left, right, strict=True) if isinstance(left, tuple) else [(left, right)]
    return all(abs(a - b) <= _TOLERANCE for a, b in pairs)


def _text(value: Any) -> str:
    return ",".join(f"{v:g}" for v in value) if isinstance(value, tuple) else f"{value}"


def _fix(name: str, theirs: Any) -> str:
    if name == "crop_pct":
        return "use the weights file, or BackboneOptions(crop_pct=...), that it was made with"
    return f"give --{name} {_text(theirs)}, or tune again with the other"
