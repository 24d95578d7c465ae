"""The methods of a vision system: jobs begin, results are found, products are prepared.

A wrong argument is answered with `BadInvalidArgument`, and a call at the wrong time with
`BadInvalidState`; the argument `Error` of an answer is one of the numbers below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.station.wires.machine_vision.names import METHODS, OPTIONAL_METHODS, STRUCTURES
from vision_edge.station.wires.machine_vision.nodes import VisionNodes
from vision_edge.station.wires.machine_vision.results import IDENTIFY, Result, matches, page
from vision_edge.station.wires.machine_vision.system import VisionSystem
from vision_edge.station.wires.machine_vision.types import VisionTypes

DONE, REFUSED, UNKNOWN_ID, NOT_PREPARED = 0, 1, 2, 3
"""What `Error` says: the station refuses (its log says why), there is no such id (any more), or
the product that a job names is not the one that is expected."""
_LONGEST = 256  # characters of an id
_OBJECTS = {
    "VisionStateMachineType": "VisionStateMachine",
    "VisionAutomaticModeStateMachineType": "AutomaticModeStateMachine",
    "ResultManagementType": "ResultManagement",
    "RecipeManagementType": "RecipeManagement",
}


@dataclass(frozen=True)
class Station:
    """What methods ask of the station; each returns why it refuses, or None.

    Attributes:
        trigger: Judges a part at a source; None: triggers are not taken.
        expect: Has a source show a product, or any; None: it is not taken.
    """

    trigger: Callable[[str], Awaitable[str | None]] | None
    expect: Callable[[str, str | None], Awaitable[str | None]] | None


class WrongArgumentError(VisionEdgeError):
    """A method was called with what it does not take."""


class VisionMethods:
    """Answers the calls of one vision system's methods.

    Args:
        server: The server, of asyncua.
        types: The types.
        system: The system, built.
        station: What the station does for it.
    """

    def __init__(
        self, server: Any, types: VisionTypes, system: VisionSystem, station: Station
    ) -> None:
        self._server, self._types = server, types
        self._system, self._station = system, station
        recipes = None if station.expect is None else self._prepare
        self._answers: dict[str, Callable[..., Awaitable[list[Any]]] | None] = {
            "GetResultById": self._result,
            "GetResultComponentsById": self._components,
            "GetResultListFiltered": self._results,
            "GetRecipeListFiltered": self._recipes,
            "StartSingleJob": None if station.trigger is None else self._start,
            "PrepareRecipe": recipes and self._prepare_recipe,
            "UnprepareRecipe": recipes and self._unprepare_recipe,
            "PrepareProduct": recipes and self._prepare_product,
            "UnprepareProduct": recipes and self._unprepare_product,
        }

    async def link(self) -> None:
        """Have the server call the methods; those that are not offered cannot be executed."""
        ua = require("asyncua.ua")
        for kind, methods in METHODS.items():
            parent = self._system.object(_OBJECTS[kind])
            for name, (given, _) in methods.items():
                if name in OPTIONAL_METHODS:
                    node = await self._added(parent, name, *methods[name])
                else:
                    node = await VisionNodes(self._server, self._types).child(parent, name)
                answer = self._answers.get(name)
                self._server.link_method(node, self._callback(answer, len(given)))
                if answer is None:
                    no = ua.DataValue(ua.Variant(False, ua.VariantType.Boolean))
                    for attribute in (ua.AttributeIds.Executable, ua.AttributeIds.UserExecutable):
                        await self._server.write_attribute_value(node.nodeid, no, attribute)

    async def _added(self, parent: Any, name: str, given: Any, answered: Any) -> Any:
        """Add a method that objects need not have."""
        ua = require("asyncua.ua")
        own = ua.NodeId(f"{parent.nodeid.Identifier}.{name}", parent.nodeid.NamespaceIndex)
        named = ua.QualifiedName(name, self._types.index)
        arguments = [[self._argument(*one) for one in some] for some in (given, answered)]
        return await parent.add_method(own, named, _nothing, *arguments)

    def _argument(self, name: str, kind: str) -> Any:
        ua = require("asyncua.ua")
        plain = getattr(ua.ObjectIds, kind, None)
        data_type = ua.NodeId(plain) if plain else self._types.node(kind).nodeid
        return ua.Argument(Name=name, DataType=data_type, ValueRank=-1)

    def _callback(
        self, answer: Callable[..., Awaitable[list[Any]]] | None, count: int
    ) -> Callable[..., Awaitable[Any]]:
        """Return what asyncua calls: values in, variants or a status out."""
        ua = require("asyncua.ua")

        async def call(_: Any, *given: Any) -> Any:
            if answer is None:
                return ua.StatusCode(ua.StatusCodes.BadNotExecutable)
            if len(given) < count:
                return ua.StatusCode(ua.StatusCodes.BadArgumentsMissing)
            if len(given) > count:
                return ua.StatusCode(ua.StatusCodes.BadTooManyArguments)
            try:
                return await answer(*(variant.Value for variant in given))
            except WrongArgumentError:
                return ua.StatusCode(ua.StatusCodes.BadInvalidArgument)

        return call

    async def _start(
        self, meas: Any, part: Any, recipe: Any, product: Any, parameters: Any
    ) -> list[Any]:
        """Judge one part; `ResultReadyEventType` and `GetResultById` tell what came of it."""
        ua, system = require("asyncua.ua"), self._system
        wanted = _id(recipe) or _id(product)
        meas_id, part_id = _id(meas) or None, _id(part) or None
        if not system.commanded or not system.ready:
            return ua.StatusCode(ua.StatusCodes.BadInvalidState)  # type: ignore[no-any-return]
        if wanted and wanted != (system.expected or IDENTIFY):
            return [self._named("JobIdDataType", ""), _error(NOT_PREPARED)]
        job = await system.start_job(meas_id, part_id)
        assert self._station.trigger is not None
        refusal = await self._station.trigger(system.source)
        if refusal is not None:
            await system.abort_job()
        return [self._named("JobIdDataType", job.id), _error(DONE if refusal is None else REFUSED)]

    async def _result(self, identifier: Any, timeout: Any) -> list[Any]:
        found = self._system.results.get(_id(identifier))
        if found is None:
            return [
                _handle(),
                self._variant(self._types.made("ResultDataType")),
                _error(UNKNOWN_ID),
            ]
        return [_handle(), self._variant(self._system.value(found)), _error(DONE)]

    async def _components(self, identifier: Any, timeout: Any) -> list[Any]:
        ua = require("asyncua.ua")
        found = self._system.results.get(_id(identifier))
        made = self._types.made
        value = made("ResultDataType") if found is None else self._system.value(found)
        fields = STRUCTURES["ResultDataType"][2:]
        parts = [self._part(getattr(value, name), kind) for name, kind, _ in fields]
        error = _error(UNKNOWN_ID if found is None else DONE)
        return [ua.Variant(False), _handle(), *parts, error]

    def _part(self, value: Any, kind: str) -> Any:
        """Return a component of a result; one that is not there is empty."""
        ua = require("asyncua.ua")
        if kind.endswith("[]"):
            return ua.Variant(value or [], ua.VariantType.Variant, is_array=True)
        if kind == "ResultStateDataType":
            return ua.Variant(int(value), ua.VariantType.Int32)
        if value is None:
            return ua.Variant(self._types.made(kind) if kind in STRUCTURES else False)
        return ua.Variant(value)

    async def _results(
        self, state: Any, meas: Any, part: Any, external: Any, internal: Any,
        outer: Any, configuration: Any, product: Any, job: Any, most: Any, start: Any, timeout: Any,
    ) -> list[Any]:  # fmt: skip
        """Return results, newest first; an empty filter fits all."""
        ua = require("asyncua.ua")
        wanted_state, first, limit = _number(state), _number(start), _number(most)
        filters: list[tuple[str, Callable[[Result], str | None]]] = [
            (_id(meas), lambda one: one.job.meas),
            (_id(part), lambda one: one.job.part),
            (_id(external), lambda one: one.recipe),
            (_id(internal), lambda one: one.recipe or IDENTIFY),
            (_id(outer), lambda one: None),
            (_id(configuration), lambda one: one.configuration),
            (_id(product), lambda one: one.recipe),
            (_id(job), lambda one: one.job.id),
        ]

        def fits(one: Result) -> bool:
            if wanted_state and one.state != wanted_state:
                return False
            return all(matches(pattern, of(one)) for pattern, of in filters)

        chosen, last = page(self._system.results.found(fits), first, limit)
        values = [self._system.value(one) for one in chosen]
        count = ua.Variant(len(values), ua.VariantType.UInt32)
        return [ua.Variant(last), count, _handle(), self._list(values), _error(DONE)]

    async def _recipes(
        self, external: Any, product: Any, prepared: Any, most: Any, start: Any, timeout: Any
    ) -> list[Any]:
        """Return the registered products; each is a recipe, and the expected one is prepared."""
        ua, now = require("asyncua.ua"), self._system.expected
        first, limit, wanted = _number(start), _number(most), _number(prepared)
        names = [
            name
            for name in self._system.facts.products()
            if matches(_id(external), name)
            and matches(_id(product), name)
            and (wanted not in (0, 1) or (name == now) == bool(wanted))
        ]
        chosen, last = page(names, first, limit)
        values = [self._types.named("RecipeIdInternalDataType", name) for name in chosen]
        count = ua.Variant(len(values), ua.VariantType.UInt32)
        return [ua.Variant(last), count, _handle(), self._list(values), _error(DONE)]

    async def _prepare_recipe(self, external: Any, internal: Any) -> list[Any]:
        ua = require("asyncua.ua")
        name = _id(external) or _id(internal)
        error = await self._prepare(None if name == IDENTIFY else _needed(name))
        inner = self._named("RecipeIdInternalDataType", name)
        return [inner, ua.Variant(error == DONE), _error(error)]

    async def _unprepare_recipe(self, external: Any, internal: Any) -> list[Any]:
        return await self._unprepare(_needed(_id(external) or _id(internal)))

    async def _prepare_product(self, product: Any) -> list[Any]:
        name = _needed(_id(product))
        error = await self._prepare(name)
        return [self._named("RecipeIdInternalDataType", name), _error(error)]

    async def _unprepare_product(self, product: Any) -> list[Any]:
        return await self._unprepare(_needed(_id(product)))

    async def _unprepare(self, name: str) -> list[Any]:
        """Have the source identify every part, where it is that product that is expected."""
        inner = self._named("RecipeIdInternalDataType", name)
        if name != self._system.expected:
            return [inner, _error(NOT_PREPARED)]
        return [inner, _error(await self._prepare(None))]

    async def _prepare(self, product: str | None) -> int:
        assert self._station.expect is not None
        refusal = await self._station.expect(self._system.source, product)
        return DONE if refusal is None else REFUSED

    def _named(self, structure: str, name: str) -> Any:
        return self._variant(self._types.named(structure, name))

    def _variant(self, value: Any) -> Any:
        ua = require("asyncua.ua")
        return ua.Variant(value, ua.VariantType.ExtensionObject)

    def _list(self, values: Sequence[Any]) -> Any:
        ua = require("asyncua.ua")
        return ua.Variant(list(values), ua.VariantType.ExtensionObject, is_array=True)


async def _nothing(_: Any, *given: Any) -> None:
    """Stand for a method until its own is linked."""


def _id(value: Any) -> str:
    """Return the name in an id; nothing given is empty.

    Raises:
        WrongArgumentError: If it is no id, or too long.
    """
    name = "" if value is None else getattr(value, "Id", value)
    if name is None:
        return ""
    if not isinstance(name, str) or len(name) > _LONGEST:
        raise WrongArgumentError("an id is no text, or too long")
    return name.strip()


def _needed(name: str) -> str:
    if not name:
        raise WrongArgumentError("an id is empty")
    return name


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise WrongArgumentError("no number of 0 or more")
    return int(value)


def _handle() -> Any:
    """Return the handle of what needs none: nothing is locked."""
    ua = require("asyncua.ua")
    return ua.Variant(0, ua.VariantType.UInt32)


def _error(code: int) -> Any:
    ua = require("asyncua.ua")
    return ua.Variant(code, ua.VariantType.Int32)
