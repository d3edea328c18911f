"""What a token must be, and what it may do: raw gRPC calls against the running gateway."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stack import CERTS, SERVER, must

SERVICE = "/temporal.api.workflowservice.v1.WorkflowService/"
LIST = SERVICE + "ListWorkflowExecutions"
DEFAULT = b"\x0a\x07default"  # namespace, field 1 of most requests
Claims = dict[str, Any]


def server_file(name: str) -> bytes:
    return must("docker", "exec", SERVER, "cat", f"{CERTS}/{name}").encode()


@pytest.fixture(scope="module")
def channel():
    credentials = grpc.ssl_channel_credentials(server_file("ca.crt"), server_file("temporal-client.key"), server_file("temporal-client.crt"))
    with grpc.secure_channel("localhost:7233", credentials) as open_channel:
        yield open_channel


@pytest.fixture(scope="module")
def call(channel) -> Callable[..., tuple[grpc.StatusCode, str]]:
    """Send raw bytes to a method with these authorization headers; the status and its message."""

    def send(method: str, *tokens: str, body: bytes = DEFAULT) -> tuple[grpc.StatusCode, str]:
        rpc = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        try:
            rpc(body, timeout=10, metadata=[("authorization", f"Bearer {token}") for token in tokens])
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, ""

    return send


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(server_file("temporal-jwt-private.key"), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return loaded


@pytest.fixture(scope="module")
def kid() -> str:
    return json.loads(server_file("temporal-jwks.json"))["keys"][0]["kid"]


@pytest.fixture(scope="module")
def sign(key, kid) -> Callable[..., str]:
    """A token that passes, but for what is changed; None removes a claim."""

    def make(headers: Claims | None = None, signing_key=None, **changes: Any) -> str:
        now = int(time.time())
        claims: Claims = {
            "iss": "temporal-warden", "aud": "temporal", "sub": "temporal-client", "scope": "temporal-client",
            "iat": now - 60, "nbf": now - 60, "exp": now + 600, "jti": str(uuid.uuid4()), "permissions": ["temporal-system:write"],
        }  # fmt: skip
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(claims, signing_key or key, algorithm="ES256", headers={"kid": kid} | (headers or {}))

    return make


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: Claims, token: str, signature: Callable[[bytes], bytes]) -> str:
    """The payload of a good token under another header and signature."""
    signed = f"{b64(json.dumps(header).encode())}.{token.split('.')[1]}"
    return f"{signed}.{b64(signature(signed.encode()))}"


def unauthorized(answer: tuple[grpc.StatusCode, str]) -> bool:
    return answer[0] == grpc.StatusCode.UNAUTHENTICATED and answer[1].startswith("Unauthorized:")


def test_a_token_signed_like_the_wardens_own_passes(call, sign):
    # Every refusal below differs from this one in a single point.
    assert call(LIST, sign()) == (grpc.StatusCode.OK, "")


def test_no_token_does_not_pass(call):
    assert unauthorized(call(LIST))


def test_alg_none_does_not_pass(call, sign, kid):
    assert unauthorized(call(LIST, forged({"alg": "none", "typ": "JWT", "kid": kid}, sign(), lambda signed: b"")))


@pytest.mark.parametrize("form", ["pem", "raw"])
def test_hmac_with_the_public_key_does_not_pass(call, sign, kid, form):
    public = server_file("temporal-jwt-public.key")
    secret = public if form == "pem" else public.strip()
    token = forged({"alg": "HS256", "typ": "JWT", "kid": kid}, sign(), lambda signed: hmac.new(secret, signed, hashlib.sha256).digest())
    assert unauthorized(call(LIST, token))


def test_another_key_does_not_pass(call, sign):
    assert unauthorized(call(LIST, sign(signing_key=ec.generate_private_key(ec.SECP256R1()))))


@pytest.mark.parametrize("headers", [{"kid": "unknown"}, {"kid": ""}])
def test_a_wrong_kid_does_not_pass(call, sign, headers):
    assert unauthorized(call(LIST, sign(headers=headers)))


def test_a_key_brought_along_does_not_pass(call, sign):
    own = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(own.public_key()))
    assert unauthorized(call(LIST, sign(headers={"jwk": public}, signing_key=own)))


def test_an_expired_token_is_told_since_when(call, sign):
    answer = call(LIST, sign(exp=int(time.time()) - 3 * 3600 - 12 * 60))
    assert unauthorized(answer)
    assert "expired 3h 12m ago" in answer[1]


def test_there_is_no_leeway(call, sign):
    assert unauthorized(call(LIST, sign(exp=int(time.time()) - 1)))
    assert unauthorized(call(LIST, sign(nbf=int(time.time()) + 30)))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "someone-else"}, {"aud": "something-else"}, {"scope": ["temporal-client"]}, {"scope": "temporal"}, {"scope": ""},
        {"exp": "tomorrow"}, *({claim: None} for claim in ("iss", "aud", "sub", "scope", "exp", "nbf")),
    ],
    ids=str,
)  # fmt: skip
def test_a_claim_that_is_wrong_or_missing_does_not_pass(call, sign, changes):
    assert unauthorized(call(LIST, sign(**changes)))


def test_two_authorization_headers_do_not_pass(call, sign):
    assert unauthorized(call(LIST, sign(), sign()))


def test_no_token_is_a_token(call):
    for nonsense in ("", "a.b.c", "x" * 4096):
        assert unauthorized(call(LIST, nonsense))


def test_other_words_in_a_scope_give_nothing(call, sign):
    token = sign(scope="openid temporal-client temporal-systems")
    assert call(LIST, token)[0] == grpc.StatusCode.OK
    assert call(SERVICE + "RegisterNamespace", token)[0] == grpc.StatusCode.PERMISSION_DENIED


ALLOWED = {
    "system": {"ListWorkflowExecutions", "DescribeNamespace", "ListNamespaces", "GetClusterInfo", "RespondActivityTaskCompletedById"},
    "client": {"ListWorkflowExecutions", "DescribeNamespace"},
    "worker": {"DescribeNamespace", "RespondActivityTaskCompletedById"},
}


@pytest.mark.parametrize("role", ALLOWED)
@pytest.mark.parametrize("method", sorted(ALLOWED["system"]))
def test_a_role_may_call_its_own_methods_only(call, role, method):
    status, message = call(SERVICE + method, server_file(f"{role}-token.jwt").decode(), body=b"" if "Cluster" in method else DEFAULT)
    if method in ALLOWED[role]:
        # The server itself may still object to an almost empty request, in other words than ours.
        assert status not in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED), message
    else:
        assert status == grpc.StatusCode.PERMISSION_DENIED
        for word in ("Forbidden:", f"temporal-{role}", method, "temporal-"):
            assert word in message


def test_an_unknown_method_and_reflection_need_the_system_scope(call):
    client = server_file("client-token.jwt").decode()
    for method in (SERVICE + "NoSuchMethod", "/temporal.server.api.adminservice.v1.AdminService/DescribeCluster"):
        assert call(method, client)[0] == grpc.StatusCode.PERMISSION_DENIED


def test_system_info_and_health_need_the_certificate_only(call):
    assert call(SERVICE + "GetSystemInfo", body=b"") == (grpc.StatusCode.OK, "")
    assert call("/grpc.health.v1.Health/Check", body=b"") == (grpc.StatusCode.OK, "")
    assert call(SERVICE + "GetSystemInfo", "a.b.c", body=b"") == (grpc.StatusCode.OK, "")


def test_a_namespace_list_in_a_token_binds_it(call, sign):
    bound = sign(namespaces=["elsewhere"], permissions=["elsewhere:write"])
    assert call(LIST, bound)[0] == grpc.StatusCode.PERMISSION_DENIED
    assert call(LIST, sign(namespaces=["default"], permissions=["default:write"]))[0] == grpc.StatusCode.OK
