import base64
import hashlib
import hmac
import stat
import sys

import pytest

from natmu import progress
from natmu.errors import RunError, UsageError
from natmu.requests.keys import ServiceKey, create_signing_key, fingerprint, sign, signature_holds


def test_digests_and_seals_are_hmacs_of_the_secret(tmp_path):
    key = ServiceKey.create(tmp_path / "service.key")
    expected = hmac.new((tmp_path / "service.key").read_bytes(), b"pixels", hashlib.sha256).hexdigest()
    assert key.digest(b"pixels") == key.digest(memoryview(b"pixels")) == expected[:32]
    sealed = hmac.new(key.secret, b"natmu ledger\0" + "ä".encode(), hashlib.sha256).hexdigest()
    assert key.seal("ä") == sealed


def test_no_digest_of_data_begins_a_seal(tmp_path):
    key = ServiceKey.create(tmp_path / "service.key")
    assert not key.seal("text").startswith(key.digest(b"text"))


def test_two_services_have_different_secrets_which_nothing_shows(tmp_path):
    one, other = (ServiceKey.create(tmp_path / name) for name in ("one", "other"))
    assert one.secret != other.secret
    assert len(one.secret) == 32
    assert one == ServiceKey.read(tmp_path / "one")
    assert repr(one.secret) not in repr(one)


def test_secrets_are_for_their_owner_only(tmp_path):
    ServiceKey.create(tmp_path / "service.key")
    create_signing_key(tmp_path)
    for name in ("service.key", "signing.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_key_is_never_replaced(tmp_path):
    ServiceKey.create(tmp_path / "service.key")
    create_signing_key(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=r"service\.key is there already"):
        ServiceKey.create(tmp_path / "service.key")
    with pytest.raises(UsageError, match=r"signing\.key is there already"):
        create_signing_key(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_key_that_is_gone_or_damaged_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"service\.key is not there"):
        ServiceKey.read(tmp_path / "service.key")
    (tmp_path / "service.key").write_bytes(b"1" * 31)
    with pytest.raises(RunError, match=r"service\.key is damaged: it does not hold 32 bytes"):
        ServiceKey.read(tmp_path / "service.key")
    with pytest.raises(RunError, match="cannot be read"):
        ServiceKey.read(tmp_path)
    with pytest.raises(RunError, match="Cannot write"):
        ServiceKey.create(tmp_path / "nowhere" / "service.key")


def test_a_signature_holds_for_what_was_signed_alone(tmp_path):
    create_signing_key(tmp_path)
    signature = sign(tmp_path, b"evidence")
    assert signature_holds(tmp_path / "signing.pub", b"evidence", signature)
    assert not signature_holds(tmp_path / "signing.pub", b"evidence.", signature)
    assert not signature_holds(tmp_path / "signing.pub", b"evidence", base64.b64encode(b"1" * 64).decode())
    assert not signature_holds(tmp_path / "signing.pub", b"evidence", "no base64 ä")


def test_a_signature_does_not_hold_for_another_key(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        create_signing_key(tmp_path / name)
    signature = sign(tmp_path / "one", b"evidence")
    assert not signature_holds(tmp_path / "other" / "signing.pub", b"evidence", signature)
    assert fingerprint(tmp_path / "one" / "signing.pub") != fingerprint(tmp_path / "other" / "signing.pub")


def test_openssl_takes_the_public_key(tmp_path):
    create_signing_key(tmp_path)
    text = (tmp_path / "signing.pub").read_text()
    der = base64.b64decode("".join(text.splitlines()[1:-1]))
    assert der[:12] == bytes.fromhex("302a300506032b6570032100")  # RFC 8410: SubjectPublicKeyInfo of Ed25519
    assert fingerprint(tmp_path / "signing.pub") == hashlib.sha256(der[12:]).hexdigest()[:16]


def test_without_a_key_nothing_is_signed(tmp_path):
    assert sign(tmp_path, b"evidence") is None


def test_what_is_no_key_is_named(tmp_path):
    create_signing_key(tmp_path)
    for name in ("signing.key", "missing.pub"):
        with pytest.raises(UsageError, match=name):
            signature_holds(tmp_path / name, b"evidence", "")
    (tmp_path / "signing.key").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(RunError, match=r"signing\.key is damaged"):
        sign(tmp_path, b"evidence")


def test_without_cryptography_there_is_no_key_and_a_line_says_so(tmp_path, monkeypatch, capsys):
    create_signing_key(tmp_path)
    (tmp_path / "bare").mkdir()
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with progress.showing():
        create_signing_key(tmp_path / "bare")
    assert "pip install 'natmu[sign]'" in capsys.readouterr().err
    assert not list((tmp_path / "bare").iterdir())
    for call in (lambda: sign(tmp_path, b""), lambda: signature_holds(tmp_path / "signing.pub", b"", "")):
        with pytest.raises(UsageError, match=r"pip install 'natmu\[sign\]'"):
            call()
