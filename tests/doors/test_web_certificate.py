"""The certificate: made, kept, renewed, or configured."""

from __future__ import annotations

import datetime
import io
import socket
import ssl
import stat
from pathlib import Path

import pytest
import requests
from cryptography import x509

from repofs.config import Web
from repofs.errors import Busy, SettingsError
from repofs.web import certificate, server
from tests.helpers.waiting import until
from tests.helpers.web import Door, served

pytestmark = pytest.mark.usefixtures("log")
ON = Web(listen="127.0.0.1:0")


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_it_is_made_once_for_the_daemon_alone(tmp_path: Path) -> None:
    own = tmp_path / "web.pem"
    certificate.context(ON, own)
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    made = own.read_bytes()
    certificate.context(ON, own)
    assert own.read_bytes() == made
    assert list(tmp_path.iterdir()) == [own]


def test_clients_that_trust_it_may_use_each_name(tmp_path: Path) -> None:
    with served(tmp_path, listen="127.0.0.1:0", hosts=("omero.example.org",)) as door:
        assert door.token().status_code == 200
        url = f"https://localhost:{door.port}/api/v0/token"
        assert requests.get(url, verify=str(door.certificate)).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url)
        for name in ("omero.example.org", socket.gethostname(), "::1"):
            _shake_hands(door, name)
        with pytest.raises(ssl.SSLCertVerificationError):
            _shake_hands(door, "evil.example")


def _shake_hands(door: Door, name: str) -> None:
    context = ssl.create_default_context(cafile=str(door.certificate))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does
    with socket.create_connection(("127.0.0.1", door.port)) as bare:
        context.wrap_socket(bare, server_hostname=name).close()


def test_old_protocols_are_refused(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        context = ssl.create_default_context(cafile=str(door.certificate))
        with pytest.warns(DeprecationWarning):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", door.port)) as bare, pytest.raises(ssl.SSLError):
            context.wrap_socket(bare, server_hostname="localhost")


def test_another_name_makes_another(tmp_path: Path) -> None:
    own = tmp_path / "web.pem"
    certificate.context(ON, own)
    first = read(own)
    certificate.context(Web(listen="127.0.0.1:0", hosts=("New.example.org", "[FE80::0:1]")), own)
    second = read(own)
    assert second != first
    certificate.context(Web(listen="127.0.0.1:0", hosts=("new.example.org", "fe80::1")), own)
    assert read(own) == second


@pytest.mark.parametrize("life", [datetime.timedelta(days=29), datetime.timedelta(minutes=-5)])
def test_it_is_renewed_a_month_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, life: datetime.timedelta
) -> None:
    own = tmp_path / "web.pem"
    monkeypatch.setattr(certificate, "LIFE", life)
    certificate.context(ON, own)
    monkeypatch.undo()
    certificate.context(ON, own)
    assert read(own).not_valid_after_utc > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3600)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_one_is_made_again(tmp_path: Path, content: bytes) -> None:
    own = tmp_path / "web.pem"
    own.write_bytes(content)
    certificate.context(ON, own)
    assert b"PRIVATE KEY" in own.read_bytes()


def test_the_configured_pair_is_used(tmp_path: Path) -> None:
    pair = tmp_path / "pair.pem"
    certificate.context(ON, pair)
    with served(tmp_path, certificate=pair, key=pair) as door:
        assert not door.certificate.exists()
        assert requests.get(door.address + "/api/v0/token", verify=str(pair)).status_code == 200


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_a_pair_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    pair = tmp_path / "pair.pem"
    if content is not None:
        pair.write_bytes(content)
    with pytest.raises(SettingsError, match=str(pair)):
        with served(tmp_path, certificate=pair, key=pair):
            pass


def test_a_pair_that_does_not_match_is_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one.pem", tmp_path / "other.pem"
    certificate.context(ON, one)
    certificate.context(ON, other)
    with pytest.raises(SettingsError):
        certificate.context(Web(listen="127.0.0.1:0", certificate=one, key=other), tmp_path / "web.pem")


def test_one_that_is_put_in_its_place_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    """As the tools of Let's Encrypt do it; what is none leaves the one from before."""
    monkeypatch.setattr(server, "CERTIFICATE_SECONDS", 0.05)
    pair, new = tmp_path / "pair.pem", tmp_path / "new.pem"
    certificate.context(ON, pair)
    certificate.context(ON, new)
    with served(tmp_path, certificate=pair, key=pair) as door:
        assert _shown(door) == read(pair)
        pair.write_bytes(new.read_bytes())
        until(lambda: _shown(door) == read(new), "the new one is not shown", 5)
        pair.write_bytes(b"nonsense")
        until(lambda: "stays" in log.getvalue(), "nothing was read", 5)
        assert _shown(door) == read(new)


def _shown(door: Door) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", door.port)).encode())


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"web\.hosts"):
        certificate.context(Web(listen="127.0.0.1:0", hosts=("ä.example",)), tmp_path / "web.pem")


def test_an_address_that_is_taken_is_refused(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        with pytest.raises(Busy, match=r"web\.listen"):
            with served(tmp_path, listen=f"127.0.0.1:{door.port}"):
                pass


@pytest.mark.parametrize("listen", ["127.0.0.1:99999", "nowhere.invalid:0"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, listen: str) -> None:
    with pytest.raises((SettingsError, Busy), match=r"web\.listen"):
        with served(tmp_path, listen=listen):
            pass
