"""OPC 40100-1 (Machine Vision) over OPC UA: with asyncua's client, and with node-opcua's.

The official NodeSet belongs to the OPC Foundation and is not here: a stand-in of the same namespace
and names proves that a given file is loaded and used. With `VISION_EDGE_NODESET=FILE` the same
tests run on the official file.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.paths import TESTS
from support.wires import STATION, free_port, record, until

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.wire import Commands
from vision_edge.station.settings.wires import OpcuaSettings

asyncua = pytest.importorskip("asyncua")

from vision_edge.station.wires.machine_vision.names import OFFICIAL, OWN  # noqa: E402
from vision_edge.station.wires.machine_vision.own_model import own_model  # noqa: E402
from vision_edge.station.wires.machine_vision.results import (  # noqa: E402
    KEPT,
    Job,
    Results,
    matches,
    page,
    result_of,
)
from vision_edge.station.wires.machine_vision.system import Facts  # noqa: E402
from vision_edge.station.wires.opcua import OpcuaWire  # noqa: E402

NODE_CLIENT = Path(os.environ.get("VISION_EDGE_NODE_OPCUA", f"{sys.prefix}/opcua-client"))
SOURCES = ("part", "belt", "lane")
LIVE = {"state": "live", "expected": {"product": None}, "answer": None, "answers": 0}


@pytest.fixture(scope="module")
def nodeset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official file where it is given; else the stand-in."""
    given = os.environ.get("VISION_EDGE_NODESET")
    if given:
        return Path(given)
    path = tmp_path_factory.mktemp("nodeset") / "stand-in.xml"
    path.write_text(own_model(OFFICIAL), encoding="utf-8")
    return path


class Plant:
    """A wire with sources, `part` on command and the others free, and what it was asked."""

    def __init__(self, nodeset: Path | None = None, **more: Any) -> None:
        self.asked: list[Any] = []
        given = {"machine_vision": True, "expect": True, "nodeset": nodeset, **more}
        settings = OpcuaSettings(port=free_port(), **given)
        self.url = f"opc.tcp://127.0.0.1:{settings.port}/vision-edge"
        facts = Facts(lambda: ["bolt", "nut", "valve"], lambda: "bundle-1")
        self.wire = OpcuaWire(settings, STATION, list(SOURCES), ["part"], facts)
        self.wire.start(Commands(self._trigger, self._expect))
        until(lambda: self.wire.health().state == "ok", 90.0)
        self.anew()
        self.namespace = OWN if nodeset is None else OFFICIAL

    def anew(self) -> None:
        """Have all sources live, and nothing asked for."""
        self.asked.clear()
        for source in SOURCES:
            self.wire.state(source, LIVE)

    def __enter__(self) -> Plant:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def _trigger(self, source: str | None) -> None:
        self.asked.append(source)
        if "refuse" in self.asked:
            raise VisionEdgeError("no camera")

    def _expect(self, source: str, product: str | None, unregistered: bool) -> None:
        if product == "gone":
            raise VisionEdgeError("'gone' is not registered")
        self.asked.append((source, product))
        self.wire.state(source, {**LIVE, "expected": {"product": product}})

    def run(self, work: Any) -> Any:
        async def connected() -> Any:
            async with asyncua.Client(self.url, timeout=10) as client:
                await client.load_data_type_definitions()
                return await work(await Seen.through(client, self.namespace))

        return within(connected())


@pytest.fixture(scope="module", params=["own names", "a given file"])
def plant(request: pytest.FixtureRequest, nodeset: Path) -> Iterator[Plant]:
    """A wire with the own model, and one with the NodeSet that is given."""
    with Plant(None if request.param == "own names" else nodeset) as plant:
        yield plant


def within(work: Coroutine[Any, Any, Any]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(work, 60)

    return asyncio.run(limited())


class Seen:
    """What a client sees of one vision system."""

    def __init__(self, client: Any, index: int, own: int) -> None:
        self.client, self.index, self._own = client, index, own
        self.events: list[Any] = []

    @classmethod
    async def through(cls, client: Any, namespace: str) -> Seen:
        index = await client.get_namespace_index(namespace)
        return cls(client, index, await client.get_namespace_index("urn:vision-edge"))

    def node(self, source: str, *names: str) -> Any:
        dotted = ".".join(("VisionSystem", *names))
        return self.client.get_node(asyncua.ua.NodeId(f"{STATION}/{source}/{dotted}", self._own))

    async def state(self, source: str, *names: str) -> str:
        data = await self.node(
            source, "VisionStateMachine", *names, "CurrentState"
        ).read_data_value(raise_on_bad_status=False)
        if not data.StatusCode.is_good():
            return str(data.StatusCode.name)
        return str(data.Value.Value.Text)

    async def become(self, source: str, state: str, *names: str) -> None:
        for _ in range(500):
            if await self.state(source, *names) == state:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{await self.state(source, *names)}, not {state}")

    async def call(self, source: str, parent: str, method: str, *given: Any) -> list[Any]:
        owner = self.node(source, *parent.split("."))
        answer = await owner.call_method(f"{self.index}:{method}", *given)
        return answer if isinstance(answer, list) else [answer]

    async def subscribe(self, source: str, *names: str) -> None:
        """Collect events of some types from now on."""

        class Heard:
            def event_notification(_, event: Any) -> None:
                self.events.append(event)

        types = []
        for name in names:
            base = "0:TransitionEventType" if name.startswith("State") else ""
            path = ["0:Types", "0:EventTypes", "0:BaseEventType", *filter(None, [base])]
            types.append(await self.client.nodes.root.get_child([*path, f"{self.index}:{name}"]))
        subscription = await self.client.create_subscription(20, Heard())
        await subscription.subscribe_events(self.node(source), types)

    async def heard(self, count: int) -> list[Any]:
        for _ in range(500):
            if len(self.events) >= count:
                break
            await asyncio.sleep(0.02)
        return self.events

    def id(self, structure: str, name: str = "") -> Any:
        return getattr(asyncua.ua, structure)(Id=name)


AUTOMATIC = "VisionStateMachine.AutomaticModeStateMachine"


def test_states_results_and_events_have_the_names_of_the_standard(plant: Plant) -> None:
    plant.anew()

    async def work(seen: Seen) -> None:
        system = seen.node("belt")
        kind = seen.client.get_node(await system.read_type_definition())
        name = await kind.read_browse_name()
        assert (name.Name, name.NamespaceIndex) == ("VisionSystemType", seen.index)
        await seen.become("belt", "Operational")
        await seen.become("belt", "ContinuousExecution", "AutomaticModeStateMachine")
        await seen.become("part", "Ready", "AutomaticModeStateMachine")
        state_id = await seen.node("belt", "VisionStateMachine", "CurrentState", "Id").read_value()
        assert (await seen.client.get_node(state_id).read_browse_name()).Name == "Operational"
        await seen.subscribe("belt", "ResultReadyEventType", "StateChangedEventType")
        told = {"expected": "bolt", "answer": "right", "reason": "", "wrong_rate": 0.0}
        plant.wire.verdict(record(1, "belt", verification=told))
        (ready,) = await seen.heard(1)
        assert ready.ResultId.Id == record(1)["id"]
        assert ready.ProductId.Id == ready.InternalRecipeId.Id == "bolt"
        content = [v.Value if isinstance(v, asyncua.ua.Variant) else v
                   for v in ready.ResultContent]  # fmt: skip
        assert content[:5] == ["valve", True, 0.912345, "right", "sure"]
        assert json.loads(content[5])["frame"] == 1
        shown = seen.node("belt", "ResultManagement", "Results", "Result0")
        value = await shown.read_value()
        assert value.ResultId.Id == ready.ResultId.Id
        assert (value.ResultState, value.InternalConfigurationId.Id) == (1, "bundle-1")
        kind = seen.client.get_node(await shown.read_type_definition())
        assert (await kind.read_browse_name()).Name == "ResultType"
        part = await shown.get_child(f"{seen.index}:ResultId")
        assert (await part.read_value()).Id == ready.ResultId.Id
        plant.wire.state("belt", {**LIVE, "state": "lost"})
        await seen.become("belt", "Error")
        assert await seen.state("belt", "AutomaticModeStateMachine") == "BadStateNotActive"
        changed = (await seen.heard(2))[1]
        assert (changed.FromState.Text, changed.ToState.Text) == ("Operational", "Error")
        plant.wire.state("belt", {**LIVE, "state": "ended"})
        await seen.become("belt", "Halted")
        plant.wire.state("belt", {**LIVE, "state": "connecting"})
        await seen.become("belt", "Preoperational")

    plant.run(work)
    assert plant.wire.health().dropped == 0


def test_a_job_is_begun_and_its_result_found(plant: Plant) -> None:
    plant.anew()

    async def start(seen: Seen, source: str = "part", product: str = "") -> list[Any]:
        ids = [seen.id("MeasIdDataType", "m-7"), seen.id("PartIdDataType", "p-9")]
        ids += [seen.id("RecipeIdExternalDataType"), seen.id("ProductIdDataType", product)]
        nothing = asyncua.ua.Variant([], asyncua.ua.VariantType.Variant, is_array=True)
        return await seen.call(source, AUTOMATIC, "StartSingleJob", *ids, nothing)

    async def work(seen: Seen) -> None:
        ua = asyncua.ua
        await seen.become("part", "Ready", "AutomaticModeStateMachine")
        await seen.subscribe("part", "JobStartedEventType", "ResultReadyEventType")
        job, error = await start(seen)
        assert error == 0
        await seen.become("part", "SingleExecution", "AutomaticModeStateMachine")
        with pytest.raises(ua.UaError, match="BadInvalidState"):
            await start(seen)
        with pytest.raises(ua.UaError, match="BadInvalidState"):
            await start(seen, "belt")
        plant.wire.verdict(record(5, "part"))
        started, ready = await seen.heard(2)
        assert started.JobId.Id == ready.JobId.Id == job.Id
        assert (ready.MeasId.Id, ready.PartId.Id) == ("m-7", "p-9")
        await seen.become("part", "Ready", "AutomaticModeStateMachine")
        _, found, error = await seen.call(
            "part", "ResultManagement", "GetResultById",
            seen.id("ResultIdDataType", record(5)["id"]), ua.Variant(0, ua.VariantType.Int32),
        )  # fmt: skip
        assert (error, found.PartId.Id, found.JobId.Id) == (0, "p-9", job.Id)
        parts = await seen.call(
            "part", "ResultManagement", "GetResultComponentsById",
            seen.id("ResultIdDataType", record(5)["id"]), ua.Variant(0, ua.VariantType.Int32),
        )  # fmt: skip
        assert len(parts) == 17
        assert (parts[6].Id, parts[-1]) == ("p-9", 0)
        missing = await seen.call(
            "part", "ResultManagement", "GetResultById",
            seen.id("ResultIdDataType", "none"), ua.Variant(0, ua.VariantType.Int32),
        )  # fmt: skip
        assert missing[-1] == 2
        assert (await start(seen, product="bolt"))[1] == 3  # is not prepared
        await start(seen)
        plant.wire.state("part", {**LIVE, "answer": "nothing", "answers": 1})
        aborted = (await seen.heard(4))[3]
        assert aborted.ResultState == 3
        plant.asked.append("refuse")
        assert (await start(seen))[1] == 1
        await seen.become("part", "Ready", "AutomaticModeStateMachine")
        assert [event.ResultState for event in (await seen.heard(6))[5:]] == [3]

    plant.run(work)
    assert plant.asked == ["part", "part", "refuse", "part"]


def test_results_are_listed_by_filters_and_products_prepared(plant: Plant) -> None:
    plant.anew()

    async def listed(seen: Seen, state: int = 0, product: str = "", most: int = 0,
                     start: int = 0) -> Any:  # fmt: skip
        ua = asyncua.ua
        ids = [seen.id(f"{name}DataType") for name in (
            "MeasId", "PartId", "RecipeIdExternal", "RecipeIdInternal", "ConfigurationId",
            "ConfigurationId")]  # fmt: skip
        numbers = [ua.Variant(most, ua.VariantType.UInt32),
                   ua.Variant(start, ua.VariantType.UInt32),
                   ua.Variant(0, ua.VariantType.Int32)]  # fmt: skip
        return await seen.call(
            "lane", "ResultManagement", "GetResultListFiltered",
            ua.Variant(state, ua.VariantType.Int32), *ids,
            seen.id("ProductIdDataType", product), seen.id("JobIdDataType"), *numbers,
        )  # fmt: skip

    async def work(seen: Seen) -> None:
        ua = asyncua.ua
        await seen.become("lane", "ContinuousExecution", "AutomaticModeStateMachine")
        await seen.subscribe("lane", "ResultReadyEventType", "RecipePreparedEventType")
        for number in range(3):
            plant.wire.verdict(record(number, "lane"))
        await seen.heard(3)
        complete, count, handle, found, error = await listed(seen)
        assert (complete, count, handle, error) == (True, 3, 0, 0)
        assert [one.ResultId.Id for one in found] == [record(n)["id"] for n in (2, 1, 0)]
        complete, count, _, found, _ = await listed(seen, most=1, start=1)
        assert (complete, [one.ResultId.Id for one in found]) == (False, [record(1)["id"]])
        assert (await listed(seen, state=3))[1] == 0
        inner, error = await seen.call(
            "lane", "RecipeManagement", "PrepareProduct", seen.id("ProductIdDataType", "bolt")
        )
        assert (inner.Id, error) == ("bolt", 0)
        prepared = (await seen.heard(4))[3]
        assert prepared.ProductId.Id == "bolt"
        plant.wire.verdict(record(9, "lane"))
        await seen.heard(5)
        assert (await listed(seen, product="b*"))[1] == 1
        gone = seen.id("RecipeIdExternalDataType", "gone"), seen.id("RecipeIdInternalDataType")
        _, completed, error = await seen.call("lane", "RecipeManagement", "PrepareRecipe", *gone)
        assert (completed, error) == (False, 1)
        recipes = [seen.id("RecipeIdExternalDataType"), seen.id("ProductIdDataType")]
        zero, int32 = ua.Variant(0, ua.VariantType.UInt32), ua.Variant(0, ua.VariantType.Int32)
        for wanted, names in ((2, ["bolt", "nut", "valve"]), (1, ["bolt"])):
            answer = await seen.call(
                "lane", "RecipeManagement", "GetRecipeListFiltered", *recipes,
                ua.Variant(wanted, ua.VariantType.Int32), zero, zero, int32,
            )  # fmt: skip
            assert [one.Id for one in answer[3]] == names
        unprepare = seen.id("ProductIdDataType", "bolt")
        answer = await seen.call("lane", "RecipeManagement", "UnprepareProduct", unprepare)
        assert answer[1] == 0
        assert (await seen.call("lane", "RecipeManagement", "UnprepareProduct", unprepare))[1] == 3

    plant.run(work)
    assert plant.asked == [("lane", "bolt"), ("lane", None)]


def test_calls_that_are_wrong_or_not_offered_are_refused() -> None:
    with Plant(expect=False, triggers=False) as plant:

        async def work(seen: Seen) -> None:
            ua = asyncua.ua
            await seen.become("part", "Ready", "AutomaticModeStateMachine")
            product = seen.id("ProductIdDataType", "bolt")
            number = ua.Variant(1, ua.VariantType.Int32)
            for source, parent, method, given, status in (
                ("part", "RecipeManagement", "PrepareProduct", [product], "BadNotExecutable"),
                ("part", "VisionStateMachine", "Halt", [number, "why"], "BadNotExecutable"),
                ("part", AUTOMATIC, "Stop", [number, "why"], "BadNotExecutable"),
                ("part", "ResultManagement", "GetResultById", [], "BadArgumentsMissing"),
                (
                    "part", "ResultManagement", "GetResultById",
                    [number, number], "BadInvalidArgument",
                ),
                (
                    "part", "ResultManagement", "GetResultById",
                    [seen.id("ResultIdDataType", "x" * 300), number], "BadInvalidArgument",
                ),
                (
                    "part", "ResultManagement", "GetResultById",
                    [product, number, number], "BadTooManyArguments",
                ),
            ):  # fmt: skip
                with pytest.raises(ua.UaError, match=status):
                    await seen.call(source, parent, method, *given)
            node = await seen.node("part", "VisionStateMachine").get_child(f"{seen.index}:Halt")
            assert (await node.read_attribute(ua.AttributeIds.Executable)).Value.Value is False

        plant.run(work)
        assert plant.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("plant", ["a given file"], indirect=True)
def test_an_independent_client_reads_calls_and_is_told(plant: Plant) -> None:
    """node-opcua, which shares no code with the server: `make opcua-client`."""
    if (
        shutil.which("node") is None
        or not (NODE_CLIENT / "node_modules/node-opcua-client").is_dir()
    ):
        pytest.skip("no independent client: make opcua-client")
    script = TESTS / "support/opcua_client.cjs"
    plant.anew()
    client = subprocess.Popen(
        ["node", str(script), plant.url, plant.namespace, STATION],
        env={**os.environ, "NODE_PATH": str(NODE_CLIENT / "node_modules")},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert client.stdout is not None
    answers = {}
    try:
        for line in client.stdout:
            if not line.startswith("{"):
                continue
            answer = json.loads(line)
            answers.update(answer)
            if "started" in answer:
                plant.wire.verdict(record(3, "part"))
    finally:
        client.kill()
        client.communicate()
    assert answers["machine"] == "Operational"
    assert answers["mode"] == "Ready"
    assert answers["type"] == "VisionSystemType"
    assert answers["started"]["error"] == 0
    assert answers["event"] == {"result": record(3)["id"], "job": answers["started"]["job"]}
    assert answers["result"]["ResultId"] == record(3)["id"]
    assert answers["result"]["PartId"] == "p-1"
    assert answers["result"]["ResultState"] == 1
    assert answers["result"]["ResultContent"][:2] == ["valve", True]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot be read"), ("no xml", "no XML"), ("<a/>", "no NodeSet, but <a>"),
        ("<!DOCTYPE a><a/>", "document type"), ("\udcff", "no text in UTF-8"),
        (own_model("urn:other"), "of 'urn:other'"),
        (own_model(OFFICIAL).replace("Halted", "Stood"), "lacks Halted"),
        (own_model(OFFICIAL).replace("ResultReadyEventType", "Other"), "lacks ResultReady"),
        (
            own_model(OFFICIAL).replace("</NamespaceUris>", "<Uri>urn:di</Uri></NamespaceUris>"),
            "builds on 'urn:di'",
        ),
    ],
)  # fmt: skip
def test_a_nodeset_that_is_none_is_refused_at_once(
    tmp_path: Path, text: str | None, why: str
) -> None:
    path = tmp_path / "nodeset.xml"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    settings = OpcuaSettings(machine_vision=True, nodeset=path)
    with pytest.raises(VisionEdgeError, match=why) as caught:
        OpcuaWire(settings, STATION, [])
    assert caught.value.fix is not None
    with pytest.raises(ValidationError, match="needs machine_vision"):
        OpcuaSettings(nodeset=path)


def test_a_verdict_that_is_no_json_is_a_result_without_it() -> None:
    result = result_of(record(1, margin=float("nan")), Job("j"), None, "bundle-1")
    assert result.content == ("valve", True, 0.912345, "", "sure", "")
    results = Results()
    for number in range(KEPT + 5):
        results.add(result_of(record(number), Job("j"), None, "bundle-1"))
    assert results.get(record(4)["id"]) is None
    assert len(results.found(lambda one: True)) == KEPT


def test_filters_and_pages() -> None:
    assert [matches(p, "bolt [M8]") for p in ("", "*", "bolt*", "bolt [M8]", "b?lt*", "nut")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip
    assert not matches("x", None)
    assert page([1, 2, 3], 1, 1) == ([2], False)
    assert page([1, 2, 3], 1, 0) == ([2, 3], True)
    assert page([1], 5, 2) == ([], True)
