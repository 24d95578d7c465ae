"""A source as a vision system: its nodes, what they show, and the events that tell of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from vision_edge.runtime.errors import require
from vision_edge.station.core.wire import Record
from vision_edge.station.wires.machine_vision.names import EVENTS, RESULT_PARTS
from vision_edge.station.wires.machine_vision.nodes import VisionNodes, variant
from vision_edge.station.wires.machine_vision.results import (
    ABORTED,
    IDENTIFY,
    Job,
    Result,
    Results,
    result_of,
)
from vision_edge.station.wires.machine_vision.types import VisionTypes

SHOWN = 10
"""Variables of the folder `Results`; each shows the newest result of its turn."""
_MACHINE = {
    "": "Preoperational", "connecting": "Preoperational", "live": "Operational",
    "stale": "Operational", "lost": "Error", "ended": "Halted",
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What a vision system tells of its station.

    Attributes:
        products: Returns the names of the registered products.
        configuration: Returns what verdicts are made with: the bundle.
    """

    products: Callable[[], Sequence[str]] = tuple
    configuration: Callable[[], str] = str


class VisionSystem:
    """One source; used in the server's event loop alone.

    Args:
        server: The server, of asyncua.
        types: The types.
        source: The source's name.
        commanded: Whether it is judged on command.
        facts: What it tells of the station.

    Attributes:
        source: The source's name.
        commanded: Whether it is judged on command.
        results: Its latest results.
        expected: The product that is expected now, or None.
        facts: What it tells of the station.
        node: The object, once it is built.
    """

    def __init__(
        self, server: Any, types: VisionTypes, source: str, commanded: bool, facts: Facts
    ) -> None:
        self.source, self.commanded, self.facts = source, commanded, facts
        self.results = Results()
        self.expected: str | None = None
        self.node: Any = None
        self._server, self._types = server, types
        self._make = VisionNodes(server, types)
        self._job: Job | None = None  # one that a client has begun and that has no result yet
        self._numbers = itertools.count(1)
        self._run = self._new_job()
        self._machine = self._mode = ""
        self._answers: int | None = None
        self._shown = itertools.cycle(range(SHOWN))
        self._nodes: dict[str, Any] = {}
        self._slots: list[dict[str, Any]] = []
        self._events: dict[str, Any] = {}

    async def build(self, parent: Any, node_id: Any) -> None:
        """Make the nodes.

        Args:
            parent: The source's node.
            node_id: The system's own id.
        """
        name = "VisionSystem"
        self.node = system = await self._make.object(parent, name, "VisionSystemType", node_id)
        machine = await self._make.object(system, "VisionStateMachine", "VisionStateMachineType")
        kind = "VisionAutomaticModeStateMachineType"
        automatic = await self._make.object(machine, "AutomaticModeStateMachine", kind)
        management = await self._make.object(system, "ResultManagement", "ResultManagementType")
        recipes = await self._make.object(system, "RecipeManagement", "RecipeManagementType")
        folder = await self._make.object(management, "Results", "ResultFolderType")
        self._nodes = {
            "VisionStateMachine": machine, "AutomaticModeStateMachine": automatic,
            "ResultManagement": management, "RecipeManagement": recipes,
        }  # fmt: skip
        for number in range(SHOWN):
            self._slots.append(await self._make.slot(folder, f"Result{number}"))
        for event in EVENTS:
            kind_node = self._types.node(event)
            self._events[event] = await self._server.get_event_generator(kind_node, system)
        await self._move("VisionStateMachine", "Preoperational")
        await self._move("AutomaticModeStateMachine", None)

    def object(self, name: str) -> Any:
        """Return one of its objects."""
        return self._nodes[name]

    async def state(self, values: dict[str, Any]) -> None:
        """Show a source's state.

        Args:
            values: As the wire shows them: `State`, `ExpectedNow`, `Answer`, `Answers`.
        """
        await self._expect(values["ExpectedNow"] or None)
        answers, self._answers = self._answers, values["Answers"]
        machine = _MACHINE.get(values["State"], "Error")
        missed = values["Answer"] == "nothing" and answers not in (None, self._answers)
        if missed or machine != "Operational":
            await self.abort_job()
        if machine != self._machine:
            await self._move("VisionStateMachine", machine)
            self._run = self._new_job()
        await self._show_mode()

    async def verdict(self, record: Record) -> None:
        """Show a verdict as a result, and tell of it."""
        job, self._job = self._job or self._run, None
        result = result_of(record, job, self.expected, self.facts.configuration())
        await self._tell(result)
        await self._show_mode()

    async def start_job(self, meas: str | None, part: str | None) -> Job:
        """Begin a job: the next verdict is its result.

        Args:
            meas: What the client calls the measurement, or None.
            part: What the client calls the part, or None.
        """
        self._job = job = self._new_job(meas, part)
        await self._event("JobStartedEventType", JobId=self._types.named("JobIdDataType", job.id))
        await self._show_mode()
        return job

    async def abort_job(self) -> None:
        """Tell that the job under way, if there is one, ends without a verdict."""
        if self._job is None:
            return
        job, self._job = self._job, None
        now, configuration = datetime.now(timezone.utc), self.facts.configuration()
        await self._tell(
            Result(f"{job.id}-aborted", ABORTED, job, now, now, self.expected, configuration)
        )
        await self._show_mode()

    @property
    def ready(self) -> bool:
        """Whether a job may begin."""
        return self._mode == "Ready"

    def value(self, result: Result) -> Any:
        """Return a result as the standard's structure."""
        ua, types = require("asyncua.ua"), self._types
        content = [ua.Variant(one) for one in result.content]
        times = types.made("ProcessingTimesDataType", StartTime=result.began, EndTime=result.time)
        return types.made(
            "ResultDataType",
            ResultId=types.named("ResultIdDataType", result.id),
            IsPartial=False,
            IsSimulated=False,
            HasTransferableDataOnFile=False,
            ResultState=result.state,
            MeasId=types.named("MeasIdDataType", result.job.meas),
            PartId=types.named("PartIdDataType", result.job.part),
            ExternalRecipeId=types.named("RecipeIdExternalDataType", result.recipe),
            InternalRecipeId=types.named("RecipeIdInternalDataType", result.recipe or IDENTIFY),
            ProductId=types.named("ProductIdDataType", result.recipe),
            InternalConfigurationId=types.named("ConfigurationIdDataType", result.configuration),
            JobId=types.named("JobIdDataType", result.job.id),
            CreationTime=result.time,
            ProcessingTimes=times,
            ResultContent=content,
        )

    async def _tell(self, result: Result) -> None:
        """Keep a result, show it, and raise its event."""
        self.results.add(result)
        value = self.value(result)
        slot = self._slots[next(self._shown)]
        await self._make.write(slot[""], value, result.time)
        for name in RESULT_PARTS:
            await self._make.write(slot[name], variant(getattr(value, name), name), result.time)
        names = EVENTS["ResultReadyEventType"][1]
        fields = {name: getattr(value, name) for name in names}
        await self._event("ResultReadyEventType", result.time, **fields)

    async def _expect(self, product: str | None) -> None:
        if product == self.expected:
            return
        self.expected = product
        if product is not None:
            await self._event(
                "RecipePreparedEventType",
                ExternalId=self._types.named("RecipeIdExternalDataType", product),
                InternalId=self._types.named("RecipeIdInternalDataType", product),
                ProductId=self._types.named("ProductIdDataType", product),
            )

    async def _show_mode(self) -> None:
        """Show what the system does while it is operational: waits, works, or runs on its own."""
        mode: str | None = None
        if self._machine == "Operational":
            waiting = "SingleExecution" if self._job else "Ready"
            mode = waiting if self.commanded else "ContinuousExecution"
        if (mode or "") == self._mode:
            return
        await self._move("AutomaticModeStateMachine", mode)
        if mode == "Ready":
            job = self._types.named("JobIdDataType", self._run.id)
            await self._event("ReadyEventType", JobId=job)

    async def _move(self, machine: str, state: str | None) -> None:
        """Show another state of a machine; None: it is not active."""
        ua = require("asyncua.ua")
        which = "_machine" if machine == "VisionStateMachine" else "_mode"
        before = getattr(self, which)
        setattr(self, which, state or "")
        current = await self._make.child(self._nodes[machine], "CurrentState", 0)
        number = await self._make.child(current, "Id", 0)
        active = None if state is not None else ua.StatusCode(ua.StatusCodes.BadStateNotActive)
        text = ua.LocalizedText(state or "")
        await self._make.write(current, text, status=active)
        await self._make.write(number, ua.NodeId() if state is None else self._types.state(state),
                          status=active)  # fmt: skip
        if before and state:
            await self._event(
                "StateChangedEventType",
                FromState=ua.LocalizedText(before),
                ToState=text,
                Transition=ua.LocalizedText(f"{before}To{state}Auto"),
            )

    async def _event(self, event: str, at: datetime | None = None, **fields: Any) -> None:
        generator = self._events[event]
        for name, value in fields.items():
            generator.event.add_property(name, value, variant(value, name).VariantType)
        await generator.trigger(at, message=f"{self.source}: {event.removesuffix('EventType')}")

    def _new_job(self, meas: str | None = None, part: str | None = None) -> Job:
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
        return Job(f"{self.source}-{stamp}-{next(self._numbers)}", meas, part)
