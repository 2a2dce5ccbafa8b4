"""Reports: envelopes verified by securesystemslib, and one that Python signs and both nodes relay."""

import base64
import copy
import hashlib
import json
import re
import time

from check import wait_for
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from member import Member, verify
from network import PYTHON_NODE, NETWORK_ID, NODES, public_pem, send
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.distomon.report.v1+json"
MEMBERS = {"network_id", "node_id", "epoch", "seq", "prev", "at", "interval_ms", "version", "config", "isolated",
           "leaving", "observations"}
MAX_INTEGER = 2**53 - 1


def check(checks, network):
    member = Member(network)
    check_first(checks, network, member)
    check_envelopes(checks, network, member)
    check_chain(checks, network, member)
    check_own(checks, network, member)


def sslib_key(network, node):
    return SSlibKey.from_crypto(network.keys[node].public_key(), keyid=node)


def payload(envelope):
    return base64.b64decode(envelope["payload"], validate=True)


def statement(envelope):
    return json.loads(payload(envelope))


def check_first(checks, network, member):
    """Restarts node-1 until it returns the first report of its epoch, which the second one soon replaces."""
    for _ in range(20):
        network.restart("node-1")
        found = [statement(envelope) for envelope in member.exchange("node-1").message["reports"]]
        first = [report for report in found if (report["node_id"], report["seq"]) == ("node-1", 1)]
        if first:
            break
    if checks.that("a node that has just started returns its first report", first, found):
        checks.equal("the first report of an epoch has no prev", first[0]["prev"], None)


def check_envelopes(checks, network, member):
    def poll():
        reports = member.exchange("node-1").message["reports"]
        return reports if {envelope["signatures"][0]["keyid"] for envelope in reports} == set(NODES) else None

    reports = wait_for("node-1 returning the reports of both nodes", poll)
    for envelope in reports:
        node = envelope["signatures"][0]["keyid"]
        key = sslib_key(network, node)
        # from_dict changes its argument.
        read = lambda: copy.deepcopy(envelope)
        checks.verified(f"the envelope of {node}'s report verifies",
                        lambda: Envelope.from_dict(read()).verify([key], 1))
        checks.equal("its members are those of DSSE",
                     (set(envelope), set(envelope["signatures"][0]), len(envelope["signatures"])),
                     ({"payload", "payloadType", "signatures"}, {"keyid", "sig"}, 1))
        checks.equal("its payload type is that of a report", envelope["payloadType"], PAYLOAD_TYPE)

        def rejected(what, change, by=key):
            forged = read()
            change(forged)
            checks.rejected(what, VerificationError, lambda: Envelope.from_dict(forged).verify([by], 1))

        rejected("a flipped bit in its payload does not verify", lambda e: e.update(payload=flip(e["payload"])))
        rejected("a flipped bit in its signature does not verify",
                lambda e: e["signatures"][0].update(sig=flip(e["signatures"][0]["sig"])))
        rejected("another payload type does not verify", lambda e: e.update(payloadType=PAYLOAD_TYPE + "x"))
        stranger = SSlibKey.from_crypto(Ed25519PrivateKey.generate().public_key(), keyid=node)
        rejected("a stranger's key does not verify it", lambda e: None, by=stranger)
        check_statement(checks, node, statement(envelope))
    configs = {statement(envelope)["config"] for envelope in reports}
    checks.equal("both nodes have the same configuration", len(configs), 1)


def flip(text):
    raw = bytearray(base64.b64decode(text))
    raw[len(raw) // 2] ^= 1
    return base64.b64encode(raw).decode()


def check_statement(checks, node, report):
    is_count = lambda value: type(value) is int and 0 <= value <= MAX_INTEGER
    checks.equal("its payload has exactly a report's members", set(report), MEMBERS)
    checks.equal("it names its network and author", (report["network_id"], report["node_id"]), (NETWORK_ID, node))
    counts = [report[name] for name in ("epoch", "seq", "at", "interval_ms")]
    checks.that("its numbers are integers of at most 53 bits",
                all(map(is_count, counts)) and report["epoch"] > 0 and report["seq"] > 0, counts)
    checks.that("its time is the current time, in ms", abs(report["at"] - time.time() * 1000) < 60_000, report["at"])
    checks.equal("its interval is the network's poll_rate", report["interval_ms"], 1000)
    checks.that("its version is short and has no special characters",
                re.fullmatch(r"[A-Za-z0-9._+-]{1,32}", report["version"]), report["version"])
    config = base64.b64decode(report["config"], validate=True)
    checks.equal("config is the base64 of 8 bytes", len(config), 8)
    checks.that("isolated and leaving are booleans",
                type(report["isolated"]) is bool and report["leaving"] is False, report)
    others = {*NODES, PYTHON_NODE} - {node}
    checks.equal("it observes all other nodes", set(report["observations"]), others)
    for peer, found in report["observations"].items():
        right = found.get("status") in ("online", "offline", "unknown") and is_count(found.get("since"))
        right = right and ("error" in found or found["status"] != "offline")
        right = right and all(type(found[name]) is int for name in {"rtt_us", "clock_offset_ms"} & set(found))
        checks.that(f"its observation of {peer} is well formed", right, found)


def check_chain(checks, network, member):
    """Checks two consecutive reports of each node."""
    for node in NODES:
        received = {}

        def poll():
            for envelope in member.exchange(node).message["reports"]:
                report = statement(envelope)
                if report["node_id"] == node:
                    Envelope.from_dict(copy.deepcopy(envelope)).verify([sslib_key(network, node)], 1)
                    received[report["epoch"], report["seq"]] = payload(envelope)
            pairs = [(epoch, seq) for epoch, seq in received if (epoch, seq + 1) in received]
            return pairs[0] if pairs else None

        epoch, seq = wait_for(f"two consecutive reports of {node}", poll)
        digest = base64.b64encode(hashlib.sha256(received[epoch, seq]).digest()).decode()
        checks.equal(f"prev of {node}'s next report is SHA-256 of the payload before",
                     json.loads(received[epoch, seq + 1])["prev"], digest)


def check_own(checks, network, member):
    key = member.key
    epoch = int(time.time() * 1000)
    report = {
        # Another order than that of the nodes, an unknown member, and an observation of an unknown node.
        "observations": {
            "node-1": {"status": "online", "since": epoch, "rtt_us": 812, "clock_offset_ms": -3},
            "node-2": {"status": "offline", "since": epoch, "error": "timeout", "head": [epoch - 1, 17]},
            "stranger": {"status": "unknown", "since": epoch},
        },
        "made-by": "Python — 蛇",
        "network_id": NETWORK_ID, "node_id": PYTHON_NODE, "epoch": epoch, "seq": 1, "prev": None, "at": epoch,
        "interval_ms": 1000, "version": "0.1-python+1", "config": "AAAAAAAAAAA=", "isolated": False,
        "leaving": False,
    }
    signed = json.dumps(report, indent=2, ensure_ascii=False).encode()
    envelope = Envelope(signed, PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(key, sslib_key(network, PYTHON_NODE)))
    # Another order and other white space than those of the nodes, which must relay the text unchanged.
    text = json.dumps(dict(reversed(envelope.to_dict().items())), indent=1)

    reply = send(member.request("node-1", reports=[forge(envelope)]))
    verify(reply, "node-1", public_pem(network.keys["node-1"]))
    checks.equal("an exchange with a forged report is answered with 400", reply.status_code, 400)

    short = base64.b64encode(hashlib.sha256(signed).digest()[:8]).decode()
    heads = {PYTHON_NODE: [epoch, 1, short, 0]}
    reply = member.exchange("node-1", reports=[text], heads=heads)
    checks.equal("node-1 accepts a report signed by securesystemslib and lists its head",
                 reply.message["heads"].get(PYTHON_NODE, [None] * 3)[:3], [epoch, 1, short])

    def poll():
        reply = member.exchange("node-2")
        return reply if PYTHON_NODE in reply.message["heads"] else None

    reply = wait_for("node-2 returning the report that node-1 received", poll)
    checks.that("node-2 returns it byte for byte", text.encode() in reply.body, reply.body)
    (back,) = [e for e in reply.message["reports"] if e["signatures"][0]["keyid"] == PYTHON_NODE]
    Envelope.from_dict(copy.deepcopy(back)).verify([sslib_key(network, PYTHON_NODE)], 1)
    checks.equal("its payload is the one that was signed", payload(back), signed)
    checks.equal("node-2's head of it is that computed by Python", reply.message["heads"][PYTHON_NODE][:3],
                 [epoch, 1, short])

    def online():
        for envelope in member.exchange("node-2").message["reports"]:
            report = statement(envelope)
            if report["node_id"] == "node-2" and report["observations"][PYTHON_NODE]["status"] == "online":
                return True
        return None

    wait_for("node-2 reporting the member without url online", online)
    checks.that("a member without url is reported online", True)


def forge(envelope):
    """Returns the envelope as JSON with another well-formed payload."""
    forged = envelope.to_dict()
    changed = envelope.payload.replace(b'"rtt_us": 812', b'"rtt_us": 813')
    assert changed != envelope.payload
    forged["payload"] = base64.b64encode(changed).decode()
    return json.dumps(forged)
