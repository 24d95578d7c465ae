"""A lora hub: a folder of adapters of one backbone, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import Adapter, read_adapter
from vision_edge.toolkit.adapters.base_check import TRUST_OPTION, Recorded, compare_base
from vision_edge.toolkit.adapters.hub_search import search_hub
from vision_edge.toolkit.adapters.recorded_bases import recorded_bases
from vision_edge.toolkit.backbones.backbone import Backbone


def adapter_paths(hub: Path) -> list[Path]:
    """Return the adapters in a hub: PEFT directories however deep, and safetensors files.

    See `hub_search` for the rule; `hub_notes` says what it passed over.

    Raises:
        AdapterError: If the hub is absent or empty, or it is ambiguous which checkpoint is meant.
    """
    if not hub.is_dir():
        raise AdapterError(f"{hub}: there is no such hub", fix="give a folder of adapters")
    search = search_hub(hub)
    if not search.found:
        passed = f" ({'; '.join(search.notes[:5])})" if search.notes else ""
        raise AdapterError(
            f"{hub}: no adapters in this hub{passed}",
            fix="put PEFT directories into it, or make some with `vision-edge tune`",
        )
    return search.found


def hub_notes(hub: Path) -> list[str]:
    """Return what was passed over in a hub, and why.

    Raises:
        AdapterError: If it is ambiguous which checkpoint is meant.
    """
    return search_hub(hub).notes


def name_in_hub(path: Path, hub: Path) -> str:
    """Return what to call an adapter: its path below the hub, such as `run1/checkpoint-500`."""
    relative = path.relative_to(hub)
    return (
        relative.with_suffix("").as_posix()
        if path.is_file()
        else (hub.resolve().name if relative == Path() else relative.as_posix())
    )


def read_hub(
    hub: Path,
    backbone: Backbone,
    *,
    on_bad: Callable[[str, AdapterError], None] | None = None,
    trust_base: bool = False,
) -> Iterator[Adapter]:
    """Read a hub's adapters one by one; memory does not grow with their number.

    Args:
        hub: The hub's folder.
        backbone: What they must belong to.
        on_bad: Called with the name of each adapter that cannot be used, which is then left out;
            without it the first one raises.
        trust_base: Take adapters whatever base they record, so long as the shapes fit.

    Yields:
        Each adapter, in the order of their names.

    Raises:
        AdapterError: If the hub is empty, or an adapter cannot be used and `on_bad` is None; if
            some of its adapters were tuned on other bases, all of those are named.
    """
    paths = adapter_paths(hub)
    if on_bad is None and not trust_base:
        _refuse_mixed(hub, paths, backbone.full_name)
    for path in paths:
        name = name_in_hub(path, hub)
        try:
            adapter = read_adapter(path, backbone, trust_base=trust_base)
        except AdapterError as error:
            if on_bad is None:
                raise
            on_bad(name, error)
            continue
        yield replace(adapter, name=name)


def ignore(names: Container[str]) -> Callable[[str, AdapterError], None]:
    """Return an `on_bad` that leaves out adapters of these names, and raises for others."""

    def on_bad(name: str, error: AdapterError) -> None:
        if name not in names:
            raise error

    return on_bad


def _refuse_mixed(hub: Path, paths: Sequence[Path], backbone: str) -> None:
    """Raise if a hub's adapters record several bases, of which not all are the backbone's."""
    named: dict[str, tuple[Recorded, list[str]]] = {}
    identities = set()
    for path, recorded in recorded_bases(paths):
        if recorded.name is not None:
            identities.add(recorded.name.identity)
            named.setdefault(recorded.base or "", (recorded, []))[1].append(name_in_hub(path, hub))
    problems = [r for r, _ in named.values() if compare_base(r, backbone).problem]
    if len(identities) < 2 or not problems:
        return
    lines = "; ".join(
        f"{base!r}: {', '.join(names[:5])}" + (f" and {len(names) - 5} more" * (len(names) > 5))
        for base, (_, names) in named.items()
    )
    raise AdapterError(
        f"{hub}: its adapters were tuned on {len(identities)} different bases, not all of them on "
        f"{backbone!r}: {lines}",
        fix="give each base's adapters a hub of their own, or leave the others out (--skip-bad); "
        f"if you know that their weights are the same, say {TRUST_OPTION}",
    )
