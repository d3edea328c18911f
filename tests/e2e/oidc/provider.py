"""oidc-provider-mock over TLS, with access tokens as Keycloak's: a JWT that has groups, preferred_username and an audience of its own."""

import os
import time
from datetime import timedelta
from uuid import uuid4

import flask
import uvicorn
from authlib import jose
from oidc_provider_mock import User, init_app
from oidc_provider_mock._storage import storage

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
LIFE = timedelta(hours=1)
PEOPLE = [
    User(sub=f"{number}-{name}", claims={"preferred_username": name, "email": f"{name}@example.com", "groups": groups})
    for number, name, groups in [("71", "ada", ["temporal-operators"]), ("72", "bob", ["temporal-viewers"]), ("73", "eve", ["accounting"])]
]


def access_token(client, grant_type, user, scope) -> str:
    now = int(time.time())
    claims = user.claims | {
        "iss": flask.request.host_url.rstrip("/"), "sub": user.sub, "aud": ["temporal", "account"], "azp": client.id, "typ": "Bearer",
        "iat": now, "exp": now + int(LIFE.total_seconds()), "jti": str(uuid4()), "scope": scope,
    }
    key = storage.jwk
    return jose.jwt.encode({"alg": "RS256", "typ": "JWT", "kid": key.thumbprint()}, claims, key).decode()


# Its templates are found by the name.
provider = flask.Flask("oidc_provider_mock")
provider.secret_key = os.urandom(16)
provider.config["OAUTH2_ACCESS_TOKEN_GENERATOR"] = access_token
init_app(provider, access_token_max_age=LIFE, user_claims=PEOPLE)
uvicorn.run(provider, interface="wsgi", host="0.0.0.0", port=9443, ssl_certfile="/tls/tls.crt", ssl_keyfile="/tls/tls.key")
