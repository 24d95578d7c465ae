"""What the API tells of sources, cameras and the station itself."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from vision_edge.station.http.api.models import Answer, Asked, Label, State


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
    lost_frames: int = Field(
        default=0,
        description="Frames that a GenICam camera took and that did not arrive, or were not taken "
        "in time, since the start. None is replaced by another.",
        examples=[0],
    )
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


class Triggered(Answer):
    """It is done, or under way."""

    done: Literal[True] = True
    trigger: int | None = Field(
        default=None,
        description="The trigger's number, which its verdict bears; where the camera takes a "
        "picture for it.",
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
    answered: int = Field(
        description="Pictures that waited and were recognised once more products or snapshots were "
        "registered, since the start: they wait no longer.",
        examples=[3],
    )


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
