"""What the API takes and gives, checked by pydantic and shown with examples in its document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.labels import MAX_LABEL, checked_label


def _label(text: str) -> str:
    try:
        return checked_label(text)
    except GalleryError as error:
        raise ValueError(f"{error.what}; {error.fix}") from None


Label = Annotated[
    str, Field(min_length=1, max_length=MAX_LABEL, examples=["bolt M8"]), AfterValidator(_label)
]
"""A product's name."""

Pixel = Annotated[int, Field(ge=0, le=100_000)]
CaptureId = Annotated[str, Field(pattern="^[0-9a-f]{24}$", examples=["5f0c3b1a9d2e4f60718293a4"])]
ReviewId = Annotated[str, Field(pattern="^[0-9a-f]{24}$", examples=["01a20d60f29900006954fc3c"])]
ReviewIds = Annotated[list[ReviewId], Field(min_length=1, max_length=500)]
Version = Annotated[int, Field(ge=0, le=2**53)]
State = Literal["connecting", "live", "stale", "lost", "ended"]


class Answer(BaseModel):
    """What the API gives."""

    model_config = ConfigDict(extra="forbid")


class Asked(BaseModel):
    """What the API takes; unknown members are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class Error(Answer):
    """What went wrong, for programs and for people."""

    code: str = Field(examples=["not_found"])
    what: str = Field(examples=["there is no source 'camera 9'"])
    fix: str = Field(examples=["there are: camera"])


class ErrorAnswer(Answer):
    """Every answer that is no success."""

    error: Error


class BundleStatus(Answer):
    """The bundle in use."""

    name: str = Field(examples=["meta-lora"])
    precision: str = Field(examples=["fp32"])
    fingerprint: str = Field(examples=["2c8dd32c30dba99bf09ee222922edc51"])
    embedding_dim: int = Field(examples=[384])


class Expected(Answer):
    """What a source should show."""

    product: str | None = Field(
        description="The product; null: every part is identified.", examples=["bolt M8"]
    )
    by: str = Field(description="A user, a wire, or `the settings`.", examples=["anna"])
    since: str = Field(examples=["2026-01-01T12:00:00.000+00:00"])
    note: str = Field(description="What a person should know of how it was set.", examples=[""])
    problem: str = Field(
        description="Why it cannot be verified now, so that every part is unsure.", examples=[""]
    )


class ExpectAsked(Asked):
    """What a source should show from now on."""

    product: Label | None = Field(description="Null: every part is identified.")


class SceneChange(Answer):
    """A change of a scene that nobody has told of."""

    kind: Literal["moved", "light", "lens", "covered", "scores"]
    message: str = Field(examples=["the camera was moved: by 3 % of the view"])
    fix: str


class SourceStatus(Answer):
    """One source: what it is doing, and how old its picture is."""

    name: str = Field(examples=["camera"])
    address: str = Field(description="Without credentials.", examples=["rtsp://10.0.0.7/stream1"])
    state: State
    frames: int = Field(examples=[4711])
    age_ms: float | None = Field(examples=[12.5])
    reconnects: int = Field(examples=[0])
    message: str = Field(examples=[""])
    trigger: str = Field(examples=["presence"])
    locate: Literal["whole", "presence", "detector"] = Field(examples=["presence"])
    doubt: str | None = Field(
        description="What speaks against how parts are located: an old empty picture, say.",
        examples=[None],
    )
    verdicts: int = Field(examples=[120])
    stale_frames: int = Field(examples=[0])
    missed_parts: int = Field(
        default=0, description="Parts that were in view and not judged once.", examples=[0]
    )
    fewer_views: int = Field(
        description="Frames judged by one view where three were asked for, for lack of time.",
        examples=[0],
    )
    expected: Expected
    in_view: int | None = Field(
        default=None,
        description="Parts in view; null where nothing tells: the trigger `presence` does, and "
        "locating in every frame.",
        examples=[1],
    )
    view_since: str | None = Field(
        default=None,
        description="Since when something, or nothing, is in view.",
        examples=["2026-01-01T12:00:00.000+00:00"],
    )
    answer: Literal["known", "unknown", "nothing"] | None = Field(
        default=None, description="What came of the last command."
    )
    answers: int = Field(default=0, description="Commands that were answered.")
    change: SceneChange | None = Field(
        default=None, description="What has changed in silence, until it is acknowledged or over."
    )


class AskedAnswer(Answer):
    """What came of a command."""

    answer: Literal["known", "unknown", "nothing"] = Field(
        description="`nothing`: no part was seen within the source's `answer_within`."
    )
    ms: float = Field(description="From the command to the answer.", examples=[140.5])
    verdict: dict[str, Any] | None = Field(description="As in `GET verdicts`.")


class MetersAnswer(Answer):
    """What the picture, or the part in it, tells of the camera."""

    sharpness: float = Field(description="Fine in coarse detail; below 0.2 it is out of focus.")
    brightest: float = Field(description="Grey level that a twentieth of it reaches.")
    darkest: float = Field(description="Grey level that a twentieth of it stays below.")
    white: float = Field(description="Share of it that is burnt out.")
    black: float = Field(description="Share of it that is black.")
    smear: float = Field(description="By movement, as a share of its short side.")
    along: Literal["x", "y"] | None


class AdviceAnswer(Answer):
    """One thing that is well, or is not."""

    about: Literal["focus", "light", "smear", "size", "trigger", "passage"]
    level: Literal["good", "fair", "bad"]
    message: str
    fix: str


class CameraAnswer(Answer):
    """What the camera assistant says."""

    width: int
    height: int
    frames: int = Field(description="Frames looked at.")
    rate: float | None = Field(description="Frames a second of the source.")
    meters: MetersAnswer
    best: float = Field(description="The best sharpness so far.")
    fill: float | None = Field(description="The part's side as a share of the view's shorter one.")
    seen: bool = Field(description="Whether the trigger sees something now.")
    seen_share: float
    speed: float | None = Field(description="Of parts, in pixels a second.")
    passage: float | None = Field(description="Frames in which a part is wholly in view.")
    advice: list[AdviceAnswer]


class WireStatus(Answer):
    """One wire to the plant."""

    name: str = Field(examples=["mqtt"])
    state: Literal["ok", "connecting", "down"]
    detail: str = Field(examples=["connected to broker.local:8883"])
    queued: int = Field(examples=[0])
    dropped: int = Field(examples=[0])


class GalleryStatus(Answer):
    """How much is registered."""

    version: int = Field(examples=[12])
    products: int = Field(examples=[3])


class ReviewStatus(Answer):
    """How much waits for a person."""

    pending: int = Field(examples=[2])


class ScoringStatus(Answer):
    """When a product is recognised."""

    false_accept_rate: float = Field(
        description="Share of strangers that may pass for a product.", examples=[0.02]
    )
    configured: float = Field(description="What the settings say.", examples=[0.05])
    threshold: float | None = Field(
        description="A fixed score of the settings that decides instead.", examples=[None]
    )
    by: str = Field(description="Who set the rate: a user, or `the settings`.", examples=["boss"])
    since: str = Field(description="Empty for the settings' own.", examples=[""])
    note: str = Field(examples=[""])
    can_undo: bool


class Status(Answer):
    """How the station is."""

    station: str = Field(examples=["line-3"])
    version: str = Field(examples=["0.1.0"])
    ready: bool
    time: str = Field(examples=["2026-01-01T12:00:00.000+00:00"])
    bundle: BundleStatus
    provider: str = Field(examples=["cpu"])
    notes: list[str] = Field(examples=[[]])
    sources: list[SourceStatus]
    wires: list[WireStatus]
    scoring: ScoringStatus
    gallery: GalleryStatus
    review: ReviewStatus


class Ready(Answer):
    """Whether the station gives verdicts."""

    ready: bool


class Part(Answer):
    """The frames that a part's verdict rests on."""

    first: int = Field(examples=[101])
    last: int = Field(examples=[118])
    frames: int = Field(examples=[16])
    evidence: list[int] = Field(examples=[[109, 110, 108]])
    number: int = Field(default=0, description="Which part of its source.", examples=[12])
    box: list[int] | None = Field(
        default=None,
        description="Where it lies in the frame, x0, y0, x1, y1 in pixels; null: the whole.",
        examples=[[310, 120, 420, 236]],
    )


class Verification(Answer):
    """Whether a part is the product that is expected."""

    expected: str = Field(examples=["bolt M8"])
    answer: Literal["right", "wrong", "unsure"]
    reason: Literal["", "far", "between", "other", "twice", "negative", "not-registered"] = Field(
        description="Why it is not right: `far` from the expected product, or `between` right and "
        "far; an`other` product is nearer; `twice`: two products hold this very picture; "
        "`negative`: a person said that such a picture is not it; or it is `not-registered`."
    )
    score: float | None = Field(description="Likeness to the expected product.", examples=[0.91])
    wrong_rate: float | None = Field(
        description="Estimated share of wrong parts that would be as near to it.",
        examples=[0.001],
    )


class LocatedPart(Answer):
    """A part in a frame: where, and what it is as far as that is known."""

    box: list[int] = Field(
        description="x0, y0, x1, y1 in pixels of the frame.", examples=[[310, 120, 420, 236]]
    )
    number: int | None = Field(
        description="Which part of its source, once it is reported.", examples=[12]
    )
    label: str | None = Field(examples=["bolt M8"])
    band: Literal["accept", "review", "unknown"] | None = Field(
        description="Null while it is not judged: not wholly in view, or not yet."
    )
    score: float | None = Field(default=None, examples=[0.91])
    margin: float | None = Field(default=None, examples=[0.42])
    known: bool | None = None
    nearest: str | None = Field(default=None, examples=["bolt M8"])
    stranger_rate: float | None = Field(default=None, examples=[0.002])


class PartsInView(Answer):
    """The parts in a source's latest frame."""

    source_name: str = Field(examples=["camera"])
    frame: int = Field(examples=[4711])
    size: list[int] = Field(description="Width and height in pixels.", examples=[[1280, 720]])
    parts: list[LocatedPart]


class Verdict(BaseModel):
    """A verdict on a frame or a part."""

    id: str = Field(examples=["01a20d60f29900006954fc3c"])
    station: str = Field(examples=["line-3"])
    source_name: str = Field(examples=["camera"])
    time: str = Field(examples=["2026-01-01T12:00:00.000+00:00"])
    source: str = Field(examples=["rtsp://10.0.0.7/stream1"])
    frame: int = Field(examples=[109])
    age_ms: float = Field(examples=[41.2])
    label: str | None = Field(examples=["bolt M8"])
    score: float = Field(examples=[0.91])
    margin: float | None = Field(examples=[0.42])
    known: bool
    nearest: str = Field(examples=["bolt M8"])
    band: Literal["accept", "review", "unknown"]
    stranger_rate: float | None = Field(examples=[0.002])
    in_view: bool = Field(
        default=True,
        description="False: nothing is before the camera, as its picture of the empty scene says.",
    )
    part: Part | None = None
    verification: Verification | None = Field(
        default=None, description="Null where no product is expected."
    )
    parts: list[LocatedPart] = Field(
        default=[],
        description="The located parts that it is about; its own fields are the largest one's.",
    )


class Verdicts(Answer):
    """The latest verdicts, newest first."""

    verdicts: list[Verdict]


class CropAnswer(Answer):
    """A rectangle of a capture, in pixels."""

    x: int = Field(examples=[100])
    y: int = Field(examples=[80])
    width: int = Field(examples=[640])
    height: int = Field(examples=[480])


class CaptureAnswer(Answer):
    """A picture that waits to be registered."""

    capture: CaptureId
    width: int = Field(examples=[1920])
    height: int = Field(examples=[1080])
    expires_s: float = Field(examples=[300.0])
    crop: CropAnswer | None = Field(
        description="What it is cut to if no crop is given: the part, where that can be told."
    )
    parts: list[CropAnswer] = Field(
        default=[], description="Around each part wholly in view, from left to right: choose one."
    )
    pictures: int = Field(
        default=1, description="How many views of the part: several after a burst.", examples=[5]
    )


Origin = Literal["page", "settings", "none"]


class SceneAnswer(Answer):
    """A source's region of interest and its empty picture; the page's hold against settings."""

    roi: list[int] | None = Field(
        description="x, y, width, height of the upright picture.", examples=[[100, 0, 640, 480]]
    )
    size: list[int] | None = Field(
        description="Width and height of its latest picture before that.", examples=[[1280, 720]]
    )
    roi_from: Origin
    empty_from: Origin
    empty_size: list[int] | None = Field(examples=[[1280, 720]])
    empty_taken: str | None = Field(examples=["2026-01-01T12:00:00+00:00"])
    empty_author: str | None = Field(examples=["anna"])


class BurstAsked(Asked):
    """How long a part is turned."""

    seconds: Annotated[float, Field(ge=0.5, le=10)] = 4.0


class CropModel(Asked):
    """A rectangle of a capture, in pixels."""

    x: Pixel = Field(examples=[100])
    y: Pixel = Field(examples=[80])
    width: Annotated[Pixel, Field(ge=1)] = Field(examples=[640])
    height: Annotated[Pixel, Field(ge=1)] = Field(examples=[480])


class RoiAsked(Asked):
    """A region of interest of the upright picture; null returns to the settings'."""

    roi: CropModel | None


class CheckAsked(Asked):
    """What a capture is to be checked as."""

    label: Label | None = None
    crop: CropModel | None = None
    catalogue: bool = Field(
        default=False, description="Whether it shows the product alone, on white."
    )


class ConcernProblem(Answer):
    """Something wrong with a picture."""

    code: str = Field(examples=["blurred"])
    message: str = Field(examples=["blurred: its sharpness is 0.11, at least 0.2"])
    fix: str = Field(examples=["focus, hold still, or a shorter exposure"])


class Similar(Answer):
    """A product that the picture looks like."""

    label: str = Field(examples=["bolt M6"])
    score: float = Field(examples=[0.87])


class ConcernsAnswer(Answer):
    """What speaks against registering a picture."""

    problems: list[ConcernProblem]
    similar: list[Similar]


class WarningsAnswer(ConcernsAnswer):
    """Nothing was registered; where warnings are why, they are listed."""

    error: Error
    problems: list[ConcernProblem] = Field(default=[])
    similar: list[Similar] = Field(default=[])


class RegisterAsked(Asked):
    """A capture to be registered."""

    label: Label
    capture: CaptureId
    crop: CropModel | None = None
    accept_warnings: bool = False
    catalogue: bool = Field(
        default=False, description="Whether it shows the product alone, on white."
    )


class RegisteredAnswer(Answer):
    """What was registered."""

    label: str = Field(examples=["bolt M8"])
    version: int = Field(examples=[13])
    snapshots: list[int] = Field(description="New ones.", examples=[[17]])


class Product(Answer):
    """A registered product."""

    label: str = Field(examples=["bolt M8"])
    snapshots: list[int] = Field(examples=[[3, 17]])
    code: int | None = Field(
        default=None, description="For controllers, where one asks for it.", examples=[12]
    )


class ProductsAnswer(Answer):
    """All registered products."""

    version: int = Field(examples=[13])
    products: list[Product]


class RenameAsked(Asked):
    """A product's new name."""

    label: Label
    new: Label


class LabelAsked(Asked):
    """A product."""

    label: Label


class RollbackAsked(Asked):
    """An earlier version of the gallery."""

    version: Version = Field(examples=[12])


class VersionAnswer(Answer):
    """The gallery's new version."""

    version: int = Field(examples=[14])


class HistoryEvent(Answer):
    """One change of the gallery."""

    version: int = Field(examples=[13])
    time: str = Field(examples=["2026-01-01T12:00:00.000+00:00"])
    author: str = Field(examples=["anna"])
    kind: str = Field(examples=["add"])
    label: str | None = Field(examples=["bolt M8"])
    snapshot: int | None = Field(examples=[17])
    argument: str | None = Field(examples=[None])


class History(Answer):
    """The gallery's changes, newest first."""

    events: list[HistoryEvent]


class ReviewItem(Answer):
    """A picture that waits for a person."""

    id: ReviewId
    time: str = Field(examples=["2026-01-01T12:00:00.000+00:00"])
    source: str = Field(examples=["camera"])
    nearest: str = Field(examples=["bolt M8"])
    score: float = Field(examples=[0.58])
    margin: float | None = Field(examples=[0.1])
    band: Literal["review", "unknown"]
    times: int = Field(
        default=1, description="How often the same was seen since it waits.", examples=[14]
    )
    last: str = Field(
        default="", description="When last.", examples=["2026-01-01T12:10:00.000+00:00"]
    )


class ReviewAnswer(Answer):
    """What waits for a person, newest first."""

    pending: int = Field(examples=[2])
    items: list[ReviewItem]


class AssignAsked(Asked):
    """Pictures that show a product."""

    ids: ReviewIds
    label: Label


class IdsAsked(Asked):
    """Pictures under review."""

    ids: ReviewIds


class DecidedAnswer(Answer):
    """How many still wait, and the gallery's version."""

    pending: int = Field(examples=[1])
    version: int = Field(examples=[15])


class SourceCounts(Answer):
    """Parts of one source."""

    source: str = Field(examples=["camera"])
    parts: int = Field(description="Parts with a verdict, unsure and unknown ones included.")
    unsure: int = Field(description="Those that may be a product: the band `review`.")
    unknown: int = Field(description="Those that are like no product.")
    missed: int = Field(description="Parts that were in view and got no verdict.")
    products: dict[str, int] = Field(examples=[{"bolt M8": 120}])


class CountsAnswer(Answer):
    """How many parts there were."""

    shift: str = Field(description="When the shift began.", examples=["2026-11-27 06:00"])
    since: str = Field(description="Since when `sources` counts: the shift, or the last reset.")
    reset_by: str | None = Field(description="Who has reset the counts in this shift.")
    sources: list[SourceCounts]
    total: list[SourceCounts] = Field(description="Of all shifts; never reset.")
    problem: str = Field(description="Why counts cannot be written now; empty where they can.")


class LoginAsked(Asked):
    """Name and password."""

    user: Annotated[str, Field(min_length=1, max_length=64, examples=["anna"])]
    password: Annotated[str, Field(min_length=1, max_length=256, examples=["three plain words"])]


class Me(Answer):
    """Who you are, and the token that POSTs must bear; null with a bearer token."""

    user: str = Field(examples=["anna"])
    role: Literal["operator", "engineer"]
    csrf: str | None = Field(examples=["V1StGXR8Z5jdHi6BmyT"])


class Done(Answer):
    """It is done."""

    done: Literal[True] = True


Responses = dict[int | str, dict[str, Any]]
