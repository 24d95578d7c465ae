"""The bundle's manifest: everything a device must know about a model, and how to check it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.images.preprocess import PreprocessSpec

SCHEMA_VERSION = "1.2"
MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
COHORT_FILE = "cohort.npy"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


@dataclass(frozen=True)
class ModelIdentity:
    """What a gallery is bound to: an embedding function's fingerprint, and its dimension D."""

    fingerprint: str
    embedding_dim: int


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BackboneInfo(_Part):
    """Which frozen backbone the model was made from."""

    name: str
    sha256: Sha256
    parameters: int


class AdapterInfo(_Part):
    """Which adapter was merged into it, and how that adapter came about."""

    name: str
    sha256: Sha256
    method: str


class _Grown(_Part):
    """A part that has grown since version 1.0: what is None of the newer fields is not written.

    So a manifest of an older program keeps its bytes when it is read and written again.
    """

    newer: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_absent(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialise(self)
        return {
            name: value
            for name, value in fields.items()
            if value is not None or name not in self.newer
        }


class AccuracyInfo(_Part):
    """Few-shot accuracy of the float32 PyTorch model and of the export on the same episodes.

    Attributes:
        data: What the episodes were drawn from.
        way: Classes an episode.
        shot: Support images a class.
        query: Query images a class.
        episodes: How many.
        float32: The PyTorch model's accuracy, in percent.
        exported: The exported model's, in percent.
    """

    data: str
    way: int
    shot: int
    query: int
    episodes: int
    float32: float
    exported: float


class VerdictInfo(_Part):
    """How often PyTorch model and export gave the same verdict, a product or unknown.

    Attributes:
        products: How many images were registered.
        pictures: How many were judged, images of those and strangers.
        known: How many of them PyTorch took for a product.
        agreement: Share of equal verdicts, from 0 to 1.
    """

    products: int
    pictures: int
    known: int
    agreement: float


class PruningInfo(_Part):
    """Patches that the graph leaves out, and agreement with the model that leaves out none.

    Attributes:
        steps: Pairs BLOCK:RATIO: after the attention of which block, which share of the patches
            that are still there.
        min_cosine: Of the worst image.
        mean_cosine: Over all images.
    """

    steps: str
    min_cosine: float
    mean_cosine: float


class ParityInfo(_Grown):
    """Agreement of the exported model with the float32 PyTorch one.

    Both leave out the same patches, where the export does; `pruning` compares with the model that
    leaves out none, and so do `accuracy` and `verdicts`.

    Attributes:
        images: How many images were compared, none of them used for calibration.
        image_source: What they are.
        min_cosine: Of the worst image.
        mean_cosine: Over all images.
        asked_min_cosine: What the gate asked of every image.
        accuracy: On few-shot episodes.
        verdicts: Of products and strangers.
        pruning: Where patches are left out.
        calibration_images: How many images int8 was calibrated on.
        calibration_source: What they are.
        float_layers: Layers that were kept in float32 though the precision is another.
        notes: What else there is to know of the precision.
    """

    newer = frozenset(
        {
            "asked_min_cosine",
            "accuracy",
            "verdicts",
            "pruning",
            "calibration_images",
            "calibration_source",
            "float_layers",
            "notes",
        }
    )

    images: int
    image_source: str
    min_cosine: float
    mean_cosine: float
    asked_min_cosine: float | None = None
    accuracy: AccuracyInfo | None = None
    verdicts: VerdictInfo | None = None
    pruning: PruningInfo | None = None
    calibration_images: int | None = None
    calibration_source: str | None = None
    float_layers: tuple[str, ...] | None = None
    notes: tuple[str, ...] | None = None


class ScoringInfo(_Grown):
    """Statistics for scoring; `cohort.npy` holds the embeddings they come from.

    Attributes:
        centre: Mean embedding of the cohort images, D floats: the centre's prior.
        cohort_source: What the cohort images are.
        cohort_from_station: Whether they are from the station's own camera or its like, so that
            thresholds may be read off them.
        cohort_size: How many cohort embeddings `cohort.npy` holds.
        cohort_photographs: Whether they are photographs though not the station's: what resembles
            them resembles everything, but they set no thresholds.
        centre_factor: Which share of `centre` scores are taken about, chosen at export; None where
            an older program exported it.
        same_picture: Likeness to a snapshot from which on a frame is that very picture, measured
            at export.
    """

    newer = frozenset({"cohort_photographs", "centre_factor", "same_picture"})

    centre: tuple[float, ...]
    cohort_source: str
    cohort_from_station: bool
    cohort_size: int
    cohort_photographs: bool | None = None
    centre_factor: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    same_picture: Annotated[float, Field(gt=0.0, le=1.0)] | None = None


class PatchInfo(_Part):
    """The second output: patches of each image, by which the nearest products are ranked anew.

    Attributes:
        count: Patches an image, T.
        weight: What a patch score counts beside a cosine.
        images: How many images were compared.
        min_agreement: Of the worst image: how well the exported model's patches are found in the
            PyTorch model's, from -1 to 1.
        mean_agreement: Over all images.
    """

    count: Annotated[int, Field(ge=1)]
    weight: Annotated[float, Field(ge=0)]
    images: int
    min_agreement: float
    mean_agreement: float


class FileInfo(_Part):
    """Size and hash of one file of the bundle."""

    sha256: Sha256
    bytes: int


class Manifest(_Grown):
    """A bundle's manifest, as written to `manifest.json`.

    Attributes:
        schema_version: `major.minor`; an unknown major version is refused.
        name: The bundle's name, for people.
        created: UTC time, ISO 8601.
        versions: Versions of the packages that made the bundle.
        embedding_dim: D, the length of an embedding.
        precision: Arithmetic of the graph.
        evaluation: Figures of `vision-edge evaluate`, where they were given at export.
        patches: The second output, where the model has it.
        files: Every other file of the bundle.
    """

    newer = frozenset({"patches"})

    schema_version: Annotated[str, Field(pattern=r"^\d+\.\d+$")] = SCHEMA_VERSION
    name: str
    created: str
    versions: dict[str, str]
    backbone: BackboneInfo
    adapter: AdapterInfo | None
    preprocessing: PreprocessSpec
    embedding_dim: Annotated[int, Field(ge=1)]
    precision: Literal["fp32", "fp16", "int8"]
    parity: ParityInfo
    scoring: ScoringInfo
    evaluation: dict[str, Any] | None = None
    patches: PatchInfo | None = None
    files: dict[FileName, FileInfo]

    @property
    def fingerprint(self) -> str:
        """SHA-256 that identifies the embedding function: the model file and its preprocessing.

        Two bundles with one fingerprint embed alike; a gallery is bound to it.
        """
        parts = {
            "model": self.files[MODEL_FILE].sha256,
            "preprocessing": self.preprocessing.model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def identity(self) -> ModelIdentity:
        """What a gallery made with this bundle is bound to."""
        return ModelIdentity(self.fingerprint, self.embedding_dim)

    def to_bytes(self) -> bytes:
        """Serialise in the one canonical form, with the manifest's own hash in it."""
        document = self.model_dump(mode="json")
        return _canonical({**document, "manifest_sha256": _digest(document)})

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Parse and verify a manifest.

        Args:
            data: Contents of `manifest.json`.
            where: What to call it in an error.

        Raises:
            BundleError: If it is not JSON, of an unknown version, incomplete, or altered.
        """
        document = _parse(data, where)
        _check_version(document, where)
        if not _is_intact(document, data):
            raise BundleError(
                f"{where}: the manifest was altered after it was written (its hash does not match)",
                fix="copy the bundle again from where it was exported",
            )
        del document["manifest_sha256"]
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise BundleError(f"{where}: {_first_problem(error)}", fix=_remedy(document)) from error


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON ({error})", fix="export again") from error
    if not isinstance(document, dict):
        raise BundleError(
            f"{where}: expected a JSON object, got {type(document).__name__}", fix="export again"
        )
    return document


def _check_version(document: dict[str, Any], where: str) -> None:
    version = document.get("schema_version")
    major = str(version).split(".", 1)[0]
    ours = SCHEMA_VERSION.split(".", 1)[0]
    if major != ours:
        raise BundleError(
            f"{where}: manifest version {version!r} is not one this program reads ({ours}.x)",
            fix="update vision-edge on this device, or export with the version it has",
        )


def _remedy(document: dict[str, Any]) -> str:
    """Say what helps against an unknown field: a newer program wrote it, or something is off."""
    minor = str(document.get("schema_version")).partition(".")[2]
    newer = minor.isdecimal() and int(minor) > int(SCHEMA_VERSION.partition(".")[2])
    return "update vision-edge on this device" if newer else "export again"


def _is_intact(document: dict[str, Any], data: bytes) -> bool:
    """Whether `data` is the canonical form of `document`, and the hash in it is right."""
    rest = {key: value for key, value in document.items() if key != "manifest_sha256"}
    try:
        return _canonical(document) == data and document.get("manifest_sha256") == _digest(rest)
    except (UnicodeEncodeError, RecursionError):  # lone surrogates, absurd nesting
        return False


def _canonical(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(document)).hexdigest()


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    return f"field {field!r}: {problem['msg']}"
