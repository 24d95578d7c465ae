"""A lora hub: a folder of adapters of one backbone, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import Adapter, read_adapter
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE
from vision_edge.toolkit.backbones.backbone import Backbone


def adapter_paths(hub: Path) -> list[Path]:
    """Return the adapters in a hub, sorted: PEFT directories, and safetensors files.

    A folder that holds either of PEFT's two files counts, so that a damaged adapter is reported
    rather than passed over.

    Raises:
        AdapterError: If the hub is absent or empty.
    """
    if not hub.is_dir():
        raise AdapterError(f"{hub}: there is no such hub", fix="give a folder of adapters")
    if (hub / CONFIG_FILE).is_file():
        return [hub]
    paths = sorted(
        entry
        for entry in hub.iterdir()
        if not entry.name.startswith(".")
        and (
            (entry / CONFIG_FILE).is_file()
            or (entry / MODEL_FILE).is_file()
            or entry.suffix == ".safetensors"
        )
    )
    if not paths:
        raise AdapterError(
            f"{hub}: no adapters in this hub",
            fix="put PEFT directories into it, or make some with `vision-edge tune`",
        )
    return paths


def read_hub(
    hub: Path,
    backbone: Backbone,
    *,
    on_bad: Callable[[Path, AdapterError], None] | None = None,
) -> Iterator[Adapter]:
    """Read a hub's adapters one by one; memory does not grow with their number.

    Args:
        hub: The hub's folder.
        backbone: What they must belong to.
        on_bad: Called with each adapter that cannot be used, which is then left out; without it
            the first one raises.

    Yields:
        Each adapter, in the order of their names.

    Raises:
        AdapterError: If the hub is empty, or an adapter cannot be used and `on_bad` is None.
    """
    for path in adapter_paths(hub):
        try:
            adapter = read_adapter(path, backbone)
        except AdapterError as error:
            if on_bad is None:
                raise
            on_bad(path, error)
            continue
        yield adapter
