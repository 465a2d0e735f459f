# SPDX-License-Identifier: Apache-2.0
"""Values as kube-apiserver stores them, around seeds that a plugin wrapped."""

import hashlib
import hmac
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import kms_wire as wire

SEED_TYPE, KEY_TYPE = 1, 0


class Source:
    """A DEK source, and what the plugin made of it: one for each start of a kube-apiserver."""

    def __init__(self, client, kind=SEED_TYPE):
        self.secret = os.urandom(32)
        self.kind = kind
        self.sealed = client.encrypt(self.secret)

    @property
    def key_id(self):
        return self.sealed.key_id


def value(source, etcd_key, plain, provider=b"hsm", key_id=None):
    """@plain under @etcd_key; @key_id puts another label on it."""
    info = os.urandom(32) if source.kind == SEED_TYPE else b""
    dek = source.secret
    if info:
        dek = hmac.new(source.secret, info + b"\x01", hashlib.sha256).digest()
    nonce = os.urandom(12)
    data = info + nonce + AESGCM(dek).encrypt(nonce, plain, etcd_key)
    label = source.key_id if key_id is None else key_id
    if isinstance(label, str):
        label = label.encode()
    message = (wire.field(1, data) + wire.field(2, label)
               + wire.field(3, source.sealed.ciphertext))
    if source.kind == SEED_TYPE:
        message += wire.field(5, SEED_TYPE)
    return b"k8s:enc:kms:v2:" + provider + b":" + message
