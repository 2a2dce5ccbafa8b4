"""A network member in Python, which signs requests and verifies replies with http-message-signatures."""

import datetime
import itertools
import json
import time
from types import SimpleNamespace

from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, algorithms
from http_message_signatures.resolvers import MappingKeyResolver
from network import PYTHON_NODE, NETWORK_ID, public_pem, send

REQUEST_COMPONENTS = ("@method", "@path", "content-digest")
REPLY_COMPONENTS = (
    '"@status"',
    '"content-digest"',
    '"@method";req',
    '"@path";req',
    '"content-digest";req',
    '"signature-input";req;key="sig1"',
    '"signature";req;key="sig1"',
)


class Member:
    def __init__(self, network, node_id=PYTHON_NODE, key=None):
        self.network = network
        self.node_id = node_id
        self.key = key or network.keys[node_id]
        self.epoch = int(time.time() * 1000)
        self.counter = itertools.count(1)

    def request(self, node, reports=(), heads=None, to=None, nonce=None):
        """Returns a signed request of an exchange. `reports` are envelopes as JSON, which the body has unchanged."""
        text = '{"to":%s,"heads":%s,"reports":[%s]}' % (
            json.dumps(to or node), json.dumps(heads or {}), ",".join(reports))
        message = SimpleNamespace(
            method="POST",
            url=f"{self.network.urls[node]}/mon/{NETWORK_ID}",
            headers={"Content-Type": "application/json"},
            body=text.encode(),
        )
        keys = MappingKeyResolver(public_keys={}, private_keys={self.node_id: self.key})
        HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=keys).sign(
            message,
            key_id=self.node_id,
            label="sig1",
            tag="distomon",
            nonce=nonce or f"{self.epoch}-{next(self.counter)}",
            created=datetime.datetime.now(datetime.timezone.utc),
            covered_component_ids=REQUEST_COMPONENTS,
            include_alg=True,
            body=message.body,
        )
        return message

    def exchange(self, node, **fields):
        """Runs an exchange and verifies its reply. Returns the reply with its parsed body as `message`."""
        reply = send(self.request(node, **fields))
        verify(reply, node, public_pem(self.network.keys[node]))
        reply.message = json.loads(reply.body)
        if reply.status_code != 200:
            raise RuntimeError(f"{node} answered {reply.status_code}: {reply.body!r}")
        return reply


def verify(reply, node, pem, body=None):
    """Returns the parameters of the only signature of `reply`, which must be valid for `node` and the key `pem`."""
    keys = MappingKeyResolver(public_keys={node: pem}, private_keys={})
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=keys)
    (result,) = verifier.verify(
        reply,
        expect_tag="distomon",
        body=reply.body if body is None else body,
        require_components=REPLY_COMPONENTS,
    )
    return result
