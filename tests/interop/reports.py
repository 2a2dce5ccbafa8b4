"""Reports: envelopes verified by securesystemslib, and one that Python signs and both nodes relay."""

import base64
import copy
import hashlib
import json
import pathlib
import re
import time

import jwt
import tokens
from check import wait_for
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from member import VERSION, Member, verify
from network import PYTHON_NODE, NETWORK_ID, NODES, public_pem, send, spki
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.distomon.report.v2+json"
MEMBERS = {"v", "network_id", "node_id", "epoch", "seq", "prev", "at", "interval_ms", "version", "config", "isolated",
           "began", "up_ms", "boot", "held", "observations"}
# The maximum size of a report of an author that observes two nodes, in bytes.
MAX_PAYLOAD = 64 * 1024 + 2 * 512
MAX_INTEGER = 2**53 - 1


def check(checks, network):
    member = Member(network)
    check_first(checks, network, member)
    check_envelopes(checks, network, member)
    check_chain(checks, network, member)
    check_own(checks, network, member)
    check_held(checks, network, member)
    check_later_release(checks, network, member)
    check_size(checks, network, member)
    check_leaving(checks, network, member)


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
        report = first[0]
        checks.equal("the first report of an epoch has no prev", report["prev"], None)
        found = report["observations"][PYTHON_NODE]
        checks.equal("an observation that is not online names the report that was the first with it",
                     (found["status"], found.get("first")), ("unknown", [report["epoch"], 1]))
        epoch, seq, clean = report.get("prior", [1, 1, True])
        checks.that("prior, if the node knows it, names a report of the process before, which announced its stop",
                    0 < epoch < report["epoch"] and seq > 0 and clean is True, report.get("prior"))


def check_envelopes(checks, network, member):
    def poll():
        reports = member.exchange("node-1").message["reports"]
        # A first report may have no `held`: its author held no report yet.
        later = {report["node_id"] for report in map(statement, reports) if report["seq"] > 1}
        return reports if later == set(NODES) else None

    reports = wait_for("node-1 returning later reports of both nodes", poll)
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
    checks.equal("config is SHA-256 of the canonical JSON that Python makes of the configuration",
                 configs, {config_digest(network)})


def config_digest(network):
    """Returns the base64 of SHA-256 over canonical JSON (RFC 8785): these texts are ASCII and the numbers integers."""
    nodes = [{"node_id": node, "keys": [spki(network.keys[node])], "has_url": node in NODES, "poll_rate_ms": 1000,
              "retry": 2, "timeout_ms": 5000} for node in sorted((*NODES, PYTHON_NODE))]
    config = {"network_id": NETWORK_ID, "nodes": nodes}
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(hashlib.sha256(canonical.encode()).digest()).decode()


def flip(text):
    raw = bytearray(base64.b64decode(text))
    raw[len(raw) // 2] ^= 1
    return base64.b64encode(raw).decode()


def check_statement(checks, node, report):
    is_count = lambda value: type(value) is int and 0 <= value <= MAX_INTEGER
    checks.equal("its payload has exactly a report's members", set(report) - {"prior"}, MEMBERS)
    checks.equal("it has the protocol version", report["v"], VERSION)
    checks.equal("it names its network and author", (report["network_id"], report["node_id"]), (NETWORK_ID, node))
    counts = [report[name] for name in ("epoch", "seq", "at", "interval_ms")]
    checks.that("its numbers are integers of at most 53 bits",
                all(map(is_count, counts)) and report["epoch"] > 0 and report["seq"] > 0, counts)
    checks.that("its time is the current time, in ms", abs(report["at"] - time.time() * 1000) < 60_000, report["at"])
    checks.equal("its interval is the network's poll_rate", report["interval_ms"], 1000)
    checks.that("its version is short and has no special characters",
                re.fullmatch(r"[A-Za-z0-9._+-]{1,32}", report["version"]), report["version"])
    checks.that("isolated is a boolean", type(report["isolated"]) is bool, report["isolated"])
    began, up_ms, at = report["began"], report["up_ms"], report["at"]
    checks.that("at is up_ms after began", is_count(up_ms) and is_count(began) and abs(began + up_ms - at) < 1_000,
                (began, up_ms, at))
    boot_id = pathlib.Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    checks.equal("boot is a hash of this host's boot id", base64.b64decode(report["boot"], validate=True),
                 hashlib.sha256(boot_id).digest()[:8])
    held = base64.b64decode(report["held"], validate=True)
    checks.equal("held is the base64 of 32 bytes", len(held), 32)
    others = {*NODES, PYTHON_NODE} - {node}
    checks.equal("it observes all other nodes", set(report["observations"]), others)
    for peer, found in report["observations"].items():
        right = found.get("status") in ("online", "offline", "unknown") and is_count(found.get("since"))
        right = right and ("error" in found or found["status"] != "offline")
        right = right and all(type(found[name]) is int for name in {"rtt_us", "clock_offset_ms"} & set(found))
        if peer in NODES:
            attempts, failures, late = found["tries"]
            right = right and all(map(is_count, found["tries"])) and attempts >= failures + late and attempts > 0
        else:
            right = right and "tries" not in found
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
        before, after = (json.loads(received[epoch, number]) for number in (seq, seq + 1))
        checks.that("up_ms and at advance, began and boot do not",
                    before["up_ms"] < after["up_ms"] and before["at"] < after["at"]
                    and (before["began"], before["boot"]) == (after["began"], after["boot"]), (before, after))


def check_own(checks, network, member):
    epoch = member.epoch
    report = {
        # Another order than that of the nodes, an unknown member, and an observation of an unknown node.
        "observations": {
            "node-1": {"status": "online", "since": epoch, "rtt_us": 812, "clock_offset_ms": -3},
            "node-2": {"status": "offline", "since": epoch, "error": "timeout", "head": [epoch - 1, 17]},
            "stranger": {"status": "unknown", "since": epoch},
        },
        "made-by": "Python — 蛇",
        "v": VERSION, "network_id": NETWORK_ID, "node_id": PYTHON_NODE, "epoch": epoch, "seq": 1, "prev": None, "at": epoch,
        "interval_ms": 1000, "version": "0.1-python+1", "config": config_digest(network), "isolated": False,
    }
    signed = json.dumps(report, indent=2, ensure_ascii=False).encode()
    envelope = seal(network, signed)
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

    reply = relayed(member, epoch, 1)
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


def seal(network, signed):
    """Returns the envelope of a report of the Python member."""
    envelope = Envelope(signed, PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(network.keys[PYTHON_NODE], sslib_key(network, PYTHON_NODE)))
    return envelope


def relayed(member, epoch, seq):
    """Waits until node-2 has a report of the Python member, and returns its reply."""
    def poll():
        reply = member.exchange("node-2")
        return reply if reply.message["heads"].get(PYTHON_NODE, [])[:2] == [epoch, seq] else None

    return wait_for("node-2 returning the report that node-1 received", poll)


def check_held(checks, network, member):
    """Finds a report whose Merkle root is that of reports which node-1 returned.

    The reports that a node held when it signed another one are not in any message, but they are its previous report
    and one of each other node. So all combinations of received reports are tried.
    """
    received = {node: {} for node in (*NODES, PYTHON_NODE)}

    def poll():
        for envelope in member.exchange("node-1").message["reports"]:
            report = statement(envelope)
            received[report["node_id"]][report["epoch"], report["seq"]] = payload(envelope)
        for (epoch, seq), signed in list(received["node-1"].items()):
            if (epoch, seq - 1) not in received["node-1"]:
                continue
            root = base64.b64decode(json.loads(signed)["held"])
            for other in received["node-2"]:
                for own in received[PYTHON_NODE]:
                    ids = {"node-1": (epoch, seq - 1), "node-2": other, PYTHON_NODE: own}
                    leaves = [leaf(node, *ids[node], received[node][ids[node]]) for node in sorted(ids)]
                    if merkle_root(leaves) == root:
                        return leaves, root
        return None

    leaves, root = wait_for("a report of node-1 whose Merkle root matches received reports", poll)
    checks.equal("held is the Merkle root of RFC 6962 over the reports that node-1 held", merkle_root(leaves), root)
    for number, whole in enumerate(leaves):
        changed = [*leaves[:number], whole.replace(b",", b", ", 1), *leaves[number + 1:]]
        checks.that(f"it is another root if leaf {number + 1} of 3 changes", merkle_root(changed) != root)
    checks.that("it is another root in another order", merkle_root(leaves[::-1]) != root)
    checks.that("it is another root without the last leaf", merkle_root(leaves[:-1]) != root)


def leaf(node, epoch, seq, signed):
    digest = base64.b64encode(hashlib.sha256(signed).digest()).decode()
    return json.dumps([node, epoch, seq, digest], separators=(",", ":")).encode()


def merkle_root(leaves):
    """The definition of RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])).digest()


def own_report(epoch, seq, config, **members):
    """Returns another report of the Python member."""
    return {
        "v": VERSION, "network_id": NETWORK_ID, "node_id": PYTHON_NODE, "epoch": epoch, "seq": seq, "prev": None,
        "at": epoch, "interval_ms": 1000, "version": "0.1-python+1", "config": config,
        "isolated": False, "observations": {"node-1": {"status": "online", "since": epoch}}, **members}


def view(network, node):
    """Returns the view of `node`, with a token that Python signed."""
    token = jwt.encode(tokens.claims(iss=node), network.keys[node], algorithm="EdDSA",
                       headers={"kid": f"{NETWORK_ID}/{node}"})
    return json.loads(tokens.view(network, token, node).body)


def check_later_release(checks, network, member):
    """Sends a report with members, words and types that this release does not know."""
    epoch = member.epoch
    report = own_report(
        epoch, 2, config_digest(network),
        up_ms="long", began=-1, boot=[1, 2], held={"root": None}, prior="crashed", leaving=7, overloaded="a bit",
        policy=17, can_send={"to": "all"}, incidents="x" * 3000, checks=[{"a": 1.5e300}], log=False, weather={"rain": []},
        observations={
            "node-1": {"status": "dozing", "since": epoch, "rtt_us": "fast", "error": ["new"], "tries": [1, 2, 3, 4],
                       "first": {}, "mood": [{"a": [None]}]},
            "node-2": [{"status": "online", "since": epoch}],
            "node-3": True,
        })
    signed = json.dumps(report, ensure_ascii=False).encode()
    text = json.dumps(seal(network, signed).to_dict(), indent=3)
    reply = member.exchange("node-1", reports=[text])
    checks.equal("node-1 accepts a report with unknown members, words and types",
                 reply.message["heads"][PYTHON_NODE][:2], [epoch, 2])
    reply = relayed(member, epoch, 2)
    checks.that("node-2 returns it byte for byte", text.encode() in reply.body, reply.body)
    for node in NODES:
        def poll():
            found = view(network, node)["data"][PYTHON_NODE]
            return found if found["seq"] == 2 else None

        found = wait_for(f"{node} evaluating it", poll)
        checks.equal(f"{node} reads the status dozing as unknown and skips only the observation of another type",
                     {peer: read["status"] for peer, read in found["ping_data"].items()}, {"node-1": "unknown"})
        checks.equal(f"{node} does not read an unknown value of leaving as an announcement", found["leaving"], False)


def check_size(checks, network, member):
    """Sends reports of the maximum size for an author that observes two nodes, and of one byte more."""
    epoch = member.epoch

    def exchange(seq, size):
        report = own_report(epoch, seq, config_digest(network), padding="")
        report["padding"] = "x" * (size - len(json.dumps(report)))
        signed = json.dumps(report).encode()
        assert len(signed) == size
        reply = member.exchange("node-1", reports=[json.dumps(seal(network, signed).to_dict())])
        return reply.message["heads"][PYTHON_NODE][:2]

    rejected = lambda: view(network, "node-1")["counters"]["reports_refused"]
    before = rejected()
    checks.equal("node-1 does not store a report that is one byte larger than its author's observations allow",
                 exchange(3, MAX_PAYLOAD + 1), [epoch, 2])
    # A view is as old as the newest change that it shows.
    wait_for("node-1 counting the rejected report", lambda: rejected() > before or None)
    checks.equal("it counts one rejected report", rejected(), before + 1)
    checks.equal("node-1 accepts a report of the maximum size", exchange(4, MAX_PAYLOAD), [epoch, 4])


def check_leaving(checks, network, member):
    """Stops node-2 in the regular way, which announces that to node-1."""
    network.processes["node-2"].stop()

    def poll():
        for envelope in member.exchange("node-1").message["reports"]:
            report = statement(envelope)
            if report["node_id"] == "node-2" and "leaving" in report:
                return report["leaving"]
        return None

    leaving = wait_for("node-1 returning the last report of node-2", poll)
    checks.that("leaving is an object that names the kind of the stop",
                leaving.get("kind") in ("restart", "stop", "shutdown"), leaving)


def forge(envelope):
    """Returns the envelope as JSON with another well-formed payload."""
    forged = envelope.to_dict()
    changed = envelope.payload.replace(b'"rtt_us": 812', b'"rtt_us": 813')
    assert changed != envelope.payload
    forged["payload"] = base64.b64encode(changed).decode()
    return json.dumps(forged)
