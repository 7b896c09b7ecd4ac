"""The certificate of the HTTPS door: the configured pair, or one that the daemon signs for itself.

`web.pem`, 0600, in the repository directory: a certificate and its key. It lasts for years, since each client has been
told to trust this very one, and a new one is made a month before its end, or when it lacks a name that is set.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import ssl
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from repofs.config import Web
from repofs.errors import SettingsError
from repofs.repository.durable import sync_directory, write_new
from repofs.web.address import names

LIFE = datetime.timedelta(days=3650)
RENEWED_BEFORE = datetime.timedelta(days=30)

log = structlog.get_logger(__name__)


def context(settings: Web, own: Path) -> ssl.SSLContext:
    """Return what TLS is spoken with: the configured pair, or *own*, which is made or renewed when need be.

    Raises SettingsError for a pair that is none, or a name that can stand in no certificate.
    """
    if settings.certificate is None:
        certificate, key = own, own
        _make_sure(own, names(settings))
    else:
        assert settings.key is not None
        certificate, key = settings.certificate, settings.key
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.set_alpn_protocols(["http/1.1"])
    try:
        tls.load_cert_chain(certificate, key, password="")  # never asks for one on a terminal
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise SettingsError(f"{certificate} and {key} are no certificate and its key in PEM: {error}") from error
    return tls


def _make_sure(own: Path, called: frozenset[str]) -> None:
    """Make *own* unless it is there, has all names, and lasts."""
    try:
        there = x509.load_pem_x509_certificate(own.read_bytes())
        lasts = there.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > RENEWED_BEFORE
        if lasts and called <= _named(there):
            return
    except FileNotFoundError:
        pass
    except (ValueError, x509.ExtensionNotFound) as error:
        log.warning("the certificate is damaged: a new one is made", path=str(own), reason=str(error))
    made, pem = _made(called)
    new = own.with_name(f".{own.name}.{secrets.token_hex(4)}")
    write_new(new, pem, 0o600)
    os.replace(new, own)
    sync_directory(own.parent)
    log.info("a certificate was made", path=str(own), sha256=made.fingerprint(hashes.SHA256()).hex())


def _named(certificate: x509.Certificate) -> set[str]:
    alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = alternatives.get_values_for_type(x509.DNSName)
    return {*dns, *(str(address) for address in alternatives.get_values_for_type(x509.IPAddress))}


def _made(called: frozenset[str]) -> tuple[x509.Certificate, bytes]:
    """Return a new certificate for these names, and with its key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "repofs")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"),
        False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks of clients go wrong
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in sorted(called)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)  # it signs no other
        .add_extension(
            x509.KeyUsage(digital_signature=True, encipher_only=False, decipher_only=False, **usage), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made, made.public_bytes(Encoding.PEM) + private


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise SettingsError(f"web.hosts: {name!r} is no host name: write it in ASCII") from error
