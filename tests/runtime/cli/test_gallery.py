"""`vision-edge gallery`: what is registered, who did it, and the way back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import (
    LABELS,
    invoke,
    invoked,
    make_bundle,
    noisy,
    picture,
    vision_edge,
    weights,
)

from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import GalleryError, ImageError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.images.coding import read_image


def listed(path: Path) -> dict[str, int]:
    document = json.loads(invoked("gallery", "list", "--gallery", path, "--json"))
    return dict(document["products"])


def test_list_shows_each_product_and_its_snapshots(registered: Path) -> None:
    said = invoked("gallery", "list", "--gallery", registered).splitlines()
    assert said[0] == f"{registered}: 3 product(s), version 3"
    assert said[1:] == ["     1  bolt", "     1  nut", "     1  washer"]


def test_list_as_json(registered: Path) -> None:
    document = json.loads(invoked("gallery", "list", "--gallery", registered, "--json"))
    assert document["version"] == 3
    assert document["products"] == {"bolt": 1, "nut": 1, "washer": 1}
    with Gallery(registered) as opened:
        assert document["fingerprint"] == opened.model.fingerprint


def test_show_writes_the_snapshots(registered: Path, tmp_path: Path) -> None:
    said = invoked("gallery", "show", "nut", "--gallery", registered, "--out", tmp_path / "out")
    path = tmp_path / "out" / "snapshot-2.jpg"
    assert said == f"{path}\n{tmp_path / 'out' / 'contact-sheet.jpg'}\n"
    with Gallery(registered) as opened:
        kept = opened.snapshots.image(2).astype(int)
    assert np.abs(read_image(path) - kept).mean() < 6


def test_show_makes_one_contact_sheet_of_all(registered: Path, tmp_path: Path) -> None:
    said = invoked("gallery", "show", "--gallery", registered, "--out", tmp_path / "out")
    sheet = tmp_path / "out" / "contact-sheet.jpg"
    assert said == f"{sheet}\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["contact-sheet.jpg"]
    assert read_image(sheet).shape[0] > 3 * 150


def test_changes_and_their_way_back(registered: Path) -> None:
    end = ["--gallery", registered, "--author", "Zoë"]
    assert invoked("gallery", "remove", "nut", *end) == "removed 'nut'; version 4\n"
    assert invoked("gallery", "rename", "bolt", "M6", *end) == "renamed 'bolt' to 'M6'; version 5\n"
    assert listed(registered) == {"washer": 1, "M6": 1}
    assert invoked("gallery", "rollback", "3", *end) == "back to version 3, as version 6\n"
    assert listed(registered) == dict.fromkeys(LABELS, 1)
    invoked("gallery", "rollback", "5", *end)
    assert listed(registered) == {"washer": 1, "M6": 1}
    invoked("gallery", "rollback", "0", *end)
    assert listed(registered) == {}


def test_history_lists_every_change(registered: Path) -> None:
    invoked("gallery", "rename", "bolt", "M6 Ü", "--gallery", registered, "--author", "Zoë")
    invoked("gallery", "rollback", "1", "--gallery", registered, "--author", "Zoë")
    rows = invoked("gallery", "history", "--gallery", registered).splitlines()
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[3].endswith("Zoë  rename  bolt M6 Ü")
    assert rows[4].endswith("Zoë  rollback  1")
    events = json.loads(invoked("gallery", "history", "--gallery", registered, "--json"))
    assert [event["kind"] for event in events] == ["add", "add", "add", "rename", "rollback"]
    assert events[3]["argument"] == "M6 Ü"
    assert set(events[0]) == {
        "version", "time", "author", "kind", "label", "snapshot", "argument",
    }  # fmt: skip


def test_reembed_binds_the_gallery_to_another_bundle(
    registered: Path, bundle_path: Path, shots: Path, tmp_path: Path
) -> None:
    other = make_bundle(tmp_path / "other", matrix=weights(seed=5, dim=24))
    said = invoked("gallery", "reembed", other, "--gallery", registered, "--provider", "cpu")
    assert said == f"{registered} now belongs to {other}; version 4\n"
    assert listed(registered) == dict.fromkeys(LABELS, 1)
    printed = invoked("run", other, shots, "--gallery", registered, "--threshold", "0.9")
    assert all(f"{label}.png  #{k}  {label}  " in printed for k, label in enumerate(LABELS))
    result = invoke("run", bundle_path, shots, "--gallery", registered)
    assert isinstance(result.exception, GalleryError)


def test_a_reembedding_that_fails_changes_nothing(registered: Path, tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(registered)) as connection:
        connection.execute("UPDATE snapshots SET jpeg = x'00' WHERE id = 3")
        connection.commit()
    other = make_bundle(tmp_path / "other", matrix=weights(seed=5))
    before = invoked("gallery", "list", "--gallery", registered, "--json")
    result = invoke("gallery", "reembed", other, "--gallery", registered)
    assert isinstance(result.exception, ImageError)
    assert "snapshot 3" in str(result.exception)
    assert invoked("gallery", "list", "--gallery", registered, "--json") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remove", "gear"], "there is no product 'gear'"),
        (["rename", "gear", "x"], "there is no product 'gear'"),
        (["rename", "nut", "bolt"], "there is a product 'bolt' already"),
        (["rename", "nut", ""], "cannot be a product's name"),
        (["rollback", "9"], "there is no version 9 (0 to 3)"),
        (["show", "gear", "--out", "x"], "there is no product 'gear'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    registered: Path, arguments: list[str], message: str
) -> None:
    result = invoke("gallery", *arguments, "--gallery", registered)
    assert result.exit_code == 1
    assert isinstance(result.exception, GalleryError)
    assert message in str(result.exception)
    with Gallery(registered) as opened:
        assert opened.version == 3
    assert not Path("x").exists()


@pytest.mark.parametrize("command", ["list", "history", "remove nut", "rollback 0"])
@pytest.mark.parametrize("kind", ["absent", "text", "long"])
def test_what_is_no_gallery_is_refused(tmp_path: Path, command: str, kind: str) -> None:
    path: Any = tmp_path / ("a" * 300 if kind == "long" else "x")
    if kind == "text":
        path.write_text("not a gallery\n" * 100)
    result = invoke("gallery", *command.split(), "--gallery", path)
    assert result.exit_code == 1
    assert isinstance(result.exception, GalleryError)
    assert str(path) in str(result.exception)


def test_a_gallery_of_odd_labels_in_a_real_process(tmp_path: Path) -> None:
    from vision_edge.runtime.gallery.gallery import Snapshot

    labels = ["a/b", "⚙🔩", "'; DROP TABLE events; --", "-v"]
    with Gallery(tmp_path / "g", ModelIdentity("a" * 64, 2), create=True) as opened:
        for label in labels:
            opened.add(label, [Snapshot(label.encode(), np.zeros(2, np.float32), "x")])
    done = vision_edge("gallery", "list", "--gallery", tmp_path / "g", env={"PYTHONUTF8": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert [row[8:] for row in done.stdout.splitlines()[1:]] == labels
    for label in labels:
        done = vision_edge("gallery", "remove", "--gallery", tmp_path / "g", "--", label)
        assert (done.returncode, done.stderr) == (0, "")


def test_export_and_import(registered: Path, tmp_path: Path) -> None:
    archive, target = tmp_path / "line1.zip", tmp_path / "line2.gallery"
    said = invoked("gallery", "export", "--gallery", registered, "--out", archive).splitlines()
    assert said[0] == f"{archive}: 3 product(s), 3 snapshot(s), version 3"
    assert said[1] == f"SHA-256 {hashlib.sha256(archive.read_bytes()).hexdigest()}"
    said = invoked("gallery", "import", archive, "--gallery", target).splitlines()
    assert said[0] == f"imported 3 snapshot(s) into {target}; version 4"
    assert said[1] == f"to undo it: vision-edge gallery rollback 0 --gallery {target}"
    assert listed(target) == listed(registered)
    again = invoke("gallery", "import", archive, "--gallery", target)
    assert "--on-conflict merge" in str(again.exception)
    invoked("gallery", "import", archive, "--gallery", target, "--on-conflict", "replace")
    invoked("gallery", "rollback", "0", "--gallery", target)
    assert listed(target) == {}


def test_another_bundles_archive_is_embedded_anew(
    registered: Path, bundle_path: Path, shots: Path, tmp_path: Path
) -> None:
    other = make_bundle(tmp_path / "other", matrix=weights(seed=5, dim=24))
    archive, target = tmp_path / "a.zip", tmp_path / "target.gallery"
    invoked("gallery", "export", "--gallery", registered, "--out", archive)
    invoked("gallery", "import", archive, "--gallery", target, "--bundle", other)
    invoked("gallery", "reembed", other, "--gallery", registered, "--provider", "cpu")
    with Gallery(registered) as one, Gallery(target) as two:
        assert one.model == two.model
        assert np.array_equal(one.prototypes()[1], two.prototypes()[1])
    refused = invoke("gallery", "import", archive, "--gallery", registered)
    assert "gallery reembed" in str(refused.exception)


def test_an_export_goes_to_a_new_file_only(registered: Path) -> None:
    before = registered.read_bytes()
    result = invoke("gallery", "export", "--gallery", registered, "--out", registered)
    assert isinstance(result.exception, GalleryError)
    assert registered.read_bytes() == before


def test_check_names_a_wrong_label_and_the_share_that_will_be_named(
    bundle_path: Path, tmp_path: Path
) -> None:
    gallery = ["--gallery", tmp_path / "g"]
    for number, label in enumerate(LABELS):
        shots = []
        for seed in range(3):
            shows = picture(2, 96) if (number, seed) == (0, 2) else picture(number, 96)
            path = tmp_path / f"{label}-{seed}.png"
            cv2.imwrite(str(path), noisy(shows, 10 * number + seed, 40))
            shots.append(path)
        invoked("register", bundle_path, label, *shots, *gallery, "--force")
    result = invoke("gallery", "check", bundle_path, *gallery)
    assert result.exit_code == 1
    assert "3 product(s), 9 snapshot(s)" in result.output
    assert "% of parts will be named rightly, at 5 % of strangers" in result.output
    assert "snapshot 3 of 'bolt' looks like 'washer': wrong label?" in result.output
    told = json.loads(invoke("gallery", "check", bundle_path, *gallery, "--json").output)
    assert [row["snapshot"] for row in told["mislabelled"]] == [3]
    assert 0 <= told["named"] <= 1
    invoked("gallery", "drop", "3", *gallery)
    assert "wrong label" not in invoked("gallery", "check", bundle_path, *gallery)


def test_check_says_which_products_the_share_is_told_by(bundle_path: Path, tmp_path: Path) -> None:
    gallery = ["--gallery", tmp_path / "g"]
    for number, label in enumerate(LABELS):
        for seed in range(2 if number == 0 else 1):
            path = tmp_path / f"{label}-{seed}.png"
            cv2.imwrite(str(path), noisy(picture(number, 96), 10 * number + seed, 40))
            invoked("register", bundle_path, label, path, *gallery, "--force")
    said = invoked("gallery", "check", bundle_path, *gallery)
    assert "told by 2 snapshot(s) of 1 product(s), nothing is known of the other 2" in said
