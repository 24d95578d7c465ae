"""The settings of a station: one TOML file, each value checked where it is made.

`VISION_EDGE_SERVER__PORT=9000` in the environment overrides `port` of `[server]`; a relative path
in the file counts from the file's folder. `settings_file.py` reads it.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.locating import Locate
from vision_edge.runtime.images.reading import AS_IT_SAYS, WHITE, Reading, parse_colour
from vision_edge.runtime.inference.detector import Colour, DetectorSettings, Values
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.runner import Precision
from vision_edge.runtime.pipeline.frame_views import Views, ViewSettings
from vision_edge.runtime.recognition.part_consensus import Method
from vision_edge.runtime.recognition.part_tracking import Report
from vision_edge.runtime.sources.addresses import live_address
from vision_edge.runtime.sources.genicam_address import fired_by_software
from vision_edge.runtime.sources.grabber import Backend, GrabberOptions
from vision_edge.runtime.sources.live import LiveSettings
from vision_edge.runtime.sources.opening import gives_pictures
from vision_edge.runtime.sources.view import Flip, View
from vision_edge.station.settings.counting import CountingSettings
from vision_edge.station.settings.fleet import FleetSettings
from vision_edge.station.settings.history import HistorySettings, StatisticsSettings
from vision_edge.station.settings.provenance import ProvenanceSettings, RecordsSettings
from vision_edge.station.settings.wires import (
    ModbusSettings,
    MqttSettings,
    OpcuaSettings,
    SparkplugSettings,
    WebhookSettings,
)

NAME = r"^[^\W_][\w.-]{0,39}$"
"""A name that is fit for an address and a topic."""

Name = Annotated[str, Field(pattern=NAME)]
Seconds = Annotated[float, Field(ge=0, le=3600)]
Trigger = Literal["none", "presence", "motion", "interval", "command"]


class Section(BaseModel):
    """A table of the file: it cannot be changed, and knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StationSection(Section):
    """Who the station is.

    Attributes:
        name: What it is called in verdicts, topics and on the page.
        state_dir: Folder of what it must not forget; by default beside the gallery.
        log: Lines of the log for people, or each a JSON object.
    """

    name: Name = "station"
    state_dir: Path | None = None
    log: Literal["text", "json"] = "text"


class SourceSettings(Section):
    """One camera, stream, video or folder, and how its parts are judged.

    Attributes:
        name: What it is called.
        address: As `vision-edge run` takes it: `0`, `rtsp://…`, `csi://0`, a file, a folder.
        rotate: Degrees clockwise: 0, 90, 180 or 270.
        flip: `"horizontal"` or `"vertical"` mirrors the picture.
        roi: Only this region: x, y, width, height in pixels of the upright picture.
        exposure: Fixed exposure of a USB camera, in its driver's unit.
        bits: Bits in use in pictures of 16 bits a channel, of files or of an `http://` address of
            single pictures: 12 for a 12-bit camera's.
        background: Colour that their transparency is laid on, `#rrggbb`; white by default.
        backend: What reads streams.
        trigger: `"none"` gives a verdict a frame, the others one a part.
        interval: Seconds a part, with `interval`.
        locate: Where parts are: `"whole"`, the picture is one; `"presence"`, by the empty scene;
            `"detector"`. By default what the trigger needs.
        empty: Picture of the empty scene, for `presence`; parts are cut out where it is given, and
            with `"whole"` a verdict says whether anything is in view. One that is taken on the
            page holds against it.
        detector: ONNX file of a detector.
        detector_score: Least score of a part, 0 to 1.
        detector_overlap: Of parts that overlap more (intersection over union), one counts.
        detector_values: Pixels as it takes them: `"auto"`, `"0-1"`, `"0-255"` or `"imagenet"`.
        detector_colour: Order of its channels: `"auto"`, `"rgb"` or `"bgr"`.
        max_rate: Frames a second that are judged at most, with trigger `none`; by default all.
        consensus: How the frames of a part agree.
        report: When a part is reported: `"settled"`, as soon as its frames agree, or `"leave"`.
        debounce: Seconds without the same part again.
        answer_within: Seconds within which a command is answered, with `command`: after it,
            nothing was seen. At least two frames must come in the first half of it.
        loop: A file starts again at its end, played at its own rate; for trials.
        follow: A folder's pictures are judged as they come, each once it is whole.
        realtime: A video file is played at its own rate.
        fps: Frames a second of a file that is played at a rate; by default the video's own, and 2
            for pictures.
        expected: The product that every part should be; verdicts then say right, wrong or unsure.
            What is set later, by the page or a wire, holds until this setting changes.
        views: Views that a frame is embedded by: 1, or 3 for three inferences.
        view_budget_ms: With three: one is enough where three take longer.
        max_age_ms: A live frame older than this gets no verdict.
        stale_after: Seconds without a frame after which a camera counts as stale.
        lost_after: Seconds without a frame after which it is connected to anew.
    """

    name: Name
    address: Annotated[str, Field(min_length=1, max_length=2000)]
    rotate: Literal[0, 90, 180, 270] = 0
    flip: Flip = "none"
    roi: tuple[int, int, int, int] | None = None
    exposure: float | None = None
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    background: Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")] | None = None
    backend: Backend = "auto"
    trigger: Trigger = "none"
    interval: Annotated[float, Field(ge=0.01, le=3600)] = 2.0
    locate: Locate | None = None
    empty: Path | None = None
    detector: Path | None = None
    detector_score: Annotated[float, Field(ge=0, le=1)] | None = None
    detector_overlap: Annotated[float, Field(ge=0.05, le=1)] | None = None
    detector_values: Values | None = None
    detector_colour: Colour | None = None
    max_rate: Annotated[float, Field(gt=0, le=1000)] | None = None
    consensus: Method = "mean"
    report: Report = "settled"
    debounce: Seconds = 0.0
    answer_within: Annotated[float, Field(ge=0.1, le=60)] = 2.0
    loop: bool = False
    follow: bool = False
    realtime: bool = False
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    expected: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    views: Views = 1
    view_budget_ms: Annotated[float, Field(gt=0, le=60_000)] | None = None
    max_age_ms: Annotated[float, Field(ge=1, le=60_000)] = 1000.0
    stale_after: Annotated[float, Field(ge=0.1, le=600)] = 1.0
    lost_after: Annotated[float, Field(ge=0.5, le=3600)] = 5.0

    @model_validator(mode="after")
    def _fits(self) -> SourceSettings:
        _checked(lambda: self.view)
        if self.trigger == "presence" and self.locate is None and self.empty is None:
            raise ValueError('trigger = "presence" needs empty = "PICTURE of the empty scene"')
        if self.trigger == "presence" and self.locate == "whole":
            raise ValueError('trigger = "presence" judges what is located: not locate = "whole"')
        if self.locate == "detector" and self.detector is None:
            raise ValueError('locate = "detector" needs detector = "FILE.onnx"')
        said = [k for k in type(self).model_fields if k.startswith("detector") and getattr(self, k)]
        if said and self.locate != "detector":
            raise ValueError(f'{said[0]} is for locate = "detector"')
        if self.view_budget_ms is not None and self.views == 1:
            raise ValueError("view_budget_ms is for views = 3: one view is what there is at least")
        if self.max_rate is not None and self.trigger != "none":
            raise ValueError('max_rate is for trigger = "none": the others judge a part as a whole')
        if self.reading != AS_IT_SAYS and not (self.empty or gives_pictures(self.address)):
            raise ValueError(
                "bits and background are for pictures: of files, of an http:// address of single "
                "pictures, or of the empty scene"
            )
        _checked(lambda: self.fired)
        if self.trigger != "command" and fired_by_software(self.address):
            raise ValueError(
                "trigger=Software in the address: the camera takes a picture on each command, so "
                'it needs trigger = "command"'
            )
        if self.loop and live_address(self.address) is not None:
            raise ValueError("loop is for files; a camera never ends")
        if self.follow and live_address(self.address) is not None:
            raise ValueError("follow is for a folder; a camera brings its pictures itself")
        if self.follow and (self.loop or self.realtime or self.fps or self.trigger != "none"):
            raise ValueError('follow takes trigger = "none", and no loop, realtime or fps')
        return self

    @property
    def fired(self) -> bool:
        """Whether each of its pictures is taken on a command of the station's."""
        return self.trigger == "command" and fired_by_software(self.address)

    @property
    def located(self) -> Locate:
        """How parts are located."""
        return self.locate or ("presence" if self.trigger == "presence" else "whole")

    @property
    def detector_settings(self) -> DetectorSettings | None:
        """The detector, if there is one."""
        if self.detector is None:
            return None
        given = {
            "score": self.detector_score,
            "overlap": self.detector_overlap,
            "values": self.detector_values,
            "colour": self.detector_colour,
        }
        said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return DetectorSettings(self.detector, **said)

    @property
    def frame_views(self) -> ViewSettings:
        """How many views a frame is embedded by."""
        return ViewSettings(self.views, self.view_budget_ms)

    @property
    def reading(self) -> Reading:
        """What pictures do not say of themselves."""
        colour = WHITE if self.background is None else parse_colour(self.background)
        return Reading(self.bits, colour)

    @property
    def view(self) -> View:
        """How the picture is turned, mirrored and cut."""
        return View(self.rotate, self.flip, self.roi)

    @property
    def live(self) -> LiveSettings:
        """How a camera or stream behaves: it is waited for, and never given up."""
        grabber = GrabberOptions(backend=self.backend, exposure=self.exposure)
        return LiveSettings(self.stale_after, self.lost_after, wait=True, grabber=grabber)


class ScoringSettings(Section):
    """When a product is recognised.

    Attributes:
        false_accept_rate: Share of strangers that may pass for a product.
        threshold: A fixed score instead, -1 to 1.
        cohort: Whether what the cameras see tells what is unknown: embeddings of judged frames, no
            pictures, are kept in the gallery.
    """

    false_accept_rate: Annotated[float, Field(ge=1e-6, lt=1)] = 0.05
    threshold: Annotated[float, Field(ge=-1, le=1)] | None = None
    cohort: bool = True


class ReviewSettings(Section):
    """What is kept for a person to look at.

    Attributes:
        most: Pictures kept; the oldest goes first.
        per_minute: Pictures a minute and source, so that a lost product does not flood it.
    """

    most: Annotated[int, Field(ge=1, le=100_000)] = 500
    per_minute: Annotated[float, Field(gt=0, le=600)] = 12.0


class ServerSettings(Section):
    """The HTTP server. Bound to more than this machine, it must know who may use it.

    Attributes:
        host: Address to bind to.
        port: TCP port; 0 takes a free one.
        hosts: Names that browsers may call it by, besides its addresses and `localhost`.
        trusted_proxies: Addresses or networks of proxies whose `X-Forwarded-For` and
            `X-Forwarded-Proto` are believed; anybody else's are not.
        tls_cert: PEM file of the certificate chain.
        tls_key: PEM file of its key.
        users_file: Users, roles and password hashes, as `vision-edge user` writes them.
        token_file: Tokens for programs, one a line: `TOKEN ROLE NAME`.
        max_upload_mb: Largest upload, in megabytes.
        max_uploading_mb: All uploads that are under way at once, in megabytes.
        max_pixels: Largest picture, in pixels.
        max_pixels_at_once: All pictures that are decoded at once for requests, in pixels.
        max_connections: Connections at once.
        max_connections_per_client: Of one address.
        requests_per_second: Requests a second and client, on average.
        max_streams: Event and picture streams at once, over all clients.
        session_hours: How long a login lasts without use.
        capture_seconds: How long a frozen picture waits to be registered.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    users_file: Path | None = None
    token_file: Path | None = None
    max_upload_mb: Annotated[float, Field(gt=0, le=1000)] = 20.0
    max_pixels: Annotated[int, Field(ge=10_000, le=100_000_000)] = 50_000_000
    max_uploading_mb: Annotated[float, Field(gt=0, le=4000)] = 60.0
    max_pixels_at_once: Annotated[int, Field(ge=10_000, le=400_000_000)] = 100_000_000
    max_connections: Annotated[int, Field(ge=8, le=10_000)] = 400
    max_connections_per_client: Annotated[int, Field(ge=4, le=10_000)] = 100
    requests_per_second: Annotated[float, Field(ge=1, le=10_000)] = 50.0
    max_streams: Annotated[int, Field(ge=1, le=1000)] = 64
    session_hours: Annotated[float, Field(gt=0, le=720)] = 12.0
    capture_seconds: Annotated[float, Field(ge=1, le=3600)] = 300.0

    @model_validator(mode="after")
    def _safe(self) -> ServerSettings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both tls_cert and tls_key")
        if self.max_uploading_mb < self.max_upload_mb or self.max_pixels_at_once < self.max_pixels:
            raise ValueError(
                "one upload must fit: max_uploading_mb is at least max_upload_mb, and "
                "max_pixels_at_once at least max_pixels"
            )
        if not self.loopback and not self.guarded:
            raise ValueError(
                f"host {self.host!r} can be reached by others, so users_file or token_file must "
                "say who may use it (vision-edge user add NAME --file users.toml), or host must "
                "be 127.0.0.1"
            )
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def guarded(self) -> bool:
        """Whether it knows users or tokens."""
        return self.users_file is not None or self.token_file is not None

    @property
    def tls(self) -> bool:
        """Whether it serves HTTPS."""
        return self.tls_cert is not None


class StationSettings(BaseSettings):
    """All settings of a station.

    Attributes:
        bundle: Folder that `vision-edge export` wrote.
        gallery: The gallery's file; made if there is none.
        sources: At least one camera, stream, video or folder.
        provider: ONNX Runtime provider, or `auto`.
        threads: CPU threads an inference; default: all cores.
        counting: When shifts begin.
        precision_hint: Arithmetic of a float32 bundle's parts, as `SessionOptions` has it.
        cuda_graph: With `cuda`: replay each batch size as a CUDA graph.
        mqtt: The section `[mqtt]`; each section that is absent is a wire that there is not.
        sparkplug: The section `[sparkplug]`.
        webhook: The section `[webhook]`.
        modbus: The section `[modbus]`.
        opcua: The section `[opcua]`.
        fleet: The section `[fleet]`.
        provenance: The section `[provenance]`; without it no signature is asked for.
        records: The section `[records]`; without it there are none.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="VISION_EDGE_", env_nested_delimiter="__"
    )

    bundle: Path
    gallery: Path
    sources: Annotated[tuple[SourceSettings, ...], Field(min_length=1, max_length=64)]
    provider: str = "auto"
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    precision_hint: Precision = "f32"
    cuda_graph: bool = False
    station: StationSection = StationSection()
    scoring: ScoringSettings = ScoringSettings()
    review: ReviewSettings = ReviewSettings()
    history: HistorySettings = HistorySettings()
    statistics: StatisticsSettings = StatisticsSettings()
    server: ServerSettings = ServerSettings()
    counting: CountingSettings = CountingSettings()
    mqtt: MqttSettings | None = None
    sparkplug: SparkplugSettings | None = None
    webhook: WebhookSettings | None = None
    modbus: ModbusSettings | None = None
    opcua: OpcuaSettings | None = None
    fleet: FleetSettings | None = None
    provenance: ProvenanceSettings | None = None
    records: RecordsSettings | None = None

    @model_validator(mode="after")
    def _distinct(self) -> StationSettings:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}; each needs its own name")
        return self

    @property
    def reading(self) -> Reading:
        """How uploaded pictures are read: as the sources say that say it, if they say it alike."""
        said = {source.reading for source in self.sources} - {AS_IT_SAYS}
        return said.pop() if len(said) == 1 else AS_IT_SAYS

    @property
    def session(self) -> SessionOptions:
        """How the bundle's session is opened."""
        hint, graph = self.precision_hint, self.cuda_graph
        return SessionOptions(self.threads, precision=hint, cuda_graph=graph)

    @property
    def state_dir(self) -> Path:
        """Folder of what the station must not forget."""
        beside = self.gallery.with_name(f"{self.gallery.name}.station")
        return self.station.state_dir or beside

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the command line says counts most, then the environment, then the file."""
        assert isinstance(init_settings, InitSettingsSource)
        from_file = init_settings.init_kwargs.pop("from_file", {})
        return init_settings, env_settings, InitSettingsSource(settings_cls, from_file)


def _checked(make: Any) -> None:
    """Have pydantic report what a value class of ours refuses."""
    try:
        make()
    except VisionEdgeError as error:
        raise ValueError(f"{error.what}; {error.fix}") from None
