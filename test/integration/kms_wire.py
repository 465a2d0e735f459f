# SPDX-License-Identifier: Apache-2.0
"""Protobuf by hand, so that malformed messages can be made as easily as good ones."""

STATUS = "/v2.KeyManagementService/Status"
ENCRYPT = "/v2.KeyManagementService/Encrypt"
DECRYPT = "/v2.KeyManagementService/Decrypt"
HEALTH = "/grpc.health.v1.Health/Check"
DESCRIBE = "/hsmkms.node.v1.Node/Describe"

VARINT, BYTES = 0, 2


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, value):
    """One length-delimited field, present even when empty; an int makes a varint field."""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    return varint(number << 3 | BYTES) + varint(len(value)) + value


def annotation(key, value):
    return field(1, key) + field(2, value)


def encrypt_request(plaintext, uid=b"test"):
    return field(1, plaintext) + field(2, uid)


def decrypt_request(ciphertext, key_id, uid=b"test", annotations=()):
    message = field(1, ciphertext) + field(2, uid) + field(3, key_id)
    for key, value in annotations:
        message += field(4, annotation(key, value))
    return message


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def parse(data):
    """{field number: [values in order]}; raises on anything that isn't whole."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if tag & 7 == BYTES:
            size = value
            value = bytes(data[at:at + size])
            if len(value) != size:
                raise ValueError("cut off in field %d" % (tag >> 3))
            at += size
        elif tag & 7 != VARINT:
            raise ValueError("wire type %d" % (tag & 7))
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def one(fields, number, default=b""):
    return fields.get(number, [default])[-1]
