"""The set of scripts/bench/pki.sh by cryptography and PyJWT, as a script of one's own would make it."""

import datetime
import ipaddress
import uuid
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
SERVER = ["temporal", "temporal-server", "localhost", "app_data_temporal_server"]
ADDRESSES = ["127.0.0.1", "::1"]


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def write_key(path: str, key: ec.EllipticCurvePrivateKey) -> None:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    Path(path).write_bytes(key.private_bytes(*form))


def usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)


def builder(subject: x509.Name, issuer: x509.Name, key, signer, days: int, *, ca: bool) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(NOW - datetime.timedelta(minutes=5)).not_valid_after(NOW + datetime.timedelta(days=days))
    made = made.add_extension(x509.BasicConstraints(ca, 1 if ca else None), True).add_extension(usage(ca=ca), True)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    return made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)


def main() -> None:
    ca_key, ca_name = ec.generate_private_key(ec.SECP256R1()), name("Bench CA")
    ca = builder(ca_name, ca_name, ca_key, ca_key, 3650, ca=True).sign(ca_key, hashes.SHA256())
    Path("ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    write_key("ca.key", ca_key)
    for leaf, sans, use in [
        ("server", SERVER, ExtendedKeyUsageOID.SERVER_AUTH),
        ("client", ["temporal-client"], ExtendedKeyUsageOID.CLIENT_AUTH),
        ("worker", ["temporal-worker"], ExtendedKeyUsageOID.CLIENT_AUTH),
        ("postgres", ["postgres"], ExtendedKeyUsageOID.SERVER_AUTH),
    ]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(san) for san in sans]
        if leaf == "server":
            names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
        made = builder(name(f"temporal-{leaf}"), ca_name, key, ca_key, 90, ca=False)
        made = made.add_extension(x509.SubjectAlternativeName(names), False)
        made = made.add_extension(x509.ExtendedKeyUsage([use]), False).sign(ca_key, hashes.SHA256())
        Path(f"{leaf}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        write_key(f"{leaf}.key", key)
    signing = ec.generate_private_key(ec.SECP256R1())
    write_key("jwt.key", signing)
    public = signing.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    Path("jwt.pub").write_bytes(public)
    for role in ["system", "worker", "client"]:
        who = f"temporal-{role}"
        claims = {"iss": "temporal-warden", "aud": "temporal", "sub": who, "scope": who, "iat": NOW, "nbf": NOW}
        claims |= {"exp": NOW + datetime.timedelta(days=90), "jti": str(uuid.uuid4()), "permissions": ["temporal-system:write"]}
        Path(f"{role}.jwt").write_text(jwt.encode(claims, signing, "ES256", {"kid": "k"}))


if __name__ == "__main__":
    main()
