"""`vision-edge keys`, `sign` and `verify`, and commands that sign and ask for signatures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.runtime import invoke, invoked, make_bundle, write_shots

pytest.importorskip("cryptography")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with a key `release`, and a store `trust` that trusts it."""
    invoked("keys", "new", tmp_path / "release")
    invoked("keys", "trust", tmp_path / "release.pub", "--store", tmp_path / "trust")
    return tmp_path


def refused(*arguments: str | Path) -> str:
    result = invoke(*arguments)
    assert result.exit_code != 0
    return str(result.exception or result.output)


def test_from_a_key_to_a_verified_bundle_and_run(keys: Path, tmp_path: Path) -> None:
    bundle, shots = make_bundle(tmp_path / "bundle"), write_shots(tmp_path / "shots")
    gallery = tmp_path / "g.db"
    trust = ["--trust", keys / "trust"]
    assert "is not signed" in refused("verify", bundle, *trust)
    told = invoked("sign", bundle, "--key", keys / "release.key", "--version", "5")
    assert "signed 'tiny', version 5" in told or "version 5" in told
    assert "signed by release" in invoked("verify", bundle, *trust)
    document = json.loads(invoked("verify", bundle, *trust, "--json"))
    assert document["version"] == 5
    assert document["key"] == "release"
    invoked("register", bundle, "bolt", shots / "bolt.png", "--gallery", gallery, *trust)
    told = invoked("run", bundle, shots, "--gallery", gallery, *trust)
    assert "signed by release" in told
    invoked("sign", bundle, "--key", keys / "release.key", "--version", "4")
    assert "older than version 5" in refused("run", bundle, shots, "--gallery", gallery, *trust)
    newest = make_bundle(tmp_path / "newest")
    invoked("sign", newest, "--key", keys / "release.key", "--version", "9")
    memory = (tmp_path / "g.db.taken.json").read_bytes()
    told = invoked("gallery", "check", newest, "--gallery", gallery, *trust)
    assert "version 9" in told
    assert (tmp_path / "g.db.taken.json").read_bytes() == memory, "looked at, not taken"
    taken = ["--taken", tmp_path / "g.db.taken.json"]
    assert "older than version 5" in refused("verify", bundle, *trust, *taken)
    told = invoked("run", bundle, shots, "--gallery", gallery, *trust, "--allow-older")
    assert "older than version 5" in told
    (bundle / "manifest.json").write_bytes(b"{}")
    assert "SHA-256" in refused("run", bundle, shots, "--gallery", gallery, *trust)


def test_a_gallery_goes_signed_from_one_station_to_another(keys: Path, tmp_path: Path) -> None:
    bundle, shots = make_bundle(tmp_path / "bundle"), write_shots(tmp_path / "shots")
    here, there = ["--gallery", tmp_path / "here.db"], ["--gallery", tmp_path / "there.db"]
    trust = ["--trust", keys / "trust"]
    invoked("register", bundle, "bolt", shots / "bolt.png", *here)
    archive = tmp_path / "a.zip"
    told = invoked("gallery", "export", *here, "--out", archive, "--sign", keys / "release.key")
    assert "signed 'here'" in told
    assert "gallery 'here'" in invoked("verify", archive, *trust)
    assert "imported 1" in invoked("gallery", "import", archive, *there, *trust)
    plain = tmp_path / "plain.zip"
    invoked("gallery", "export", *here, "--out", plain)
    merge = ["--on-conflict", "merge"]
    assert "is not signed" in refused("gallery", "import", plain, *there, *trust, *merge)
    anew = [*merge, "--bundle", bundle]
    assert "is not signed" in refused("gallery", "import", archive, *there, *trust, *anew)
    assert "is not signed" in refused("gallery", "reembed", bundle, *there, *trust)
    data = bytearray(archive.read_bytes())
    data[-30] ^= 1
    archive.write_bytes(data)
    assert "SHA-256" in refused("gallery", "import", archive, *there, *trust, *merge)
    invoked("sign", plain, "--key", keys / "release.key", "--version", "1", "--name", "here")
    assert "older than" in refused("gallery", "import", plain, *there, *trust, *merge)
    kept = sorted(entry.name for entry in tmp_path.iterdir() if entry.name.startswith("."))
    assert not kept, "nothing of the copies that were checked is left"


def test_keys_are_listed_replaced_and_revoked(keys: Path, tmp_path: Path) -> None:
    store = ["--store", keys / "trust"]
    invoked("keys", "new", tmp_path / "next")
    invoked(
        "keys", "endorse", tmp_path / "next.pub", "--key", tmp_path / "release.key", "--replace",
        "--out", tmp_path / "next.json", "--days", "9",
    )  # fmt: skip
    invoked("keys", "trust", tmp_path / "next.json", *store)
    listed = invoked("keys", "list", *store)
    assert re.search(r"release .* was replaced by", listed)
    assert re.search(r"next  bundle, gallery  counts until", listed)
    keyid = invoked("keys", "show", tmp_path / "next.pub").strip()
    told = invoked("keys", "revoke", keyid[:10], *store, "--reason", "stolen")
    assert "was revoked" in told
    found = json.loads(invoked("keys", "list", *store, "--json"))
    assert {key["name"]: key["revoked"] is not None for key in found} == {
        "next": True,
        "release": False,
    }
    assert "no key(s)" in refused("keys", "revoke", "nobody", *store)
    assert "--for" in refused("keys", "trust", tmp_path / "next.pub", *store, "--for", "everything")


def test_a_passphrase_comes_from_a_file(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (tmp_path / "words").write_text("correct horse\n")
    (tmp_path / "other").write_text("wrong\n")
    key = ["--key", tmp_path / "k.key"]
    words = ["--passphrase-file", tmp_path / "words"]
    invoked("keys", "new", tmp_path / "k", "--encrypt", *words)
    assert "ENCRYPTED" in (tmp_path / "k.key").read_text()
    invoked("sign", bundle, *key, *words)
    told = refused("sign", bundle, *key, "--passphrase-file", tmp_path / "other")
    assert "passphrase is wrong" in told
    assert "correct horse" not in told
    assert "no passphrase was given" in refused("sign", bundle, *key)
    assert "nobody is there" in refused("keys", "new", tmp_path / "l", "--encrypt")
    invoked("keys", "new", tmp_path / "plain")
    assert "would do nothing" in refused("sign", bundle, "--key", tmp_path / "plain.key", *words)


def test_a_public_key_for_a_private_one_and_the_other_way_round(keys: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    assert "a public key, where a private one" in refused(
        "sign", bundle, "--key", keys / "release.pub"
    )
    told = refused("keys", "trust", keys / "release.key", "--store", keys / "trust")
    assert "a private key, where a public one" in told
    secret = (keys / "release.key").read_text().splitlines()[1]
    assert secret not in told


def test_what_is_not_sound_is_not_signed(keys: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "model.onnx").write_bytes(b"x")
    assert "altered" in refused("sign", bundle, "--key", keys / "release.key")
    assert not (bundle / "signature.dsse.json").exists()
