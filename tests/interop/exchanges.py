"""Exchanges: requests signed by Python, replies verified by Python."""

import base64
import copy
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures.digests import ContentDigest
from http_message_signatures.exceptions import InvalidSignature
from member import REPLY_COMPONENTS, TAG, VERSION, Member, deliver, verify
from network import PYTHON_NODE, NETWORK_ID, public_pem, send


def check(checks, network):
    member = Member(network)
    check_reply(checks, network, member)
    check_recipient(checks, network, member)
    check_signed_errors(checks, network, member)
    check_unsigned_errors(checks, network, member)


def check_reply(checks, network, member):
    pem = public_pem(network.keys["node-1"])
    request = member.request("node-1")
    reply = send(request)
    checks.equal("node-1 accepts a request signed by http-message-signatures", reply.status_code, 200)
    result = checks.verified("its reply and the body verify with its public key",
                             lambda: verify(reply, "node-1", pem))
    if result is None:
        return
    covered = tuple(result.covered_components)[:-1]
    checks.equal("the signature covers exactly the expected components, in order", covered, REPLY_COMPONENTS)
    checks.equal("its label is sig1", result.label, "sig1")
    nonce = f"{member.epoch}-1"
    expected = {"alg": "ed25519", "keyid": "node-1", "nonce": nonce, "tag": TAG}
    parameters = dict(result.parameters)
    checks.that("created is an integer", type(parameters.pop("created", None)) is int, result.parameters)
    checks.equal("the other parameters are alg, keyid, nonce and tag", parameters, expected)
    message = json.loads(reply.body)
    members = {"v", "from", "now", "took_us", "heads", "reports"}
    checks.that("the body has the members of a reply", members <= message.keys(), list(message))
    checks.equal("it names its sender and the protocol version", (message["from"], message["v"]), ("node-1", VERSION))
    checks.equal("its media type is JSON", reply.headers["Content-Type"], "application/json")

    other = send(member.request("node-1"))
    verify(other, "node-1", pem)
    swapped = copy.copy(reply)
    swapped.request = other.request
    rejected = lambda what, *arguments: checks.rejected(what, InvalidSignature, lambda: verify(*arguments))
    rejected("the reply to another request does not verify", swapped, "node-1", pem)
    rejected("a changed body does not verify", reply, "node-1", pem, reply.body.replace(b"node-1", b"node-3", 1))
    rejected("another member's key does not verify it", reply, "node-1", public_pem(network.keys["node-2"]))
    rejected("it does not verify as node-2's reply", reply, "node-2", public_pem(network.keys["node-2"]))
    changed = copy.copy(reply)
    changed.status_code = 201
    rejected("another status does not verify", changed, "node-1", pem)
    for name in ("Content-Digest", "Signature-Input", "Signature"):
        stripped = copy.copy(reply)
        stripped.request = copy.copy(request)
        # One character of the nonce, or of the base64 of a digest or signature.
        value = request.headers[name]
        at = value.index(nonce) if name == "Signature-Input" else value.index(":") + 5
        other_character = "2" if value[at] == "1" else "1"
        stripped.request.headers = {**request.headers, name: value[:at] + other_character + value[at + 1:]}
        rejected(f"a request with another {name} does not match the reply", stripped, "node-1", pem)


def check_recipient(checks, network, member):
    """A request belongs to one recipient: nobody can use it against another node."""
    pem = public_pem(network.keys["node-1"])
    nonce = f"{member.epoch}-{next(member.counter)}"
    request = member.request("node-2", nonce=nonce)
    reply = deliver(network, request, "node-1")
    checks.equal("node-1 answers a request for node-2 with 421", reply.status_code, 421)
    checks.verified("that 421 is signed and bound to its request", lambda: verify(reply, "node-1", pem))
    checks.equal("node-1 accepts the member's own request with that nonce",
                 send(member.request("node-1", nonce=nonce)).status_code, 200)
    checks.equal("node-2 accepts the request itself", send(request).status_code, 200)

    request = member.request("node-1")
    request.url += "?x=1"
    checks.equal("a target with a query is answered with 400", send(request).status_code, 400)
    request.url = request.url.removesuffix("?x=1")
    checks.equal("without the query, the same request is accepted", send(request).status_code, 200)


def check_signed_errors(checks, network, member):
    pem = public_pem(network.keys["node-1"])

    def check_problem(what, reply, status):
        checks.equal(f"{what} is answered with {status}", reply.status_code, status)
        checks.verified(f"that {status} is signed and bound to its request", lambda: verify(reply, "node-1", pem))
        media = reply.headers["Content-Type"]
        problem = json.loads(reply.body)
        right = media == "application/problem+json" and problem.get("status") == status and problem.get("title")
        checks.that(f"that {status} is a problem document of RFC 9457", right, (media, problem))

    request = member.request("node-1")
    send(request)
    check_problem("the same request again", send(request), 409)
    check_problem("a nonce below the last", send(member.request("node-1", nonce=f"{member.epoch}-1")), 409)
    check_problem("a request for another node", deliver(network, member.request("node-2"), "node-1"), 421)
    changed = member.request("node-1")
    changed.body = changed.body.replace(b'"heads"', b'"hEads"')
    check_problem("a body that its digest does not match", send(changed), 400)
    other = deliver(network, member.request("node-1"), "node-2")
    checks.equal("node-2 answers a request for node-1 with 421", other.status_code, 421)
    checks.verified("that 421 is signed by node-2",
                    lambda: verify(other, "node-2", public_pem(network.keys["node-2"])))
    earlier = member.request("node-1", tag="distomon", components=("@method", "@path", "content-digest"))
    reply = send(earlier)
    checks.equal("a request of the earlier, incompatible protocol is answered with 426", reply.status_code, 426)
    checks.verified("that 426 is signed as the earlier protocol was",
                    lambda: verify(reply, "node-1", pem, tag="distomon"))
    checks.equal("after all that, the next request is accepted", send(member.request("node-1")).status_code, 200)


def check_unsigned_errors(checks, network, member):
    def check_problem(what, request, status):
        reply = send(request)
        checks.equal(f"{what} is answered with {status}", reply.status_code, status)
        checks.that("… without a signature", "Signature" not in reply.headers, reply.headers)

    stranger = Ed25519PrivateKey.generate()
    outsider = Member(network, node_id="outsider", key=stranger)
    check_problem("a signer outside the network", outsider.request("node-1"), 403)
    thief = Member(network, node_id=PYTHON_NODE, key=stranger)
    check_problem("a member's name with a stranger's key", thief.request("node-1"), 401)
    check_problem("a member's name with another member's key",
                  Member(network, node_id="node-2", key=member.key).request("node-1"), 401)

    def tampered(change):
        request = member.request("node-1")
        change(request)
        return request

    def flip_signature(request):
        label, value = request.headers["Signature"].split("=", 1)
        raw = bytearray(base64.b64decode(value.strip(":")))
        raw[7] ^= 1
        request.headers["Signature"] = f"{label}=:{base64.b64encode(raw).decode()}:"

    def change_body(request):
        # The digest matches the body, so that only the signature is wrong.
        request.body = member.request("node-1", heads={"node-1": [1, 1, "AAAAAAAAAAA=", 0]}).body
        request.headers["Content-Digest"] = ContentDigest.create(request.body)

    check_problem("one flipped bit in the signature", tampered(flip_signature), 401)
    check_problem("another digest than the signed one", tampered(change_body), 401)
    check_problem("another nonce than the signed one", tampered(lambda request: request.headers.update(
        {"Signature-Input": request.headers["Signature-Input"].replace('nonce="', 'nonce="9')})), 401)
    check_problem("another tag", tampered(lambda request: request.headers.update(
        {"Signature-Input": request.headers["Signature-Input"].replace('"distomon-v2"', '"distomon-v3"')})), 401)
    check_problem("another recipient than the signed one", tampered(lambda request: request.headers.update(
        {"Distomon-To": "node-2"})), 401)
    check_problem("no recipient", tampered(lambda request: request.headers.pop("Distomon-To")), 401)
    check_problem("a recipient that is not signed", member.request(
        "node-1", components=("@method", "@path", "content-digest")), 401)
    check_problem("no signature", tampered(lambda request: request.headers.pop("Signature")), 401)
    elsewhere = member.request("node-1")
    elsewhere.url = elsewhere.url.replace(NETWORK_ID, "another-network")
    check_problem("an unknown network", elsewhere, 404)
