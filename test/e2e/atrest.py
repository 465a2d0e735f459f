# SPDX-License-Identifier: Apache-2.0
"""What kube-apiserver stores, taken apart without any code of Kubernetes or of hsm-kms."""

import collections
import hashlib
import hmac
import subprocess

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

PREFIX = b"k8s:enc:kms:v2:"
SEED_TYPE = 1  # HKDF_SHA256_XNONCE_AES_GCM_SEED
INFO_LEN, NONCE_LEN = 32, 12
RFC3394_IV = "A6A6A6A6A6A6A6A6"

FINGERPRINT_DOMAIN = b"hsm-kms kek fingerprint v1"
FINGERPRINT_SEED_TEXT = b"k8s-kms-pkcs11 kek fingerprint v1"

Stored = collections.namedtuple("Stored", "provider data key_id wrapped annotations seed_type")


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """(number, value) pairs of a protobuf message of varints and byte strings."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        value, at = varint(data, at)
        if tag & 7 == 2:
            value, at = data[at:at + value], at + value
        elif tag & 7 != 0:
            raise ValueError(f"wire type {tag & 7}")
        yield tag >> 3, value


def parse(value):
    if not value.startswith(PREFIX):
        raise ValueError(f"not encrypted: {value[:24]!r}")
    provider, _, message = value[len(PREFIX):].partition(b":")
    got = list(fields(message))
    single = dict(got)
    return Stored(provider.decode(), single[1], single[2].decode(), single[3],
                  [entry for number, entry in got if number == 4], single.get(5, 0))


def openssl_unwrap(kek, wrapped):
    """The seed, by the openssl command: what an operator with an escrowed KEK would do."""
    return subprocess.run(
        ["openssl", "enc", "-d", "-id-aes256-wrap", "-K", kek.hex(), "-iv", RFC3394_IV],
        input=wrapped, capture_output=True, check=True).stdout


def decrypt(stored, seed, etcd_key):
    """The object that a seed opens; the etcd key is authenticated data."""
    info, rest = stored.data[:INFO_LEN], stored.data[INFO_LEN:]
    dek = hmac.new(seed, info + b"\x01", hashlib.sha256).digest()  # HKDF-Expand, one block
    return AESGCM(dek).decrypt(rest[:NONCE_LEN], rest[NONCE_LEN:], etcd_key.encode())


def fingerprint(kek):
    """SHA-256(domain ‖ RFC3394(KEK, C)), in hexadecimal."""
    constant = hashlib.sha256(FINGERPRINT_SEED_TEXT).digest()
    return hashlib.sha256(FINGERPRINT_DOMAIN + aes_key_wrap(kek, constant)).hexdigest()
