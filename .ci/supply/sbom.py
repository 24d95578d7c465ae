"""Software bills of materials: one for each extra, CycloneDX 1.6 in JSON, the same every time.

Source: CycloneDX 1.6 (ECMA-424, first edition).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import datetime, timezone
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from supply.dependencies import ROOT, Package, SupplyError, direct, extras, packages_of, project
from supply.licences import licence_of, spdx_id
from supply.wheels import commit_time

_MODELS = ROOT / "runtime" / "vision_edge" / "runtime" / "assets"


def write_all(folder: Path, root: Path = ROOT) -> list[Path]:
    """Write the bill of each extra, and return the files.

    Raises:
        SupplyError: If one is not valid by CycloneDX' own schema, or a package is not the pinned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for extra in extras(root):
        text = bill(extra, root)
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
        if problem is not None:
            raise SupplyError(f"the bill of {extra} is not valid: {problem}")
        path = folder / f"vision-edge-{project(root)['version']}-{extra}.cdx.json"
        path.write_text(text)
        written.append(path)
    return written


def bill(extra: str, root: Path = ROOT) -> str:
    """Return the bill of one extra."""
    table = project(root)
    packages = packages_of(extra, root)
    product = Component(
        name="vision-edge", version=table["version"], type=ComponentType.APPLICATION,
        bom_ref=f"vision-edge[{extra}]", description=table["description"],
        purl=PackageURL("pypi", None, "vision-edge", table["version"]),
        licenses=[DisjunctiveLicense(id=table["license"])],
    )  # fmt: skip
    bom = Bom()
    bom.metadata.component = product
    bom.metadata.timestamp = datetime.fromtimestamp(commit_time(root), timezone.utc)
    made = {name: _component(package) for name, package in packages.items()}
    models = [_model(path) for path in sorted(_MODELS.rglob("*.onnx"))]
    for component in [*made.values(), *models]:
        bom.components.add(component)
    bom.register_dependency(product, [made[name] for name in direct(extra, root)] + models)
    for name, package in packages.items():
        bom.register_dependency(made[name], [made[one] for one in package.needs or ()])
    told = repr([(c.bom_ref.value, c.version) for c in sorted(bom.components)])
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{extra} {table['version']} {told}")
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _component(package: Package) -> Component:
    licence = licence_of(package)
    licences: list[DisjunctiveLicense | LicenseExpression] = []
    if licence is not None:
        if spdx_id(licence):
            licences = [DisjunctiveLicense(id=licence)]
        elif licence.startswith("LicenseRef-"):
            licences = [DisjunctiveLicense(name=licence)]
        else:
            licences = [LicenseExpression(licence)]
    notes = []
    if not package.pinned:
        told = "not installed" if package.version is None else "as installed where this was made"
        notes.append(Property(name="vision-edge:not-pinned", value=told))
    if package.needs is None:
        notes.append(Property(name="vision-edge:dependencies", value="not looked into"))
    return Component(
        name=package.name, version=package.version, type=ComponentType.LIBRARY,
        bom_ref=package.name, licenses=licences, properties=notes,
        purl=PackageURL("pypi", None, package.name, package.version),
    )  # fmt: skip


def _model(path: Path) -> Component:
    """Return a model that the wheel carries, by its hash."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = str(path.relative_to(_MODELS))
    return Component(
        name=name, type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref=f"model {name}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )  # fmt: skip
