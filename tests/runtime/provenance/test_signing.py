"""Signatures: who may sign what, what is refused and why, and that others can check ours."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from support.provenance import (
    BOTH,
    Maker,
    envelope_of,
    in_days,
    make_maker,
    put_envelope,
    signed_bundle,
    trusted_until,
)
from support.runtime import make_bundle

pytest.importorskip("cryptography")

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.manifest import Manifest
from vision_edge.runtime.errors import BundleError, ProvenanceError
from vision_edge.runtime.provenance.envelope import Envelope, encoded
from vision_edge.runtime.provenance.keys import PrivateKey, PublicKey
from vision_edge.runtime.provenance.signing import (
    SIGNATURE_FILE,
    endorse,
    sign_file,
    sign_folder,
    signature_of,
)
from vision_edge.runtime.provenance.statement import utc_now
from vision_edge.runtime.provenance.taken import Taken
from vision_edge.runtime.provenance.trust import TrustStore

IN_TOTO = b"application/vnd.in-toto+json"


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return make_maker(tmp_path / "maker")


# --- what holds -----------------------------------------------------------------------------------


def test_a_signed_bundle_is_taken_and_says_by_whom(maker: Maker, tmp_path: Path) -> None:
    path = signed_bundle(tmp_path / "bundle", maker.key, version=7)
    bundle = load_bundle(path, maker.provenance())
    assert bundle.signed is not None
    assert (bundle.signed.key.name, bundle.signed.artifact.version) == ("release", 7)
    assert sorted(bundle.signed.statement.files) == ["cohort.npy", "manifest.json", "model.onnx"]
    assert load_bundle(path).signed is None, "nobody asked"


def test_a_signature_holds_by_the_standard_alone(maker: Maker, tmp_path: Path) -> None:
    """No code of ours: DSSE's encoding by its formula, the key by `cryptography`."""
    path = signed_bundle(tmp_path / "bundle", maker.key)
    envelope = json.loads((path / SIGNATURE_FILE).read_bytes())
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    pae = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    pem = maker.path.with_suffix(".pub").read_bytes()
    key = load_pem_public_key(pem)
    assert isinstance(key, ed25519.Ed25519PublicKey)
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), pae)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    for subject in statement["subject"]:
        data = (path / subject["name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == subject["digest"]["sha256"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_checks_it_and_knows_the_key_by_the_same_id(maker: Maker, tmp_path: Path) -> None:
    path = signed_bundle(tmp_path / "bundle", maker.key)
    envelope = Envelope.from_bytes((path / SIGNATURE_FILE).read_bytes(), "it")
    (tmp_path / "sig").write_bytes(envelope.signatures[0].sig)
    (tmp_path / "signed").write_bytes(encoded(envelope.payload_type, envelope.payload))
    public = str(maker.path.with_suffix(".pub"))
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"]
    words += ["-in", str(tmp_path / "signed"), "-sigfile", str(tmp_path / "sig")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert "Verified Successfully" in done.stdout, done.stderr
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], capture_output=True
    ).stdout
    assert hashlib.sha256(der).hexdigest() == maker.key.keyid


def test_keys_of_openssl_sign_too(tmp_path: Path) -> None:
    foreign = ed25519.Ed25519PrivateKey.generate()
    path = tmp_path / "foreign.key"
    pem = foreign.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem)
    path.chmod(0o600)
    assert PrivateKey.from_file(path).public.raw == foreign.public_key().public_bytes_raw()


# --- what is altered, added, left out -------------------------------------------------------------


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "cohort.npy"])
def test_a_forger_who_rewrites_the_manifest_with_the_files_is_stopped(
    name: str, maker: Maker, tmp_path: Path
) -> None:
    path = signed_bundle(tmp_path / "bundle", maker.key)
    forged = make_bundle(tmp_path / "forged", name="forged")
    if name != "manifest.json":
        manifest = Manifest.from_bytes((path / "manifest.json").read_bytes(), "it")
        data = (path / name).read_bytes() + b"\0"
        info = manifest.files[name].model_copy(
            update={"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        )
        files = {**manifest.files, name: info}
        (path / name).write_bytes(data)
        rewritten = manifest.model_copy(update={"files": files})
        (path / "manifest.json").write_bytes(rewritten.to_bytes())
        Manifest.from_bytes((path / "manifest.json").read_bytes(), "it")  # its own hash is right
    else:
        shutil.copy(forged / name, path / name)
        load_bundle(path)  # consistent, and for whoever asks for no signature sound
    with pytest.raises(ProvenanceError, match=r"manifest\.json has SHA-256"):
        load_bundle(path, maker.provenance())


def test_no_byte_is_parsed_before_the_signature_holds(maker: Maker, tmp_path: Path) -> None:
    path = signed_bundle(tmp_path / "bundle", maker.key)
    (path / "manifest.json").write_bytes(b"{ not json")
    with pytest.raises(ProvenanceError, match="SHA-256"):
        load_bundle(path, maker.provenance())
    with pytest.raises(BundleError, match="JSON"):
        load_bundle(path)


def test_nothing_may_be_added_or_left_out(maker: Maker, tmp_path: Path) -> None:
    path = signed_bundle(tmp_path / "bundle", maker.key)
    (path / "engines").mkdir()
    (path / "engines" / "planted.engine").write_bytes(b"x")
    with pytest.raises(ProvenanceError, match=r"not signed: engines/planted\.engine"):
        load_bundle(path, maker.provenance())
    assert load_bundle(path, maker.provenance(device_engines=True)).signed
    sign_folder(path, "bundle", maker.key, "line")
    assert load_bundle(path, maker.provenance()).signed, "engines that were there are signed too"
    (path / "engines" / "planted.engine").write_bytes(b"y")
    with pytest.raises(ProvenanceError, match="planted"):
        load_bundle(path, maker.provenance())
    (path / "engines" / "planted.engine").unlink()
    assert load_bundle(path, maker.provenance()).signed, "a bundle is whole without its engines"
    (path / "cohort.npy").unlink()
    with pytest.raises(ProvenanceError, match=r"lacks files that were signed: cohort\.npy"):
        load_bundle(path, maker.provenance())


def test_a_link_in_the_bundle_is_refused(maker: Maker, tmp_path: Path) -> None:
    path = signed_bundle(tmp_path / "bundle", maker.key)
    (path / "engines").symlink_to(tmp_path)
    with pytest.raises(ProvenanceError, match="link"):
        load_bundle(path, maker.provenance(device_engines=True))


def test_an_unsigned_bundle_and_a_truncated_or_swapped_signature(
    maker: Maker, tmp_path: Path
) -> None:
    path = make_bundle(tmp_path / "bundle")
    with pytest.raises(ProvenanceError, match=r"is not signed .*\n.*vision-edge sign"):
        load_bundle(path, maker.provenance())
    other = signed_bundle(tmp_path / "other", maker.key, name="line")
    shutil.copy(signature_of(other), signature_of(path))
    (path / "manifest.json").write_bytes((path / "manifest.json").read_bytes() + b" ")
    with pytest.raises(ProvenanceError, match="SHA-256"):
        load_bundle(path, maker.provenance())
    document = envelope_of(other)
    sig = base64.b64decode(document["signatures"][0]["sig"])
    for altered, said in (
        (sig[:40], "truncated or damaged: 40 bytes"),
        (b"", "truncated or damaged: 0 bytes"),
        (sig[:-1] + bytes([sig[-1] ^ 1]), "does not hold"),
    ):
        document["signatures"][0]["sig"] = base64.b64encode(altered).decode()
        put_envelope(other, document)
        with pytest.raises(ProvenanceError, match=said):
            load_bundle(other, maker.provenance())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"payload": "", "payload": "", "payloadType": "x", "signatures": []}',
        b'{"payload": "e30=", "payloadType": "text/plain", "signatures": [{"sig": "AA=="}]}',
        b'{"payload": "!", "payloadType": "%b", "signatures": [{"sig": "A"}]}' % IN_TOTO,
        b'{"payload": "", "payloadType": "%b", "signatures": [1]}' % IN_TOTO,
        b"[" * 100_000,
    ],
)
def test_what_is_no_envelope_is_refused(data: bytes, maker: Maker, tmp_path: Path) -> None:
    path = signed_bundle(tmp_path / "bundle", maker.key)
    signature_of(path).write_bytes(data)
    with pytest.raises(ProvenanceError, match="not a signature's envelope"):
        load_bundle(path, maker.provenance())


def test_a_signature_of_another_kind_is_none(maker: Maker, tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "bundle")
    sign_folder(path, "gallery", maker.key, "line")
    with pytest.raises(ProvenanceError, match="over a gallery, not a bundle"):
        load_bundle(path, maker.provenance())
    vouched = endorse(
        maker.key.public, "n", maker.key, not_before=utc_now(), not_after=in_days(9), purposes=BOTH
    )
    signature_of(path).write_bytes(vouched.to_bytes())
    with pytest.raises(ProvenanceError, match="what is signed is not what belongs here"):
        load_bundle(path, maker.provenance())


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_that_is_not_trusted_expired_replaced_or_revoked(
    maker: Maker, tmp_path: Path
) -> None:
    stranger = signed_bundle(tmp_path / "stranger", PrivateKey.new())
    with pytest.raises(ProvenanceError, match="which is not trusted here"):
        load_bundle(stranger, maker.provenance())
    path = signed_bundle(tmp_path / "bundle", maker.key)
    trusted_until(maker, -1)
    with pytest.raises(ProvenanceError, match=r"expired on 20\d\d"):
        load_bundle(path, maker.provenance())
    trusted_until(maker, 30)
    late = maker.provenance(clock=lambda: utc_now() - timedelta(days=100))
    with pytest.raises(ProvenanceError, match=r"clock says(.|\n)*set the clock"):
        load_bundle(path, late)
    maker.store.revoke(maker.key.keyid[:12], "laptop lost")
    with pytest.raises(ProvenanceError, match=r"was revoked on .*laptop lost"):
        load_bundle(path, maker.provenance())
    with pytest.raises(ProvenanceError, match="for good"):
        maker.store.trust(maker.key.public, "again")


def test_a_key_signs_what_it_is_for_alone(tmp_path: Path) -> None:
    maker = make_maker(tmp_path / "maker", ("records",))
    path = signed_bundle(tmp_path / "bundle", maker.key)
    with pytest.raises(ProvenanceError, match="trusted for records, not for bundle"):
        load_bundle(path, maker.provenance())


def test_a_new_key_vouched_for_by_an_older_one_takes_its_place(
    maker: Maker, tmp_path: Path
) -> None:
    new = PrivateKey.new()
    envelope = endorse(
        new.public, "release 2", maker.key, not_before=utc_now(), not_after=in_days(90),
        purposes=("bundle", "records"), replaces=True,
    )  # fmt: skip
    key = maker.store.take_endorsed(envelope, "it", utc_now())
    assert key.purposes == ("bundle",), "no more than the older one may sign"
    assert key.trusted_by == maker.key.keyid
    assert load_bundle(signed_bundle(tmp_path / "new", new), maker.provenance()).signed
    old = signed_bundle(tmp_path / "old", maker.key)
    with pytest.raises(ProvenanceError, match=f"was replaced by {new.keyid[:16]}"):
        load_bundle(old, maker.provenance())
    with pytest.raises(ProvenanceError, match="counts now vouches"):
        maker.store.take_endorsed(envelope, "it", utc_now())  # it was replaced by now
    alien = endorse(
        new.public, "x", PrivateKey.new(), not_before=utc_now(), not_after=in_days(9), purposes=BOTH
    )
    with pytest.raises(ProvenanceError, match="not trusted"):
        maker.store.take_endorsed(alien, "it", utc_now())


def test_an_old_endorsement_does_not_bring_a_replaced_key_back(maker: Maker) -> None:
    """Who keeps an endorsement from before a key was replaced gains nothing by it."""
    second, third = PrivateKey.new(), PrivateKey.new()

    def vouched(new: PrivateKey, by: PrivateKey, replaces: bool) -> Envelope:
        return endorse(
            new.public, "new", by, not_before=utc_now(), not_after=in_days(90), purposes=BOTH,
            replaces=replaces,
        )  # fmt: skip

    kept = vouched(second, maker.key, False)
    maker.store.take_endorsed(kept, "kept", utc_now())
    maker.store.take_endorsed(vouched(third, second, True), "next", utc_now())
    with pytest.raises(ProvenanceError, match="which no endorsement undoes"):
        maker.store.take_endorsed(kept, "kept", utc_now())
    assert maker.store.find(second.keyid).replaced_by == third.keyid


def test_two_signatures_of_which_one_is_trusted(maker: Maker, tmp_path: Path) -> None:
    path = signed_bundle(tmp_path / "bundle", maker.key)
    document = envelope_of(path)
    [mine] = document["signatures"]
    other = {"keyid": "f" * 64, "sig": base64.b64encode(bytes(64)).decode()}
    document["signatures"] = [other, {"sig": mine["sig"]}]  # a keyid is a hint, and may be absent
    put_envelope(path, document)
    assert load_bundle(path, maker.provenance()).signed


# --- rollback -------------------------------------------------------------------------------------


def test_an_older_one_is_refused_once_a_newer_was_taken(maker: Maker, tmp_path: Path) -> None:
    memory = tmp_path / "taken.json"
    bundles = [
        signed_bundle(tmp_path / str(v), maker.key, version=v, created=f"2026-01-0{v}")
        for v in (1, 2, 3)
    ]
    policy = maker.provenance(memory)
    for path in bundles[1:]:
        signed = load_bundle(path, policy).signed
        assert signed is not None
        policy.take(signed)
    for old in bundles[:2]:
        with pytest.raises(ProvenanceError, match=r"version [12] of .* older than version 3"):
            load_bundle(old, policy)
    assert load_bundle(bundles[1], policy.holding(2)).signed, "the one before, to return to"
    with pytest.raises(ProvenanceError, match="older"):
        load_bundle(bundles[0], policy.holding(2))
    allowed = load_bundle(bundles[0], maker.provenance(memory, allow_older=True)).signed
    assert allowed is not None
    assert "older" in allowed.notes[0]
    twin = signed_bundle(tmp_path / "twin", maker.key, version=3, created="2026-02-02")
    with pytest.raises(ProvenanceError, match="very version 3"):
        load_bundle(twin, policy)
    other = signed_bundle(tmp_path / "other", maker.key, "other line", version=1)
    later = load_bundle(other, policy).signed
    assert later is not None
    with pytest.raises(ProvenanceError, match="signed as 'other line'"):
        load_bundle(other, maker.provenance(memory, names=["line"]))
    artifact = later.artifact.model_copy(update={"name": "third", "signed_at": in_days(0.5)})
    Taken(memory).keep(artifact, later.sha256)
    for before in (other, bundles[2]):
        with pytest.raises(ProvenanceError, match="older than one that was taken here"):
            load_bundle(before, policy)


def test_what_is_in_use_outlives_its_key_but_not_its_revocation(
    maker: Maker, tmp_path: Path
) -> None:
    policy = maker.provenance(tmp_path / "taken.json").holding(1)
    path = signed_bundle(tmp_path / "bundle", maker.key)
    first = load_bundle(path, policy).signed
    assert first is not None
    policy.take(first)
    trusted_until(maker, -1)
    again = load_bundle(path, policy).signed
    assert again is not None
    assert "expired" in again.notes[0]
    with pytest.raises(ProvenanceError, match="expired"):
        load_bundle(path, policy.holding(0))
    maker.store.revoke("release", "")
    with pytest.raises(ProvenanceError, match="revoked"):
        load_bundle(path, policy)


def test_a_clock_that_is_set_back_does_not_bring_an_expired_key_back(
    maker: Maker, tmp_path: Path
) -> None:
    memory = tmp_path / "taken.json"
    path = signed_bundle(tmp_path / "bundle", maker.key, version=1)
    first = load_bundle(path, maker.provenance(memory)).signed
    assert first is not None
    artifact = first.artifact.model_copy(update={"signed_at": in_days(40)})
    Taken(memory).keep(artifact, first.sha256)
    trusted_until(maker, 30)
    newer = signed_bundle(tmp_path / "newer", maker.key, version=2)
    with pytest.raises(ProvenanceError, match="expired"):
        load_bundle(newer, maker.provenance(memory))


def test_a_damaged_memory_is_no_reason_to_take_anything(maker: Maker, tmp_path: Path) -> None:
    memory = tmp_path / "taken.json"
    memory.write_text("{")
    path = signed_bundle(tmp_path / "bundle", maker.key)
    with pytest.raises(ProvenanceError, match="cannot be read"):
        load_bundle(path, maker.provenance(memory))


# --- key files ------------------------------------------------------------------------------------


def test_a_private_key_is_its_owners_alone_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    key = PrivateKey.new()
    key.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    secret = re.findall(r"^[A-Za-z0-9+/=]{20,}$", path.read_text(), re.MULTILINE)[0]
    assert secret not in f"{key!r} {key}"
    with pytest.raises(ProvenanceError, match="exists already"):
        key.write(path)
    with pytest.raises(ProvenanceError, match="a private key, where a public one") as caught:
        PublicKey.from_file(path)
    assert secret not in str(caught.value)
    path.chmod(0o640)
    with pytest.raises(ProvenanceError, match=r"others may read \(mode 0640\)(.|\n)*chmod 600"):
        PrivateKey.from_file(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["release.key"]


def test_encrypted_keys_and_passphrases(tmp_path: Path) -> None:
    path, key = tmp_path / "release.key", PrivateKey.new()
    key.write(path, b"correct horse")
    assert PrivateKey.from_file(path, b"correct horse").keyid == key.keyid
    with pytest.raises(ProvenanceError, match="passphrase is wrong"):
        PrivateKey.from_file(path, b"wrong")
    with pytest.raises(ProvenanceError, match="no passphrase was given"):
        PrivateKey.from_file(path)


def test_files_that_are_no_such_key(tmp_path: Path) -> None:
    path = tmp_path / "some.key"
    other = rsa.generate_private_key(65537, 2048)
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(ProvenanceError, match="not a private Ed25519 key but RSAPrivateKey"):
        PrivateKey.from_file(path)
    path.write_text(PrivateKey.new().public.to_pem())
    with pytest.raises(ProvenanceError, match="a public key, where a private one belongs"):
        PrivateKey.from_file(path)
    path.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ProvenanceError, match="damaged"):
        PrivateKey.from_file(path)
    for text in ("", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        path.write_text(text)
        with pytest.raises(ProvenanceError, match="not a public Ed25519 key"):
            PublicKey.from_file(path)


def test_a_store_that_anyone_may_write_trusts_nobody(maker: Maker, tmp_path: Path) -> None:
    maker.store.path.chmod(0o777)
    with pytest.raises(ProvenanceError, match="anyone may write"):
        TrustStore(maker.store.path)
    maker.store.path.chmod(0o755)
    (file,) = maker.store.path.iterdir()
    file.chmod(0o666)
    with pytest.raises(ProvenanceError, match="json: anyone may write into it"):
        maker.store.keys()
    file.chmod(0o644)
    assert maker.store.keys()
    (maker.store.path / "notes.txt").write_text("x")
    with pytest.raises(ProvenanceError, match="not a key of a trust store"):
        TrustStore(maker.store.path).keys()
    with pytest.raises(ProvenanceError, match="there is no trust store"):
        TrustStore(tmp_path / "none")


def test_a_file_is_signed_beside_and_may_be_renamed(maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"anything")
    sign_file(path, "gallery", maker.key, "line")
    moved = path.rename(tmp_path / "b.zip")
    signature_of(path).rename(signature_of(moved))
    with moved.open("rb") as stream:
        assert maker.provenance().file(moved, "gallery", stream).artifact.name == "line"
        assert stream.tell() == 0
    moved.write_bytes(b"anythinG")
    with moved.open("rb") as stream, pytest.raises(ProvenanceError, match="SHA-256"):
        maker.provenance().file(moved, "gallery", stream)
