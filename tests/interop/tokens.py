"""Login tokens: a node's that PyJWT verifies, and PyJWT's that a node takes or refuses."""

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
    check_taken(checks, network)
    check_refused(checks, network)


def view(network, token, node="node-1"):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return get(f"{network.urls[node]}/view/{NETWORK_ID}", headers)


def ask_for_token(network, password):
    basic = base64.b64encode(f"admin:{password}".encode()).decode()
    return send(SimpleNamespace(method="POST", url=f"{network.urls['node-1']}/token", body=b"",
                                headers={"Authorization": f"Basic {basic}"}))


def check_issued(checks, network):
    reply = ask_for_token(network, network.password)
    if not checks.equal("POST /token gives a token for the password", reply.status_code, 200):
        return
    granted = json.loads(reply.body)
    checks.equal("its type is bearer", granted["token_type"].lower(), "bearer")
    checks.that("it lives at most 30 minutes", 0 < granted["expires_in"] <= 1800, granted)
    token = granted["access_token"]
    header = jwt.get_unverified_header(token)
    checks.equal("its header says EdDSA and who issued it", (header["alg"], header["kid"]), ("EdDSA", KID))

    def decode(key="node-1", **changed):
        pinned = {"algorithms": ["EdDSA"], "audience": NETWORK_ID, "issuer": "node-1",
                  "options": {"require": ["iss", "sub", "aud", "iat", "exp"]}}
        return jwt.decode(token, public_pem(network.keys[key]), **{**pinned, **changed})

    claims = checks.verified("PyJWT verifies it with node-1's key", decode)
    if claims is None:
        return
    checks.equal("its audience is the network", claims["aud"], [NETWORK_ID])
    checks.equal("exp is what expires_in says", claims["exp"] - claims["iat"], granted["expires_in"])
    checks.refused("it is not node-2's", jwt.InvalidSignatureError, lambda: decode(key="node-2"))
    checks.refused("it is not for another network", jwt.InvalidAudienceError, lambda: decode(audience="another"))
    checks.refused("it is not from another issuer", jwt.InvalidIssuerError, lambda: decode(issuer="node-2"))
    reply = view(network, token)
    checks.equal("it opens the network's view", reply.status_code, 200)
    if reply.status_code == 200:
        checks.equal("which is that network's", json.loads(reply.body)["network_id"], NETWORK_ID)
    checks.equal("and that of node-2, which did not issue it", view(network, token, "node-2").status_code, 200)
    checks.equal("a wrong password gives none", ask_for_token(network, "wrong").status_code, 401)
    checks.equal("without a token the view is closed", view(network, None).status_code, 401)


def claims(**changed):
    now = int(time.time())
    told = {"iss": "node-1", "sub": "admin", "aud": [NETWORK_ID], "iat": now, "exp": now + 600, **changed}
    return {name: value for name, value in told.items() if value is not None}


def check_taken(checks, network):
    token = jwt.encode(claims(), network.keys["node-1"], algorithm="EdDSA", headers={"kid": KID})
    for node in ("node-1", "node-2"):
        found = view(network, token, node).status_code
        checks.equal(f"{node} takes a token that PyJWT made with node-1's key", found, 200)


def check_refused(checks, network):
    key, stranger = network.keys["node-1"], Ed25519PrivateKey.generate()
    now = int(time.time())
    header = {"kid": KID}
    eddsa = lambda by=key, kid=KID, **changed: jwt.encode(
        claims(**changed), by, algorithm="EdDSA", headers={"kid": kid})
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    taken = eddsa()
    for what, token in {
        "alg none": jwt.encode(claims(), None, algorithm="none", headers=header),
        "HS256 with the public key's bytes as its secret": jwt.encode(claims(), raw, algorithm="HS256", headers=header),
        # PyJWT itself refuses to make this one.
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
        "a life of an hour": eddsa(exp=now + 3600),
        "an iat in the future": eddsa(iat=now + 600, exp=now + 900),
        "a changed claim": ".".join([taken.split(".")[0], eddsa(exp=now + 601).split(".")[1], taken.split(".")[2]]),
        "no signature": taken.rsplit(".", 1)[0] + ".",
    }.items():
        checks.equal(f"refused on /view: {what}", view(network, token).status_code, 401)
    checks.equal("after all that, a good token is still taken", view(network, taken).status_code, 200)


def hs256(told, secret):
    part = lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=")
    text = b".".join([part(json.dumps({"alg": "HS256", "typ": "JWT", "kid": KID}).encode()),
                      part(json.dumps(told).encode())])
    return (text + b"." + part(hmac.digest(secret, text, hashlib.sha256))).decode()
