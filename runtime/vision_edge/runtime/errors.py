"""One base class for every error that a user can cause or meet.

A message says what failed, where, what was got, and how to fix it. The command line prints it
without a traceback and exits with status 1; a program catches `VisionEdgeError`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

INSTALL_HINTS = {
    "cv2": "edge",
    "onnxruntime": "edge",
    "torch": "server",
    "timm": "server",
    "re2": "server",
    "safetensors": "server",
    "onnx": "server",
    "onnxscript": "server",
    "argon2": "station",
    "cryptography": "signing",
    "fastapi": "station",
    "google": "sparkplug",
    "jinja2": "reports",
    "paho": "station",
    "prometheus_client": "station",
    "pydantic_settings": "station",
    "python_multipart": "station",
    "uvicorn": "station",
    "asyncua": "opcua",
    "cuda": "tensorrt",
    "pymodbus": "modbus",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
    "tritonclient": "triton",
}


class VisionEdgeError(Exception):
    """Base class: something the user can put right.

    Args:
        what: The failure in one sentence, with the offending value.
        fix: What to do about it, in one sentence.
    """

    def __init__(self, what: str, *, fix: str | None = None) -> None:
        super().__init__(what if fix is None else f"{what}\n  fix: {fix}")
        self.what = what
        self.fix = fix


class MissingExtraError(VisionEdgeError):
    """A command needs packages that this installation does not have."""


class BundleError(VisionEdgeError):
    """A bundle is absent, altered, of an unknown version, or cannot be run."""


class ProvenanceError(VisionEdgeError):
    """Something is not signed by whom is trusted, too old, or a key or record is not fit."""


class EngineError(VisionEdgeError):
    """An engine cannot be built, is damaged, is of another device, or is not the same model."""


class GalleryError(VisionEdgeError):
    """A gallery cannot be opened, belongs to another model, or refuses a change."""


class GalleryBusyError(GalleryError):
    """Another program or request holds a gallery; nothing was changed, and later it may be free."""


class RegistrationError(VisionEdgeError):
    """A picture is not fit to be a product's snapshot; nothing was registered."""


class ImageError(VisionEdgeError):
    """An image is unreadable, empty, or of a kind that cannot be embedded.

    Args:
        what: The failure in one sentence, with the offending value.
        fix: What to do about it, in one sentence.
        kind: What it is counted as where it is passed over, such as `"damaged JPEG"`.
    """

    def __init__(self, what: str, *, fix: str | None = None, kind: str = "unreadable") -> None:
        super().__init__(what, fix=fix)
        self.kind = kind


class UnsaidError(ImageError):
    """An image leaves open how it is to be read, and an option says it: never passed over."""


class DetectorError(VisionEdgeError):
    """A detector's file is none that is understood, or fails."""


class SourceError(VisionEdgeError):
    """A camera, stream, video or folder cannot deliver frames."""


class DataError(VisionEdgeError):
    """A labelled data set does not hold what was asked of it."""


class AdapterError(VisionEdgeError):
    """An adapter cannot be read, is unsupported, or does not fit its backbone."""


class BackboneError(VisionEdgeError):
    """A backbone cannot be made or its weights do not fit."""


class ExportError(VisionEdgeError):
    """An export failed, or its result is not provably the same model; nothing was written."""


def require(module: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Args:
        module: Import name, such as `"cv2"`.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: If the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = INSTALL_HINTS.get(module.split(".")[0], "server")
        raise MissingExtraError(
            f"this needs the Python module {module!r}, which cannot be imported here ({error})",
            fix=f'pip install "vision-edge[{extra}]"',
        ) from error
