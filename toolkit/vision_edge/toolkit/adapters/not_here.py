"""Why a folder holds no adapter that can be read, and what to do about it."""

from __future__ import annotations

import shlex
from pathlib import Path

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.hub_search import PICKLE_FILE, SHARD, adapters_below
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE

_CONVERSION = (
    "import sys, torch; from pathlib import Path; from safetensors.torch import save_file; "
    "folder = Path(sys.argv[1]); "
    "tensors = torch.load(folder / 'adapter_model.bin', map_location='cpu', weights_only=True); "
    "save_file({k: v.contiguous().clone() for k, v in tensors.items()}, "
    "folder / 'adapter_model.safetensors', {'format': 'pt'})"
)


def conversion_command(folder: Path) -> str:
    """Return a command that turns a folder's `adapter_model.bin` into safetensors.

    `weights_only=True` makes PyTorch load tensors alone, and refuse a pickle that would run code.
    """
    return f'python -c "{_CONVERSION}" {shlex.quote(str(folder))}'


def refuse_absent(folder: Path) -> None:
    """Raise if a folder lacks the files of an adapter.

    Args:
        folder: A folder that is there.

    Raises:
        AdapterError: If it has no `adapter_model.safetensors` and something else in its place: a
            pickle, shards, adapters in folders below, or nothing.
    """
    if (folder / MODEL_FILE).is_file():
        return
    for path in sorted(folder.iterdir()):
        refuse_shard(path)
    if (folder / PICKLE_FILE).is_file():
        raise AdapterError(
            f"{folder}: only {PICKLE_FILE} is here, a pickle: reading one may run any program that "
            f"its writer put into it, so it is not read ({MODEL_FILE} is)",
            fix=f"convert it, which loads tensors alone: {conversion_command(folder)}",
        )
    if (folder / CONFIG_FILE).is_file():
        return  # the reader says that the weights are missing
    below = adapters_below(folder)
    if below:
        names = ", ".join(str(path.relative_to(folder)) for path in below[:5])
        more = f" and {len(below) - 5} more" if len(below) > 5 else ""
        raise AdapterError(
            f"{folder}: no adapter here, but below it: {names}{more}",
            fix=f"give one of them, such as {below[-1]}",
        )
    raise AdapterError(
        f"{folder}: no adapter here ({CONFIG_FILE} and {MODEL_FILE} are missing)",
        fix="give a PEFT directory",
    )


def refuse_shard(path: Path) -> None:
    """Raise if a file is one of several that an adapter's tensors were divided into.

    Raises:
        AdapterError: Naming it.
    """
    if SHARD.match(path.name):
        raise AdapterError(
            f"{path}: one shard of an adapter; alone it is not the whole, and shards are not "
            "joined here",
            fix=f"save the adapter again as one {MODEL_FILE} (PEFT's save_pretrained does)",
        )


def beside_notes(folder: Path) -> list[str]:
    """Return what else lies beside an adapter's weights and is not read."""
    unread = [folder / PICKLE_FILE, *(p for p in sorted(folder.iterdir()) if SHARD.match(p.name))]
    names = ", ".join(path.name for path in unread if path.is_file())
    return [f"{MODEL_FILE} is read, and {names} beside it is not"] if names else []
