"""Certificates as OpenSSL sees them, and handshakes that must fail."""

import datetime
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stack import CERTS, SERVER, bash, must

PUBLISHED = "/etc/temporal/published"
NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.mark.parametrize(
    ("file", "purpose"),
    [
        (f"{CERTS}/temporal-server.crt", "sslserver"),
        (f"{CERTS}/temporal-client.crt", "sslclient"),
        (f"{PUBLISHED}/client/temporal-client.crt", "sslclient"),
        (f"{PUBLISHED}/worker/temporal-client.crt", "sslclient"),
        (f"{PUBLISHED}/postgres/server.crt", "sslserver"),
    ],
)
def test_openssl_finds_each_certificate_strictly_valid_for_its_purpose(file, purpose):
    done = bash(SERVER, f"openssl verify -x509_strict -purpose {purpose} -CAfile {CERTS}/ca.crt -untrusted {file} {file}")
    assert done.ok, done.text


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_a_leaf_is_good_for_one_purpose_only(purpose):
    other = "temporal-client.crt" if purpose == "sslserver" else "temporal-server.crt"
    assert not bash(SERVER, f"openssl verify -purpose {purpose} -CAfile {CERTS}/ca.crt {CERTS}/{other}").ok


def test_the_authority_is_a_strictly_valid_root():
    assert bash(SERVER, f"openssl verify -x509_strict -check_ss_sig -CAfile {CERTS}/ca.crt {CERTS}/ca.crt").ok


@pytest.mark.parametrize("bundle", ["client", "worker"])
def test_an_application_bundle_holds_its_own_files_and_no_more(bundle):
    names = set(must("docker", "exec", SERVER, "ls", f"{PUBLISHED}/{bundle}").split())
    assert names == {"ca.crt", "temporal-client.crt", "temporal-client.key", f"{bundle}-token.jwt"}


def test_secrets_are_readable_for_root_and_one_group_only():
    modes = dict(
        line.split()[::-1]
        for line in must("docker", "exec", SERVER, "bash", "-c", f"cd {CERTS} && stat -L -c '%a:%U %n' *.key *.jwt postgres-password").splitlines()
    )
    assert modes["ca.key"] == modes["temporal-jwt-private.key"] == modes["system-token.jwt"] == modes["postgres-password"] == "600:root"
    assert modes["temporal-server.key"] == modes["temporal-client.key"] == modes["client-token.jwt"] == "640:root"


# --- handshakes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    for name in ("ca.crt", "ca.key", "temporal-client.crt", "temporal-client.key", "temporal-server.crt", "temporal-server.key"):
        must("docker", "cp", "-L", f"{SERVER}:{CERTS}/{name}", folder / name)
    return folder


def handshake(material: Path, certificate: Path | None, key: Path | None) -> str:
    """A GET over TLS; the status line, or an SSLError."""
    context = ssl.create_default_context(cafile=material / "ca.crt")
    if certificate:
        context.load_cert_chain(certificate, key)
    with socket.create_connection(("127.0.0.1", 7233), 5) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        tls.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        return tls.recv(4096).decode()


def issue(folder: Path, authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None, days: tuple[int, int], usage) -> tuple[Path, Path]:
    """A client certificate from that authority, or from one of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_key = authority[1] if authority else ec.generate_private_key(ec.SECP256R1())
    issuer = authority[0].subject if authority else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another authority")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "temporal-client")]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + datetime.timedelta(days=days[0]))
        .not_valid_after(NOW + datetime.timedelta(days=days[1]))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    (folder / "made.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "made.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "made.crt", folder / "made.key"


@pytest.fixture(scope="module")
def authority(material):
    certificate = x509.load_pem_x509_certificates((material / "ca.crt").read_bytes())[0]
    return certificate, serialization.load_pem_private_key((material / "ca.key").read_bytes(), None)


def test_a_client_certificate_of_the_authority_is_served(material, authority, tmp_path):
    assert " 200 " in handshake(material, material / "temporal-client.crt", material / "temporal-client.key")
    # The ones below differ from this one in a single point each.
    assert " 200 " in handshake(material, *issue(tmp_path, authority, (-1, 1), ExtendedKeyUsageOID.CLIENT_AUTH))


def test_no_certificate_ends_the_handshake(material):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(material, None, None)


def test_a_certificate_of_another_authority_ends_the_handshake(material, tmp_path):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(material, *issue(tmp_path, None, (-1, 1), ExtendedKeyUsageOID.CLIENT_AUTH))


def test_an_expired_certificate_ends_the_handshake(material, authority, tmp_path):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(material, *issue(tmp_path, authority, (-2, -1), ExtendedKeyUsageOID.CLIENT_AUTH))


def test_a_server_certificate_is_no_client_certificate(material, authority, tmp_path):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(material, *issue(tmp_path, authority, (-1, 1), ExtendedKeyUsageOID.SERVER_AUTH))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(material, material / "temporal-server.crt", material / "temporal-server.key")
