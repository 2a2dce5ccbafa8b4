"""Reports: envelopes that securesystemslib verifies, and one that Python makes and both nodes carry."""

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
    """The first report of an epoch is there only until the next: a node that starts is asked at once."""
    for _ in range(5):
        network.restart("node-1")
        found = [statement(envelope) for envelope in member.exchange("node-1").message["reports"]]
        first = [report for report in found if (report["node_id"], report["seq"]) == ("node-1", 1)]
        if first:
            break
    if checks.that("a node that was just started hands over its first report", first, found):
        checks.equal("the first report of an epoch has no prev", first[0]["prev"], None)


def check_envelopes(checks, network, member):
    def look():
        reports = member.exchange("node-1").message["reports"]
        return reports if {envelope["signatures"][0]["keyid"] for envelope in reports} == set(NODES) else None

    reports = wait_for("node-1 holding the reports of both nodes", look)
    for envelope in reports:
        node = envelope["signatures"][0]["keyid"]
        key = sslib_key(network, node)
        # from_dict changes what it is given.
        read = lambda: copy.deepcopy(envelope)
        checks.verified(f"the envelope of {node}'s report verifies",
                        lambda: Envelope.from_dict(read()).verify([key], 1))
        checks.equal("its form is DSSE's", (set(envelope), set(envelope["signatures"][0]), len(envelope["signatures"])),
                     ({"payload", "payloadType", "signatures"}, {"keyid", "sig"}, 1))
        checks.equal("its payload type is ours", envelope["payloadType"], PAYLOAD_TYPE)

        def refused(what, change, by=key):
            forged = read()
            change(forged)
            checks.refused(what, VerificationError, lambda: Envelope.from_dict(forged).verify([by], 1))

        refused("a flipped bit in its payload does not verify", lambda e: e.update(payload=flip(e["payload"])))
        refused("a flipped bit in its signature does not verify",
                lambda e: e["signatures"][0].update(sig=flip(e["signatures"][0]["sig"])))
        refused("another payload type does not verify", lambda e: e.update(payloadType=PAYLOAD_TYPE + "x"))
        stranger = SSlibKey.from_crypto(Ed25519PrivateKey.generate().public_key(), keyid=node)
        refused("a stranger's key does not verify it", lambda e: None, by=stranger)
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
    checks.that("its numbers are integers that every JSON reader keeps",
                all(map(is_count, counts)) and report["epoch"] > 0 and report["seq"] > 0, counts)
    checks.that("its time is about now, in ms", abs(report["at"] - time.time() * 1000) < 60_000, report["at"])
    checks.equal("its interval is the network's poll_rate", report["interval_ms"], 1000)
    checks.that("its version is short and plain", re.fullmatch(r"[A-Za-z0-9._+-]{1,32}", report["version"]),
                report["version"])
    config = base64.b64decode(report["config"], validate=True)
    checks.equal("config is the base64 of 8 bytes", len(config), 8)
    checks.that("isolated and leaving are truth values",
                type(report["isolated"]) is bool and report["leaving"] is False, report)
    others = {*NODES, PYTHON_NODE} - {node}
    checks.equal("it observes everyone else", set(report["observations"]), others)
    for peer, found in report["observations"].items():
        right = found.get("status") in ("online", "offline", "unknown") and is_count(found.get("since"))
        right = right and ("error" in found or found["status"] != "offline")
        right = right and all(type(found[name]) is int for name in {"rtt_us", "clock_offset_ms"} & set(found))
        checks.that(f"what it says of {peer} is well formed", right, found)


def check_chain(checks, network, member):
    """Two reports in a row of each node."""
    for node in NODES:
        held = {}

        def look():
            for envelope in member.exchange(node).message["reports"]:
                report = statement(envelope)
                if report["node_id"] == node:
                    Envelope.from_dict(copy.deepcopy(envelope)).verify([sslib_key(network, node)], 1)
                    held[report["epoch"], report["seq"]] = payload(envelope)
            pairs = [(epoch, seq) for epoch, seq in held if (epoch, seq + 1) in held]
            return pairs[0] if pairs else None

        epoch, seq = wait_for(f"two reports in a row of {node}", look)
        digest = base64.b64encode(hashlib.sha256(held[epoch, seq]).digest()).decode()
        checks.equal(f"prev of {node}'s next report is SHA-256 of the payload before",
                     json.loads(held[epoch, seq + 1])["prev"], digest)


def check_own(checks, network, member):
    key = member.key
    epoch = int(time.time() * 1000)
    report = {
        # Another order than the nodes', a member they do not know, and an observation of a stranger.
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
    # White space and an order of its own here, too: what travels is the text, not its meaning.
    text = json.dumps(dict(reversed(envelope.to_dict().items())), indent=1)

    reply = send(member.request("node-1", reports=[forge(envelope)]))
    verify(reply, "node-1", public_pem(network.keys["node-1"]))
    checks.equal("a report whose payload was changed ends the exchange with 400", reply.status_code, 400)

    short = base64.b64encode(hashlib.sha256(signed).digest()[:8]).decode()
    heads = {PYTHON_NODE: [epoch, 1, short, 0]}
    reply = member.exchange("node-1", reports=[text], heads=heads)
    checks.equal("node-1 takes a report that securesystemslib signed, and its head says so",
                 reply.message["heads"].get(PYTHON_NODE, [None] * 3)[:3], [epoch, 1, short])

    def look():
        reply = member.exchange("node-2")
        return reply if PYTHON_NODE in reply.message["heads"] else None

    reply = wait_for("node-2 holding the report that went to node-1", look)
    checks.that("it comes back from node-2, byte for byte", text.encode() in reply.body, reply.body)
    (back,) = [e for e in reply.message["reports"] if e["signatures"][0]["keyid"] == PYTHON_NODE]
    Envelope.from_dict(copy.deepcopy(back)).verify([sslib_key(network, PYTHON_NODE)], 1)
    checks.equal("and verifies there, with the payload that was signed", payload(back), signed)
    checks.equal("node-2's head of it is the one that Python computes", reply.message["heads"][PYTHON_NODE][:3],
                 [epoch, 1, short])

    def online():
        for envelope in member.exchange("node-2").message["reports"]:
            report = statement(envelope)
            if report["node_id"] == "node-2" and report["observations"][PYTHON_NODE]["status"] == "online":
                return True
        return None

    wait_for("node-2 reporting that the member without url is online", online)
    checks.that("a member that only calls out is reported online", True)


def forge(envelope):
    """The envelope with a payload that says something else, and is well formed."""
    forged = envelope.to_dict()
    changed = envelope.payload.replace(b'"rtt_us": 812', b'"rtt_us": 813')
    assert changed != envelope.payload
    forged["payload"] = base64.b64encode(changed).decode()
    return json.dumps(forged)
