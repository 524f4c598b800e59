"""The keys of a service: a secret for keyed digests and seals, and a pair of keys that signs evidence."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from natmu import progress
from natmu.errors import RunError, UsageError
from natmu.machine import cannot_write
from natmu.records.service import PUBLIC_KEY, SIGNING_KEY
from natmu.user_files import read_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_LENGTH = 32
_SEALED = b"natmu ledger\0"
"""What comes before every sealed text, so that no digest of data is ever a seal."""

_INSTALL = "run pip install 'natmu[sign]'"


@dataclass(frozen=True)
class ServiceKey:
    """The secret of a service. Whoever has it can make digests and seals; nobody else can.

    Attributes:
        secret: 32 bytes. ``hmac.digest(secret, data, "sha256")[:16]`` is what ``digest`` gives in hexadecimal.
    """

    secret: bytes = field(repr=False)

    @classmethod
    def create(cls, path: Path) -> ServiceKey:
        """A new secret in a file that only its owner may read.

        Raises:
            UsageError: The file is there already; a secret is never replaced.
            RunError: It cannot be written.
        """
        key = cls(secrets.token_bytes(_LENGTH))
        _write_new(path, key.secret, 0o600)
        return key

    @classmethod
    def read(cls, path: Path) -> ServiceKey:
        """The secret in a file.

        Raises:
            UsageError: There is no such file.
            RunError: It cannot be read, or holds no secret.
        """
        try:
            secret = read_file(path)
        except FileNotFoundError:
            raise UsageError(
                f"{path} is not there, and nothing can be done with the service without it; restore it from a backup."
            ) from None
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error.strerror}); let its owner run this.") from None
        if len(secret) != _LENGTH:
            raise RunError(f"{path} is damaged: it does not hold {_LENGTH} bytes; restore it from a backup.")
        return cls(secret)

    def digest(self, data: bytes | memoryview) -> str:
        """32 hexadecimal digits that name data to whoever has the secret: HMAC-SHA256, cut to 16 bytes."""
        return hmac.digest(self.secret, data, "sha256")[:16].hex()

    def seal(self, text: str) -> str:
        """64 hexadecimal digits that only the secret can make of a text."""
        return hmac.digest(self.secret, _SEALED + text.encode(), "sha256").hex()


def create_signing_key(folder: Path) -> None:
    """A new pair of Ed25519 keys in a service folder; without cryptography nothing but a line that says so.

    Raises:
        UsageError: There is a key already; it is never replaced.
        RunError: It cannot be written.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
    except ImportError:
        progress.say(f"Evidence will not be signed, because cryptography is not installed; {_INSTALL} to have it so.")
        return
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_new(folder / SIGNING_KEY, private, 0o600)
    _write_new(
        folder / PUBLIC_KEY, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644
    )


def sign(folder: Path, content: bytes) -> str | None:
    """The signature of content by a service.

    Args:
        folder: Of the service.
        content: What is signed.

    Returns:
        The Ed25519 signature in base64; None where the service has no key.

    Raises:
        RunError: The key is damaged.
        UsageError: There is a key, and cryptography is missing.
    """
    path = folder / SIGNING_KEY
    if not path.exists():
        return None
    return base64.b64encode(_signing_key(path).sign(content)).decode()


def signature_holds(public_key_file: Path, content: bytes, signature: str) -> bool:
    """Whether content was signed by the owner of a public key, and was not changed since.

    Args:
        public_key_file: The public key, as PEM.
        content: What was signed.
        signature: In base64.

    Raises:
        UsageError: The file is no public Ed25519 key, or cryptography is missing.
    """
    key = _public_key(public_key_file)
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, ValueError):  # a text that is no base64 is no signature
        return False
    return True


def fingerprint(public_key_file: Path) -> str:
    """A short name of a public key, to compare with what its owner says: SHA-256 of the key, 16 hexadecimal digits.

    Raises:
        UsageError: The file is no public Ed25519 key, or cryptography is missing.
    """
    return hashlib.sha256(_public_key(public_key_file).public_bytes_raw()).hexdigest()[:16]


def _signing_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a file."""
    key = _from_pem(path, private=True)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not isinstance(key, Ed25519PrivateKey):
        raise RunError(f"{path} is damaged: it holds no private Ed25519 key; restore it from a backup.")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a file."""
    key = _from_pem(path, private=False)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path} holds no public Ed25519 key; name the {PUBLIC_KEY} of the service.")
    return key


def _from_pem(path: Path, *, private: bool) -> object:
    """The key in a file; None where it holds none.

    Raises:
        UsageError: cryptography is missing, or there is no such file.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ImportError:
        raise UsageError(f"Signatures need cryptography, which is not installed; {_INSTALL}.") from None
    try:
        content = read_file(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); name the file of a key.") from None
    try:
        return load_pem_private_key(content, password=None) if private else load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is not there yet.

    Raises:
        UsageError: It is.
        RunError: It cannot be written.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise UsageError(f"{path} is there already and is never replaced; choose another folder.") from None
    except OSError as error:
        raise cannot_write(path, error) from error
