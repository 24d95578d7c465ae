"""What a station knows of its line: the `[fleet]` part of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Line = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ShadowLimits(_Part):
    """What a new bundle must reach in shadow before a station switches to it.

    Attributes:
        min_agreement: Least share of pictures on which both bundles give one verdict.
        max_accuracy_loss: Most that leave-one-out accuracy may fall, from 0 to 1.
        max_latency_ratio: Most that an inference may take, in times of the present bundle's.
        max_latency_ms: Most that an inference may take, in milliseconds; None for no such limit.
        min_pictures: Least pictures the trial needs; with fewer the update is refused.
        max_pictures: Most pictures it uses: snapshots, pictures under review and live frames.
        live_frames: How many of them to take from the sources.
    """

    min_agreement: Share = 0.9
    max_accuracy_loss: Share = 0.02
    max_latency_ratio: Annotated[float, Field(gt=0.0)] = 1.5
    max_latency_ms: Annotated[float, Field(gt=0.0)] | None = None
    min_pictures: Annotated[int, Field(ge=1)] = 5
    max_pictures: Annotated[int, Field(ge=1, le=5000)] = 400
    live_frames: Annotated[int, Field(ge=0, le=1000)] = 20


class TrialLimits(_Part):
    """What the process may use in which a new bundle is examined and tried, before anything else.

    Attributes:
        memory_mb: Of memory, in MB; about five times the model's file in float32 and 300 more.
        open_seconds: Until its files are unpacked and checked, and again until its model is open.
        embed_seconds: Of one inference.
        seconds: Of all of it, with the rests that leave the station time.
    """

    memory_mb: Annotated[float, Field(ge=128.0, le=1e6)] = 2048.0
    open_seconds: Annotated[float, Field(gt=0.0, le=3600.0)] = 120.0
    embed_seconds: Annotated[float, Field(gt=0.0, le=600.0)] = 30.0
    seconds: Annotated[float, Field(gt=0.0, le=86_400.0)] = 3600.0


class FleetSettings(_Part):
    """The `[fleet]` part of a station's settings.

    Attributes:
        line: Name of the line; stations of one line share one gallery.
        share_gallery: Share products with the line's other stations, through `[mqtt]`'s broker.
        max_snapshot_mb: Larger snapshots are neither sent nor taken.
        max_product_mb: Most that one product's snapshots may hold together.
        max_line_mb: Most that the whole line's snapshots may hold together.
        max_products: Most products, and pictures of no product, on the line.
        max_clock_skew_s: A change dated so far in the future waits until its time has come.
        poll_s: How often changes made by another process are looked for, in seconds.
        bundle_from: Where new bundles come from: a folder, or an https address that they lie
            under. None takes no bundle.
        bundle_ca: A PEM file of the authorities that vouch for that address; None takes the
            system's.
        max_bundle_mb: Larger bundles are refused, packed or unpacked.
        shadow: What a new bundle must reach.
        trial: What its trial may use.
    """

    line: Line | None = None
    share_gallery: bool = False
    max_snapshot_mb: Annotated[float, Field(gt=0.0, le=64.0)] = 8.0
    max_product_mb: Annotated[float, Field(gt=0.0, le=1024.0)] = 64.0
    max_line_mb: Annotated[float, Field(gt=0.0)] = 2048.0
    max_products: Annotated[int, Field(ge=1, le=100_000)] = 5000
    max_clock_skew_s: Annotated[float, Field(ge=0.0)] = 600.0
    poll_s: Annotated[float, Field(ge=0.05, le=60.0)] = 0.5
    bundle_from: str | None = None
    bundle_ca: Path | None = None
    max_bundle_mb: Annotated[float, Field(gt=0.0)] = 2048.0
    shadow: ShadowLimits = ShadowLimits()
    trial: TrialLimits = TrialLimits()

    @model_validator(mode="after")
    def _check(self) -> FleetSettings:
        if self.share_gallery and self.line is None:
            raise ValueError('share_gallery needs the name of the line: line = "…"')
        place = self.bundle_from or ""
        if "://" in place and not place.startswith("https://"):
            raise ValueError(f"bundle_from must be a folder or an https address; got {place!r}")
        if place and "://" not in place and not Path(place).is_absolute():
            raise ValueError(f"bundle_from must be a whole path, from / on; got {place!r}")
        return self
