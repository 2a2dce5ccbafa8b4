"""A network member in Python, which signs requests and verifies replies with http-message-signatures."""

import copy
import datetime
import itertools
import json
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, algorithms
from http_message_signatures.resolvers import MappingKeyResolver
from network import PYTHON_NODE, NETWORK_ID, public_pem, send

VERSION = 2
TAG = "distomon-v2"
REQUEST_COMPONENTS = ("@method", "@path", "content-digest", "distomon-to")
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

    def request(self, node, reports=(), heads=None, nonce=None, tag=TAG, components=REQUEST_COMPONENTS):
        """Returns a signed request of an exchange. `reports` are envelopes as JSON, which the body has unchanged."""
        text = '{"v":%d,"heads":%s,"reports":[%s]}' % (VERSION, json.dumps(heads or {}), ",".join(reports))
        message = SimpleNamespace(
            method="POST",
            url=f"{self.network.urls[node]}/mon/{NETWORK_ID}",
            headers={"Content-Type": "application/json", "Distomon-To": node},
            body=text.encode(),
        )
        keys = MappingKeyResolver(public_keys={}, private_keys={self.node_id: self.key})
        HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=keys).sign(
            message,
            key_id=self.node_id,
            label="sig1",
            tag=tag,
            nonce=nonce or f"{self.epoch}-{next(self.counter)}",
            created=datetime.datetime.now(datetime.timezone.utc),
            covered_component_ids=components,
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


def deliver(network, request, node):
    """Sends a signed request, perhaps one for another node, to `node` and returns the reply."""
    request = copy.copy(request)
    request.url = network.urls[node] + urlsplit(request.url).path
    return send(request)


def verify(reply, node, pem, body=None, tag=TAG):
    """Returns the parameters of the only signature of `reply`, which must be valid for `node` and the key `pem`."""
    keys = MappingKeyResolver(public_keys={node: pem}, private_keys={})
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=keys)
    (result,) = verifier.verify(
        reply,
        expect_tag=tag,
        body=reply.body if body is None else body,
        require_components=REPLY_COMPONENTS,
    )
    return result
