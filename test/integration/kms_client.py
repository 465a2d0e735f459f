# SPDX-License-Identifier: Apache-2.0
"""What kube-apiserver is to the plugin, and raw peers that behave worse."""

import collections
import socket

import grpc

import kms_wire as wire

Status = collections.namedtuple("Status", "version healthz key_id")
Sealed = collections.namedtuple("Sealed", "ciphertext key_id annotations")
Kek = collections.namedtuple("Kek", "label key_id generation state reason fingerprint")
Description = collections.namedtuple(
    "Description", "node now version ring promoted key_id keks tokens healthy health_text")

# Every call of a test is answered long before this; a sanitizer build is slow, not stuck.
CALL_TIMEOUT_S = 30
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


class Client:
    """One HTTP/2 connection of its own, as each provider instance of kube-apiserver has."""

    def __init__(self, socket_path):
        self.channel = grpc.insecure_channel("unix:" + socket_path, options=[
            ("grpc.default_authority", "localhost"),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            # how long one attempt to connect may take: a busy machine must not fail a test
            ("grpc.min_reconnect_backoff_ms", 1000 * CALL_TIMEOUT_S),
            ("grpc.max_reconnect_backoff_ms", 200),
        ])

    def close(self):
        self.channel.close()

    def method(self, path):
        return self.channel.unary_unary(path)  # no serializers: bytes in, bytes out

    def call(self, path, request=b"", timeout=CALL_TIMEOUT_S):
        return self.method(path)(request, timeout=timeout)

    def start(self, path, request=b"", timeout=CALL_TIMEOUT_S):
        """A call in flight: .result(), .cancel(), .code()."""
        return self.method(path).future(request, timeout=timeout)

    def status(self, timeout=CALL_TIMEOUT_S):
        fields = wire.parse(self.call(wire.STATUS, timeout=timeout))
        return Status(*(wire.one(fields, n).decode() for n in (1, 2, 3)))

    def status_error(self):
        """(code, text) of a failing Status; (None, "") of a good one."""
        try:
            self.status()
        except grpc.RpcError as error:
            return error.code(), error.details()
        return None, ""

    def encrypt(self, seed, uid=b"test"):
        return sealed(self.call(wire.ENCRYPT, wire.encrypt_request(seed, uid)))

    def decrypt(self, ciphertext, key_id, uid=b"test", annotations=()):
        return plaintext(self.call(
            wire.DECRYPT, wire.decrypt_request(ciphertext, as_bytes(key_id), uid, annotations)))

    def unseal(self, answer, uid=b"test"):
        return self.decrypt(answer.ciphertext, answer.key_id, uid, entries(answer))

    def health(self, service=b""):
        request = wire.field(1, service) if service else b""
        return wire.one(wire.parse(self.call(wire.HEALTH, request)), 1, 0)

    def describe(self):
        fields = wire.parse(self.call(wire.DESCRIBE))
        health = wire.parse(wire.one(fields, 9))
        return Description(
            node=wire.one(fields, 1).decode(), now=wire.one(fields, 2, 0),
            version=wire.one(fields, 3).decode(), ring=wire.one(fields, 4).decode(),
            promoted=wire.one(fields, 5, 0), key_id=wire.one(fields, 6).decode(),
            keks=[described_kek(kek) for kek in fields.get(7, [])],
            tokens=[wire.one(wire.parse(token), 1).decode() for token in fields.get(8, [])],
            healthy=bool(wire.one(health, 1, 0)), health_text=wire.one(health, 3).decode())


def entries(answer):
    """The annotations of an Encrypt: [(key, value)]."""
    return [(wire.one(entry, 1), wire.one(entry, 2))
            for entry in map(wire.parse, answer.annotations)]


def as_bytes(text):
    return text.encode() if isinstance(text, str) else text


def sealed(answer):
    fields = wire.parse(answer)
    return Sealed(wire.one(fields, 1), wire.one(fields, 2).decode(), fields.get(3, []))


def plaintext(answer):
    return wire.one(wire.parse(answer), 1)


def described_kek(message):
    fields = wire.parse(message)
    return Kek(wire.one(fields, 1).decode(), wire.one(fields, 2).decode(), wire.one(fields, 3, 0),
               wire.one(fields, 5).decode(), wire.one(fields, 6).decode(),
               wire.one(fields, 7).hex())


def raw_peer(socket_path):
    """A connected socket that has said nothing yet."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(CALL_TIMEOUT_S)
    try:
        peer.connect(socket_path)
    except OSError:
        peer.close()
        raise
    return peer


def is_served(peer):
    """Whether the server took this peer: it sends its HTTP/2 SETTINGS, or closes."""
    try:
        return peer.recv(64) != b""
    except ConnectionResetError:
        return False
