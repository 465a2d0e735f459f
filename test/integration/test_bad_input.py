# SPDX-License-Identifier: Apache-2.0
"""Wrong requests: each gets INVALID_ARGUMENT (or what the error table says) and a reason."""

import os
import unittest

import grpc

import kms_wire as wire
from kms_case import SharedCase

INVALID = grpc.StatusCode.INVALID_ARGUMENT
BAD_TEXTS = {
    "empty": b"",
    "NUL": b"a\0b",
    "only NUL": b"\0",
    "cut UTF-8": b"abc\xc3",
    "stray continuation": b"\x80",
    "overlong UTF-8": b"\xc0\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "newline": b"a\nb",
    "escape": b"\x1b[2J",
    "DEL": b"\x7f",
    "C1 control": "\u0085".encode(),
    "1025 bytes": b"u" * 1025,
}


class BadInput(SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seed = os.urandom(32)
        cls.good = cls.node.client().encrypt(cls.seed)

    def tearDown(self):
        self.assertEqual(self.kms.status().healthz, "ok")
        self.assertEqual(self.kms.unseal(self.good), self.seed)

    def decrypt(self, **changes):
        values = dict(ciphertext=self.good.ciphertext, key_id=self.good.key_id.encode(),
                      uid=b"test", annotations=())
        values.update(changes)
        return self.kms.call(wire.DECRYPT, wire.decrypt_request(**values))

    # --- Encrypt ---

    def test_encrypt_refuses_lengths_that_key_wrap_can_not_carry_and_says_which_it_can(self):
        for size in (0, 1, 8, 15, 17, 24 + 4, 31, 33, 255, 257, 264, 1024, 32768):
            with self.subTest(size), self.refused(INVALID, "16", "256", "8"):
                self.kms.encrypt(bytes(size))

    def test_encrypt_refuses_a_bad_uid(self):
        for name, uid in BAD_TEXTS.items():
            with self.subTest(name), self.refused(INVALID, "uid"):
                self.kms.encrypt(os.urandom(32), uid)

    def test_encrypt_refuses_a_missing_uid(self):
        with self.refused(INVALID, "uid"):
            self.kms.call(wire.ENCRYPT, wire.field(1, os.urandom(32)))

    def test_encrypt_refuses_an_empty_message(self):
        with self.refused(INVALID):
            self.kms.call(wire.ENCRYPT, b"")

    # --- Decrypt ---

    def test_decrypt_refuses_a_bad_uid(self):
        for name, uid in BAD_TEXTS.items():
            with self.subTest(name), self.refused(INVALID, "uid"):
                self.decrypt(uid=uid)

    def test_decrypt_refuses_a_bad_key_id(self):
        for name, key_id in BAD_TEXTS.items():
            with self.subTest(name), self.refused(INVALID, "key_id"):
                self.decrypt(key_id=key_id)

    def test_decrypt_refuses_key_ids_that_the_ring_never_gives_out(self):
        head, generation, fingerprint = self.good.key_id.split(".")
        for key_id in ("%s.%s" % (head, generation), "%s.1.%s" % (head, fingerprint),
                       "%s.v01.%s" % (head, fingerprint), "%s.v0.%s" % (head, fingerprint),
                       "%s.v-1.%s" % (head, fingerprint),
                       "%s.v1.%s" % (head, fingerprint[:-1]), "%s.v1.%s0" % (head, fingerprint),
                       "%s.v1.%sG" % (head, fingerprint[:-1]),
                       "%s.v1.%sA" % (head, fingerprint[:-1]),
                       "%s.v1.%s " % (head, fingerprint), " " + self.good.key_id,
                       "%s.v9999999999.%s" % (head, fingerprint), "kms"):
            with self.subTest(key_id), self.refused(INVALID, "key_id"):
                self.decrypt(key_id=key_id.encode())

    def test_decrypt_refuses_another_rings_key_id(self):
        for ring in ("other", "pro", "prod2", "PROD"):
            key_id = self.good.key_id.replace("prod", ring, 1)
            with self.subTest(ring), self.refused(INVALID, "ring"):
                self.decrypt(key_id=key_id.encode())

    def test_decrypt_says_not_found_for_an_unknown_key_id_of_this_ring(self):
        fingerprint = self.good.key_id.split(".")[2]
        other = "0" * 32 if fingerprint != "0" * 32 else "1" * 32
        for key_id in ("prod.v7." + fingerprint, "prod.v1." + other, "prod.v999999999." + other):
            with self.subTest(key_id), self.refused(
                    grpc.StatusCode.NOT_FOUND, "generation", "do not delete"):
                self.decrypt(key_id=key_id.encode())

    def test_decrypt_refuses_an_unknown_annotation(self):
        with self.refused(INVALID, "annotation"):
            self.decrypt(annotations=[(b"mechanism.example.com", b"x")])

    def test_decrypt_refuses_duplicate_annotations(self):
        with self.refused(INVALID, "annotation"):
            self.decrypt(annotations=[(b"a.example.com", b"x"), (b"a.example.com", b"x")])

    def test_decrypt_refuses_an_empty_annotation(self):
        request = wire.decrypt_request(self.good.ciphertext, self.good.key_id.encode())
        with self.refused(INVALID, "annotation"):
            self.kms.call(wire.DECRYPT, request + wire.field(4, b""))

    def test_decrypt_refuses_ciphertexts_of_a_wrong_length(self):
        for size in (0, 1, 7, 8, 16, 23, 25, 39, 41, 265, 272, 1024, 60000):
            with self.subTest(size), self.refused(INVALID, "ciphertext"):
                self.decrypt(ciphertext=bytes(size))

    # --- messages that are no messages ---

    def test_garbage_instead_of_a_message_is_invalid(self):
        good = wire.encrypt_request(os.urandom(32))
        cases = {
            "cut off": good[:-1],
            "field number 0": wire.varint(0 << 3 | 2) + b"\0",
            "length beyond the end": wire.varint(1 << 3 | 2) + wire.varint(1 << 30),
            "endless varint": b"\xff" * 11,
            "group": wire.varint(1 << 3 | 3),
            "wire type 7": wire.varint(1 << 3 | 7),
            "uid as a number": wire.field(1, bytes(32)) + wire.field(2, 5),
            "random bytes": b"\xff\xfe" + bytes(range(200, 250)),
        }
        for path in (wire.ENCRYPT, wire.DECRYPT):
            for name, message in cases.items():
                with self.subTest(name + path), self.refused(INVALID):
                    self.kms.call(path, message)

    def test_a_truncated_decrypt_request_never_passes(self):
        good = wire.decrypt_request(self.good.ciphertext, self.good.key_id.encode())
        for size in range(len(good)):
            with self.subTest(size), self.refused(INVALID):
                self.kms.call(wire.DECRYPT, good[:size])

    def test_a_message_of_more_than_64_kib_is_refused_as_too_large(self):
        for path in (wire.STATUS, wire.ENCRYPT, wire.DECRYPT):
            for size in (65537, 1 << 20):
                with self.subTest(path=path, size=size), \
                        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
                    self.kms.call(path, wire.field(1, bytes(size)))


class Tampering(SharedCase):
    def assert_corrupt(self, ciphertext, key_id):
        with self.refused(grpc.StatusCode.DATA_LOSS):
            self.kms.decrypt(ciphertext, key_id)

    def test_each_of_the_320_bits_counts(self):
        good = self.kms.encrypt(os.urandom(32))
        for bit in range(320):
            bad = bytearray(good.ciphertext)
            bad[bit // 8] ^= 1 << bit % 8
            self.assert_corrupt(bytes(bad), good.key_id)
        self.assertEqual(self.kms.status().healthz, "ok")

    def test_other_lengths_of_noise_are_corrupt_too(self):
        key_id = self.kms.status().key_id
        for size in range(24, 265, 8):
            self.assert_corrupt(os.urandom(size), key_id)
        self.assertEqual(self.kms.status().healthz, "ok")

    def test_a_shortened_and_a_lengthened_ciphertext_are_corrupt(self):
        good = self.kms.encrypt(os.urandom(32))
        self.assert_corrupt(good.ciphertext[:32], good.key_id)
        self.assert_corrupt(good.ciphertext + bytes(8), good.key_id)

    def test_health_stays_good_under_a_stream_of_corrupt_ciphertexts(self):
        key_id = self.kms.status().key_id
        request = wire.decrypt_request(os.urandom(40), key_id.encode())
        calls = [self.kms.start(wire.DECRYPT, request) for _ in range(200)]
        for _ in range(20):
            self.assertEqual(self.kms.status().healthz, "ok")
        self.assertEqual({call.code() for call in calls}, {grpc.StatusCode.DATA_LOSS})
        self.assertEqual(self.kms.status().healthz, "ok")


if __name__ == "__main__":
    unittest.main()
