"""Login tokens: a node's token verified by PyJWT, and PyJWT's tokens that a node accepts or rejects."""

import base64
import hashlib
import hmac
import json
import time
from types import SimpleNamespace

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from network import NETWORK_ID, get, public_pem, send

KID = f"{NETWORK_ID}/node-1"


def check(checks, network):
    check_issued(checks, network)
    check_accepted(checks, network)
    check_rejected(checks, network)


def view(network, token, node="node-1"):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return get(f"{network.urls[node]}/view/{NETWORK_ID}", headers)


def request_token(network, password):
    basic = base64.b64encode(f"admin:{password}".encode()).decode()
    return send(SimpleNamespace(method="POST", url=f"{network.urls['node-1']}/token", body=b"",
                                headers={"Authorization": f"Basic {basic}"}))


def check_issued(checks, network):
    reply = request_token(network, network.password)
    if not checks.equal("POST /token returns a token for the password", reply.status_code, 200):
        return
    granted = json.loads(reply.body)
    checks.equal("its type is bearer", granted["token_type"].lower(), "bearer")
    checks.that("its lifetime is at most 30 minutes", 0 < granted["expires_in"] <= 1800, granted)
    token = granted["access_token"]
    header = jwt.get_unverified_header(token)
    checks.equal("its header names EdDSA and the issuer", (header["alg"], header["kid"]), ("EdDSA", KID))

    def decode(key="node-1", **changed):
        pinned = {"algorithms": ["EdDSA"], "audience": NETWORK_ID, "issuer": "node-1",
                  "options": {"require": ["iss", "sub", "aud", "iat", "exp"]}}
        return jwt.decode(token, public_pem(network.keys[key]), **{**pinned, **changed})

    claims = checks.verified("PyJWT verifies it with node-1's key", decode)
    if claims is None:
        return
    checks.equal("its audience is the network", claims["aud"], [NETWORK_ID])
    checks.equal("exp matches expires_in", claims["exp"] - claims["iat"], granted["expires_in"])
    checks.rejected("it does not verify with node-2's key", jwt.InvalidSignatureError, lambda: decode(key="node-2"))
    checks.rejected("it is not valid for another network", jwt.InvalidAudienceError, lambda: decode(audience="another"))
    checks.rejected("it is not valid for another issuer", jwt.InvalidIssuerError, lambda: decode(issuer="node-2"))
    reply = view(network, token)
    checks.equal("it grants access to the network's view", reply.status_code, 200)
    if reply.status_code == 200:
        checks.equal("the view is that of the network", json.loads(reply.body)["network_id"], NETWORK_ID)
    checks.equal("it grants access to the view of node-2, too", view(network, token, "node-2").status_code, 200)
    checks.equal("a wrong password is answered with 401", request_token(network, "wrong").status_code, 401)
    checks.equal("the view without a token is answered with 401", view(network, None).status_code, 401)


def claims(**changed):
    now = int(time.time())
    values = {"iss": "node-1", "sub": "admin", "aud": [NETWORK_ID], "iat": now, "exp": now + 600, **changed}
    return {name: value for name, value in values.items() if value is not None}


def check_accepted(checks, network):
    token = jwt.encode(claims(), network.keys["node-1"], algorithm="EdDSA", headers={"kid": KID})
    for node in ("node-1", "node-2"):
        found = view(network, token, node).status_code
        checks.equal(f"{node} accepts a token that PyJWT signed with node-1's key", found, 200)


def check_rejected(checks, network):
    key, stranger = network.keys["node-1"], Ed25519PrivateKey.generate()
    now = int(time.time())
    header = {"kid": KID}
    eddsa = lambda by=key, kid=KID, **changed: jwt.encode(
        claims(**changed), by, algorithm="EdDSA", headers={"kid": kid})
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    accepted = eddsa()
    for what, token in {
        "alg none": jwt.encode(claims(), None, algorithm="none", headers=header),
        "HS256 with the public key's bytes as its secret": jwt.encode(claims(), raw, algorithm="HS256", headers=header),
        # PyJWT refuses to sign this one.
        "HS256 with the public key's PEM as its secret": hs256(claims(), public_pem(key)),
        "a stranger's key": eddsa(by=stranger),
        "node-2's key and node-1's name": eddsa(by=network.keys["node-2"]),
        "a stranger's name": eddsa(by=stranger, kid=f"{NETWORK_ID}/stranger", iss="stranger"),
        "another network in kid": eddsa(kid="another/node-1"),
        "no kid": jwt.encode(claims(), key, algorithm="EdDSA"),
        "another issuer than kid names": eddsa(iss="node-2"),
        "another audience": eddsa(aud=["another"]),
        "no audience": eddsa(aud=None),
        "no exp": eddsa(exp=None),
        "an exp long past": eddsa(iat=now - 1000, exp=now - 500),
        "a lifetime of an hour": eddsa(exp=now + 3600),
        "an iat in the future": eddsa(iat=now + 600, exp=now + 900),
        "a changed claim": ".".join(
            [accepted.split(".")[0], eddsa(exp=now + 700).split(".")[1], accepted.split(".")[2]]),
        "no signature": accepted.rsplit(".", 1)[0] + ".",
    }.items():
        checks.equal(f"/view answers 401: {what}", view(network, token).status_code, 401)
    checks.equal("after all that, a valid token is still accepted", view(network, accepted).status_code, 200)


def hs256(payload, secret):
    part = lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=")
    text = b".".join([part(json.dumps({"alg": "HS256", "typ": "JWT", "kid": KID}).encode()),
                      part(json.dumps(payload).encode())])
    return (text + b"." + part(hmac.digest(secret, text, hashlib.sha256))).decode()
