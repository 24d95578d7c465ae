"""The licences of all dependencies, and those that may be among them.

Source of the names: SPDX licence list. What a package says in a way of its own is told in `SAID`.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import Distribution
from typing import Any

from license_expression import ExpressionError, get_spdx_licensing

from supply.dependencies import BASE, ROOT, TOOLS, Package, extras, packages_of

FREE = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "HPND", "ISC",
        "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", "CNRI-Python",
        "Apache-2.0 WITH LLVM-exception",
    }
)  # fmt: skip
"""They ask for their text and names to be kept, and no more."""

KNOWN: dict[str, tuple[str, str]] = {
    "asyncua": ("LGPL-3.0-or-later", "its own changes only; extra `opcua`, replaceable as a wheel"),
    "certifi": ("MPL-2.0", "its own files only"),
    "fqdn": ("MPL-2.0", "its own files only"),
    "orjson": ("MPL-2.0 AND (Apache-2.0 OR MIT)", "its own files only"),
    "pathspec": ("MPL-2.0", "its own files only"),
    "tqdm": ("MPL-2.0 AND MIT", "its own files only"),
    "hypothesis": ("MPL-2.0", "its own files only; tests"),
    "paho-mqtt": ("EPL-2.0 OR BSD-3-Clause", "taken by the second"),
}
"""Others that are accepted, and why; any other licence fails the check."""

_PROPRIETARY = "LicenseRef-NVIDIA"
_MAKER = "the maker's own terms; not shipped with the product, installed by its user"

SAID = {
    "Apache": "Apache-2.0", "Apache 2.0": "Apache-2.0", "Apache 2.0 License": "Apache-2.0",
    "Apache License": "Apache-2.0", "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0",
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause", "3-Clause BSD License": "BSD-3-Clause",
    "BSD-3": "BSD-3-Clause", "BSD 3-Clause License": "BSD-3-Clause",
    "MIT License": "MIT", "MIT license": "MIT", "The MIT License (MIT)": "MIT",
    "ISC License": "ISC", "ISC License (ISCL)": "ISC", "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "NVIDIA Proprietary Software": _PROPRIETARY, "Other/Proprietary License": _PROPRIETARY,
    "Proprietary": _PROPRIETARY,
}  # fmt: skip
"""Words of packages, in SPDX's."""

READ = {
    "babel": "BSD-3-Clause", "colorama": "BSD-3-Clause", "google-re2": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause", "mpmath": "BSD-3-Clause", "pysocks": "BSD-3-Clause",
    "sympy": "BSD-3-Clause", "torchvision": "BSD-3-Clause", "tritonclient": "BSD-3-Clause",
    "cuda-toolkit": _PROPRIETARY, "onnxscript": "MIT",
}  # fmt: skip
"""Packages whose metadata says no more than "BSD", or nothing: as their licence files say."""

ABSENT = {
    "onnxruntime-gpu": "MIT", "tensorrt": _PROPRIETARY, "tensorrt-cu12": _PROPRIETARY,
    "tensorrt-cu13": _PROPRIETARY,
}  # fmt: skip
"""Packages that no check can install: they want an accelerator's driver, or gigabytes."""


def licence_of(package: Package) -> str | None:
    """Return a package's licence as an SPDX expression; None if it says none."""
    installed = package.distribution
    if installed is None:
        return ABSENT.get(package.name)
    if package.name in READ:
        return READ[package.name]
    for said in _said(installed):
        expression = SAID.get(said, said)
        if _is_spdx(expression):
            return expression
    return None


def _said(installed: Distribution) -> list[str]:
    """Return what its metadata says, the most exact first."""
    metadata = installed.metadata
    fields = ("License-Expression", "License")
    told = [str(text).split("\n")[0] for name in fields for text in metadata.get_all(name) or []]
    classifiers = metadata.get_all("Classifier") or []
    told += [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")]
    return [one.strip() for one in told if one.strip()]


@cache
def _spdx() -> Any:
    """Return who reads SPDX expressions; making it takes a tenth of a second."""
    return get_spdx_licensing()


@cache
def _is_spdx(expression: str) -> bool:
    if expression == _PROPRIETARY or expression.startswith("LicenseRef-"):
        return True
    try:
        return not _spdx().unknown_license_keys(expression, simple=False)
    except (ExpressionError, ValueError, TypeError):
        return False


def objection(package: Package) -> str | None:
    """Return what speaks against a package's licence; None if nothing does."""
    licence = licence_of(package)
    if licence is None:
        return f"{package.name} says no licence: read its files, and write it into READ or ABSENT"
    if package.name in KNOWN and KNOWN[package.name][0] == licence:
        return None
    if licence == _PROPRIETARY or licence.startswith("LicenseRef-NVIDIA"):
        return None if _of_maker(package.name) else f"{package.name} is proprietary ({licence})"
    if _free(licence):
        return None
    return f"{package.name} is under {licence}, which nobody has accepted: see KNOWN"


def _of_maker(name: str) -> bool:
    return name.startswith(("nvidia-", "cuda-", "tensorrt"))


def _free(licence: str) -> bool:
    """Whether free licences alone meet it: each of those joined by AND, one of those by OR."""
    if licence in FREE:
        return True
    parsed = _spdx().parse(licence)
    if parsed is None:
        return False
    operator = getattr(parsed, "operator", "").strip()
    parts = [str(one) for one in getattr(parsed, "args", ())]
    if operator not in ("AND", "OR") or not parts:
        return False
    return (all if operator == "AND" else any)(_free(part) for part in parts)


def note(package: Package) -> str:
    """Return what a reader should know of a licence that asks for more than its text."""
    if package.name in KNOWN:
        return KNOWN[package.name][1]
    return _MAKER if (licence_of(package) or "").startswith("LicenseRef-NVIDIA") else ""


def told_by(page: str) -> bool:
    """Whether a page has every row that is due here; it may have those of other machines."""
    return set(table().splitlines()) <= set(page.splitlines())


def table() -> str:
    """Return the licences as a page of the docs; of what runs in a plant, not of tools."""
    by_name: dict[str, tuple[Package, list[str]]] = {}
    for extra in extras():
        if extra in TOOLS:
            continue
        for package in packages_of(extra).values():
            by_name.setdefault(package.name, (package, []))[1].append(extra)
    rows = [
        f"| {name} | {licence_of(package) or 'none told'} | {_brought(brought)} | {note(package)} |"
        for name, (package, brought) in sorted(by_name.items())
    ]
    return "\n".join([_HEAD, *rows, ""])


def _brought(names: list[str]) -> str:
    """Say which extras bring a package: those of the base install come with all."""
    return "all" if BASE in names else ", ".join(names)


PAGE = ROOT / "docs" / "reference" / "licences.md"
_HEAD = """# Licences of what it is made of

vision-edge is under Apache-2.0. Below is what its extras install, down to the last dependency, \
on Linux and Python 3.11 with the versions of `constraints.txt`; the tools of who works on it \
(`dev`, `docs`) are checked too, and left out here. `make licences` writes this page from the \
packages' own metadata. A test fails for a package that says no licence, or one that nobody has \
accepted, such as AGPL or GPL.

Not in the table, since no extra installs them: Aravis (LGPL-2.1-or-later), GStreamer \
(LGPL-2.1-or-later, some plug-ins GPL) and mosquitto (EPL-2.0 or BSD-3-Clause), which are used \
where a person has installed them; and what a wheel carries inside, which its own licence files \
tell: opencv-python brings FFmpeg (LGPL-2.1-or-later), for instance.

| package | licence | extras | |
| --- | --- | --- | --- |"""


def spdx_id(name: str) -> bool:
    """Whether a licence is one name of the SPDX list, and no expression."""
    return bool(re.fullmatch(r"[\w.+-]+", name)) and not name.startswith("LicenseRef-")
