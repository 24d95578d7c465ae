"""Ed25519 keys in PEM files: private ones in PKCS #8, public ones as SubjectPublicKeyInfo.

A key's id is the SHA-256 of its SubjectPublicKeyInfo in DER, in hexadecimal; `openssl pkey -pubin
-in KEY.pub -outform DER | sha256sum` says the same. Sources: RFC 8032 (Ed25519), RFC 8410 (DER).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import ProvenanceError, require
from vision_edge.runtime.system.files import fsync_path, read_regular

SIGNATURE_BYTES = 64
MAX_PASSPHRASE = 1000
_KEY_BYTES = 32
_SPKI = bytes.fromhex("302a300506032b6570032100")
"""What comes before an Ed25519 key's 32 bytes in its SubjectPublicKeyInfo (RFC 8410, section 4)."""
_MAX_FILE = 1 << 16
_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)-----END PUBLIC KEY-----")
_ED25519 = "cryptography.hazmat.primitives.asymmetric.ed25519"
_SERIALIZATION = "cryptography.hazmat.primitives.serialization"


@dataclass(frozen=True)
class PublicKey:
    """A public key: whoever has it can check signatures, and make none.

    Attributes:
        raw: Its 32 bytes.
    """

    raw: bytes

    @property
    def keyid(self) -> str:
        """Its fingerprint: 64 hexadecimal digits."""
        return hashlib.sha256(_SPKI + self.raw).hexdigest()

    def verifies(self, sig: bytes, message: bytes) -> bool:
        """Whether a signature of 64 bytes over a message was made with its private key.

        Raises:
            MissingExtraError: If the package that checks it is not installed.
        """
        verifier = require(_ED25519).Ed25519PublicKey.from_public_bytes(self.raw)
        try:
            verifier.verify(sig, message)
        except require("cryptography.exceptions").InvalidSignature:
            return False
        return True

    def to_pem(self) -> str:
        """Return it as the text of a PEM file."""
        body = base64.b64encode(_SPKI + self.raw).decode("ascii")
        return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"

    @staticmethod
    def from_pem(data: bytes, where: str) -> PublicKey:
        """Read a PEM file.

        Args:
            data: Its bytes.
            where: What to call it in an error.

        Raises:
            ProvenanceError: If it is no public Ed25519 key. What it holds is never repeated.
        """
        if b"PRIVATE KEY" in data:
            raise ProvenanceError(
                f"{where}: a private key, where a public one belongs",
                fix="give the file that ends in .pub; keep the private one where it signs, alone",
            )
        match = _BLOCK.search(data)
        try:
            der = base64.b64decode(b"".join(match[1].split()), validate=True) if match else b""
        except binascii.Error:
            der = b""
        if not der.startswith(_SPKI) or len(der) != len(_SPKI) + _KEY_BYTES:
            raise ProvenanceError(
                f"{where}: not a public Ed25519 key in PEM",
                fix="give the .pub file that `vision-edge keys new` wrote",
            )
        return PublicKey(der[len(_SPKI) :])

    @staticmethod
    def from_file(path: Path) -> PublicKey:
        """Read a PEM file.

        Raises:
            ProvenanceError: If it cannot be read, or is no public Ed25519 key.
        """
        return PublicKey.from_pem(_read(path), str(path))


class PrivateKey:
    """A private key: it signs, and is never printed, logged or shown by its representation.

    `PrivateKey.new` makes one, `PrivateKey.from_file` reads one.
    """

    def __init__(self, key: Any) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"PrivateKey(keyid={self.keyid[:16]})"

    @property
    def keyid(self) -> str:
        """The fingerprint of its public key."""
        return self.public.keyid

    def sign(self, message: bytes) -> bytes:
        """Return the signature over a message: 64 bytes."""
        sig: bytes = self._key.sign(message)
        return sig

    @staticmethod
    def new() -> PrivateKey:
        """Make a key, by the operating system's random numbers.

        Raises:
            MissingExtraError: If the package that makes it is not installed.
        """
        return PrivateKey(require(_ED25519).Ed25519PrivateKey.generate())

    def write(self, path: Path, passphrase: bytes | None = None) -> None:
        """Write it to a new file that its owner alone may read (0600), whole or not at all.

        Args:
            path: The file; one that is there is never overwritten.
            passphrase: Encrypts it; None writes it as it is.

        Raises:
            ProvenanceError: If there is a file, or it cannot be written.
        """
        tools = require(_SERIALIZATION)
        encryption = (
            tools.NoEncryption()
            if passphrase is None
            else tools.BestAvailableEncryption(passphrase)
        )
        pem = self._key.private_bytes(tools.Encoding.PEM, tools.PrivateFormat.PKCS8, encryption)
        write_new(path, pem, 0o600)

    @staticmethod
    def from_file(path: Path, passphrase: bytes | None = None) -> PrivateKey:
        """Read a private key's file.

        Args:
            path: A PKCS #8 PEM file that nobody but its owner may read.
            passphrase: Of an encrypted one.

        Raises:
            ProvenanceError: If it cannot be read, others may read it, it is no private Ed25519
                key, or the passphrase is not the right one. What it holds is never repeated.
        """
        data = _read(path)
        if b"PRIVATE KEY" not in data:
            raise _not_private(path, "PUBLIC KEY" if b"PUBLIC KEY" in data else "")
        _refuse_open_file(path)
        key = _loaded(data, path, passphrase)
        if not isinstance(key, require(_ED25519).Ed25519PrivateKey):
            raise _not_private(path, type(key).__name__.lstrip("_"))
        return PrivateKey(key)


def is_encrypted(path: Path) -> bool:
    """Whether a private key's file asks for a passphrase.

    Raises:
        ProvenanceError: If it cannot be read.
    """
    return b"ENCRYPTED PRIVATE KEY" in _read(path)


def passphrase_of(path: Path) -> bytes:
    """Return the passphrase that a file holds, alone on a line.

    Raises:
        ProvenanceError: If the file cannot be read, or holds none.
    """
    try:
        data = path.read_bytes()[: MAX_PASSPHRASE + 2].rstrip(b"\r\n")
    except OSError as error:
        raise ProvenanceError(
            f"{path}: cannot be read ({error.strerror})", fix="check the path"
        ) from error
    if not 1 <= len(data) <= MAX_PASSPHRASE:
        raise ProvenanceError(
            f"{path}: no passphrase of 1 to {MAX_PASSPHRASE} bytes", fix="write it there, alone"
        )
    return data


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is not there yet, whole or not at all.

    Raises:
        ProvenanceError: If there is a file, or it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            fsync_path(temporary)
            os.link(temporary, path)  # fails where there is a file, as no rename does
            fsync_path(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError as error:
        raise ProvenanceError(
            f"{path} exists already, and a key is never overwritten", fix="give a new name"
        ) from error
    except OSError as error:
        raise ProvenanceError(
            f"{path}: cannot be written ({error.strerror})", fix="check the folder and its rights"
        ) from error


def _loaded(data: bytes, path: Path, passphrase: bytes | None) -> Any:
    encrypted = b"ENCRYPTED PRIVATE KEY" in data
    if encrypted and passphrase is None:
        raise ProvenanceError(
            f"{path}: encrypted, and no passphrase was given", fix="give --passphrase-file FILE"
        )
    try:
        return require(_SERIALIZATION).load_pem_private_key(data, passphrase if encrypted else None)
    except (ValueError, TypeError, require("cryptography.exceptions").UnsupportedAlgorithm):
        # from None: what the parser says may hold parts of the file
        reason = "the passphrase is wrong, or the file damaged" if encrypted else "damaged"
        raise ProvenanceError(
            f"{path}: the private key cannot be read: {reason}",
            fix="check the passphrase file" if encrypted else "take it from its safe copy",
        ) from None


def _read(path: Path) -> bytes:
    try:
        return read_regular(path.resolve(), _MAX_FILE)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ProvenanceError(f"{path}: cannot be read ({reason})", fix="check the path") from error


def _refuse_open_file(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ProvenanceError(
            f"{path}: a private key that others may read (mode {mode:04o})",
            fix=f"chmod 600 {path}; if others could have read it, replace and revoke it",
        )


def _not_private(path: Path, kind: str) -> ProvenanceError:
    what = {"PUBLIC KEY": "a public key, where a private one belongs"}.get(
        kind, f"not a private Ed25519 key{f' but {kind}' if kind else ''}"
    )
    return ProvenanceError(
        f"{path}: {what}", fix="give the file that `vision-edge keys new` wrote (not the .pub)"
    )
