"""Who may connect to the OPC UA server: by certificate, by password, or both."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.station.settings.wires import OpcuaSettings
from vision_edge.station.wires.secret import read_secret

_LOG = logging.getLogger(__name__)


class Access:
    """Decides on every session; asyncua calls it its "user manager".

    What it is given as certificate is the one whose key has opened the channel.

    Args:
        settings: The section `[opcua]`.

    Raises:
        VisionEdgeError: If a file or folder that the settings name cannot be read.
    """

    def __init__(self, settings: OpcuaSettings) -> None:
        self._settings = settings
        for path in (settings.certificate, settings.private_key):
            if path is not None and not path.is_file():
                raise VisionEdgeError(
                    f"[opcua] {path}: there is no such file", fix="check the path"
                )
        if settings.trusted is not None:
            _trusted(settings.trusted)
        if settings.password_file is not None:
            read_secret(settings.password_file)

    def get_user(
        self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None
    ) -> Any:
        """Return the user of a session, or None to refuse it."""
        try:
            admitted = self._certificate_fits(certificate) and self._password_fits(
                username, password
            )
        except VisionEdgeError as error:
            _LOG.error("OPC UA: a client was refused: %s", error.what)
            return None
        if not admitted:
            _LOG.warning("OPC UA: a client was refused: certificate or password do not fit")
            return None
        rules = require("asyncua.crypto.permission_rules")
        return rules.User(role=rules.UserRole.User)

    def _certificate_fits(self, certificate: bytes | None) -> bool:
        if self._settings.security == "none":
            return True
        if not certificate:
            return False
        if self._settings.trusted is None:
            return True
        return hashlib.sha256(certificate).digest() in _trusted(self._settings.trusted)

    def _password_fits(self, username: str | None, password: str | None) -> bool:
        if self._settings.username is None or self._settings.password_file is None:
            return True
        expected = read_secret(self._settings.password_file).get_secret_value()
        name_fits = hmac.compare_digest(
            (username or "").encode("utf-8", "replace"), self._settings.username.encode()
        )
        word_fits = hmac.compare_digest(
            (password or "").encode("utf-8", "replace"), expected.encode()
        )
        return name_fits and word_fits


def _trusted(folder: Path) -> set[bytes]:
    """Return the SHA-256 of every certificate in a folder, which may change while we run.

    Raises:
        VisionEdgeError: If it cannot be read, or holds something else.
    """
    x509 = require("cryptography.x509")
    encoding = require("cryptography.hazmat.primitives.serialization").Encoding.DER
    found = set()
    try:
        for path in sorted(folder.iterdir()):
            data = path.read_bytes()
            pem = data.lstrip().startswith(b"-----")
            certificate = (
                x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
            )(data)
            found.add(hashlib.sha256(certificate.public_bytes(encoding)).digest())
    except (OSError, ValueError) as error:
        raise VisionEdgeError(
            f"[opcua] trusted {folder}: {error}",
            fix="give a folder of certificates, DER or PEM, and nothing else",
        ) from error
    return found
