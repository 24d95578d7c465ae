"""Fixtures of the runtime's tests: one tiny bundle, its session, and galleries of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.runtime import LABELS, invoked, make_bundle, write_shots

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.inference.session import Session, open_session

# The same examples every time, and no database: a device's copy of the tests may be read-only.
settings.register_profile("vision-edge", derandomize=True, database=None, deadline=None)
settings.load_profile("vision-edge")


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny bundle that no test may change."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def bundle_copy(bundle_path: Path, tmp_path: Path) -> Path:
    """Folder of a tiny bundle to tamper with."""
    return Path(shutil.copytree(bundle_path, tmp_path / "tampered"))


@pytest.fixture(scope="session")
def session(bundle_path: Path) -> Session:
    """The tiny bundle on one CPU thread."""
    return open_session(load_bundle(bundle_path), "cpu", threads=1)


@pytest.fixture
def gallery(tmp_path: Path, session: Session) -> Iterator[Gallery]:
    """An empty gallery of the tiny bundle."""
    with Gallery(
        tmp_path / "parts.gallery", session.bundle.manifest.identity, create=True, author="tester"
    ) as opened:
        yield opened


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one snapshot each of bolt, nut and washer."""
    return write_shots(tmp_path_factory.mktemp("shots") / "shots")


@pytest.fixture(scope="session")
def _registered(tmp_path_factory: pytest.TempPathFactory, bundle_path: Path, shots: Path) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "parts.gallery"
    for label in LABELS:
        invoked("register", bundle_path, label, shots / f"{label}.png", "--gallery", path)
    return path


@pytest.fixture
def registered(_registered: Path, tmp_path: Path) -> Path:
    """A gallery file of the tiny bundle with the three products of `shots`: version 3."""
    return Path(shutil.copy(_registered, tmp_path / "registered.gallery"))
