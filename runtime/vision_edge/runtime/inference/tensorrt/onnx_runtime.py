"""ONNX Runtime's TensorRT provider, with its engines kept in the bundle's folder and checked.

ONNX Runtime builds engines when a session opens, which takes minutes, and reads whatever lies in
its cache folder. Here that folder is one for each model, device and version, its files are hashed,
and what came out of it has passed the gate.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.bundles.manifest import MODEL_FILE
from vision_edge.runtime.errors import EngineError, MissingExtraError, VisionEdgeError, require
from vision_edge.runtime.inference.agreement import probe, probe_images
from vision_edge.runtime.inference.onnx_runtime import OrtRunner, create
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.tensorrt.gpu import driver_version, find_gpu
from vision_edge.runtime.inference.tensorrt.key import BatchProfile
from vision_edge.runtime.inference.tensorrt.store import EngineStore, Gate
from vision_edge.runtime.system.files import atomic_file, sha256_file

_RECORD = "checked.json"
_PREFIX = "onnxruntime-"
_PROFILE = BatchProfile()


class Checked(BaseModel):
    """What a cache folder held when its session had passed the gate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, str]
    gate: Gate


def is_ready(bundle: Bundle) -> bool:
    """Whether engines for this device are there, so that opening takes no minutes."""
    if not any(EngineStore(bundle.path).folder.glob(f"{_PREFIX}*")):
        return False
    try:
        return _checked(_folder(bundle)) is not None
    except VisionEdgeError:  # no GPU, or one that does not answer
        return False


def open_ort_tensorrt(bundle: Bundle, options: SessionOptions, notes: list[str]) -> OrtRunner:
    """Open ONNX Runtime on TensorRT; the first time on a device it builds, for minutes.

    Args:
        bundle: A verified bundle.
        options: Session options.
        notes: Gets what a user should know.

    Raises:
        EngineError: If the gate refuses what was built, or the folder cannot be written.
    """
    folder = _folder(bundle)
    with EngineStore(bundle.path).lock():
        known = _checked(folder)
        if known is None:
            shutil.rmtree(folder, ignore_errors=True)  # engines that nothing vouches for
            folder.mkdir()
        runner = OrtRunner(create(bundle, "tensorrt", _settings(bundle, folder), options))
        if known is None:
            found = probe(bundle, runner, probe_images(bundle))
            time = datetime.now(timezone.utc).isoformat(timespec="seconds")
            known = Checked(files=_hashes(folder), gate=Gate(**asdict(found), time=time))
            with atomic_file(folder / _RECORD) as temporary:
                temporary.write_text(known.model_dump_json(indent=2) + "\n")
            notes.append("tensorrt built its engines; the next start takes them from the bundle")
    if not known.gate.passed:
        raise EngineError(
            f"the gate refused it: cosine {known.gate.min_cosine:.5f} to ONNX Runtime on the CPU, "
            f"{known.gate.minimum} is asked"
        )
    return runner


def _settings(bundle: Bundle, folder: Path) -> dict[str, str]:
    """Return the provider's options; types follow the graph, LayerNorm stays in float32."""
    size, precision = bundle.manifest.preprocessing.size, bundle.manifest.precision
    shape = f"{size}x{size}x3"
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_profile_min_shapes": f"images:{_PROFILE.minimum}x{shape}",
        "trt_profile_opt_shapes": f"images:{_PROFILE.optimum}x{shape}",
        "trt_profile_max_shapes": f"images:{_PROFILE.maximum}x{shape}",
        "trt_fp16_enable": "1" if precision == "fp16" else "0",
        "trt_int8_enable": "1" if precision == "int8" else "0",
        "trt_layer_norm_fp32_fallback": "1",
    }


def _folder(bundle: Bundle) -> Path:
    """Return the cache folder of this model on this device with these versions."""
    try:
        device = str(find_gpu())
    except MissingExtraError:  # then ONNX Runtime's own file names tell the GPUs apart
        device = str(driver_version())
    parts = {
        "model": bundle.manifest.files[MODEL_FILE].sha256,
        "precision": bundle.manifest.precision,
        "onnxruntime": require("onnxruntime").__version__,
        "device": device,
        "profile": _PROFILE.model_dump(),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return EngineStore(bundle.path).folder / f"{_PREFIX}{digest[:20]}"


def _checked(folder: Path) -> Checked | None:
    """Return the folder's record if every file is as it was; None otherwise."""
    try:
        record = Checked.model_validate_json((folder / _RECORD).read_bytes())
        return record if _hashes(folder) == record.files else None
    except (OSError, ValidationError):
        return None


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _RECORD)
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}
