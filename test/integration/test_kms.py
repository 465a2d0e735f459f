# SPDX-License-Identifier: Apache-2.0
"""KMS v2 as kube-apiserver speaks it, and the two services beside it."""

import concurrent.futures
import os
import unittest

import grpc

import kms_wire as wire
from kms_case import Case, SharedCase
from kms_client import HTTP2_PREFACE, is_served, plaintext, raw_peer, sealed
from kms_node import wait_for

SERVING = 1


class KeyManagementService(SharedCase):
    def test_status_is_v2_ok_with_the_key_id_of_generation_1(self):
        status = self.kms.status()
        self.assertEqual((status.version, status.healthz), ("v2", "ok"))
        self.assertRegex(status.key_id, r"^prod\.v1\.[0-9a-f]{32}$")

    def test_decrypt_gives_back_what_encrypt_took(self):
        seed = os.urandom(32)
        self.assertEqual(self.kms.unseal(self.kms.encrypt(seed)), seed)

    def test_encrypt_names_the_key_id_of_status(self):
        self.assertEqual(self.kms.encrypt(os.urandom(32)).key_id, self.kms.status().key_id)

    def test_ciphertext_is_pure_rfc_3394_without_annotations(self):
        answer = self.kms.encrypt(os.urandom(32))
        self.assertEqual((len(answer.ciphertext), answer.annotations), (40, []))

    def test_every_multiple_of_8_from_16_to_256_bytes_round_trips(self):
        for size in range(16, 257, 8):
            seed = os.urandom(size)
            answer = self.kms.encrypt(seed)
            self.assertEqual(len(answer.ciphertext), size + 8)
            self.assertEqual(self.kms.unseal(answer), seed, size)

    def test_a_uid_of_1024_bytes_and_one_beyond_ascii_are_accepted(self):
        for uid in (b"u" * 1024, "größe-鍵-🔑".encode()):
            seed = os.urandom(32)
            self.assertEqual(self.kms.unseal(self.kms.encrypt(seed, uid), uid), seed)

    def test_unknown_fields_are_skipped(self):
        seed = os.urandom(32)
        extra = wire.field(15, b"from a later version") + wire.field(16, 7)
        answer = sealed(self.kms.call(wire.ENCRYPT, extra + wire.encrypt_request(seed) + extra))
        request = wire.decrypt_request(answer.ciphertext, answer.key_id.encode()) + extra
        self.assertEqual(plaintext(self.kms.call(wire.DECRYPT, request)), seed)

    def test_the_last_of_two_equal_scalars_counts(self):
        seed = os.urandom(32)
        twice = wire.encrypt_request(os.urandom(32), b"first") + wire.encrypt_request(seed)
        answer = sealed(self.kms.call(wire.ENCRYPT, twice))
        self.assertEqual(self.kms.unseal(answer), seed)

    def test_fields_may_come_in_any_order(self):
        seed = os.urandom(32)
        answer = self.kms.encrypt(seed)
        request = (wire.field(3, answer.key_id.encode()) + wire.field(2, b"test") +
                   wire.field(1, answer.ciphertext))
        self.assertEqual(plaintext(self.kms.call(wire.DECRYPT, request)), seed)

    def test_parallel_calls_on_one_connection_get_their_own_answers(self):
        seeds = [os.urandom(32) for _ in range(200)]
        calls = [self.kms.start(wire.ENCRYPT, wire.encrypt_request(seed)) for seed in seeds]
        answers = [sealed(call.result()) for call in calls]
        calls = [self.kms.start(wire.DECRYPT, wire.decrypt_request(a.ciphertext, a.key_id.encode()))
                 for a in answers]
        self.assertEqual([plaintext(call.result()) for call in calls], seeds)


class CallsThatEndEarly(SharedCase):
    def test_a_call_without_a_deadline_is_answered(self):
        seed = os.urandom(32)
        answer = self.kms.call(wire.ENCRYPT, wire.encrypt_request(seed), timeout=None)
        self.assertEqual(self.kms.unseal(sealed(answer)), seed)

    def test_cancelled_calls_leave_the_service_working(self):
        calls = [self.kms.start(wire.ENCRYPT, wire.encrypt_request(os.urandom(32)))
                 for _ in range(300)]
        for call in calls:
            call.cancel()
        seed = os.urandom(32)
        self.assertEqual(self.kms.unseal(self.kms.encrypt(seed)), seed)
        self.assertEqual(self.kms.status().healthz, "ok")

    def test_a_deadline_that_can_not_be_met_ends_in_time_and_harms_nobody(self):
        other = self.node.client()
        calls = [self.kms.start(wire.ENCRYPT, wire.encrypt_request(os.urandom(32)), timeout=0.001)
                 for _ in range(100)]
        codes = {call.code() for call in calls}
        self.assertLessEqual(codes, {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK})
        self.assertEqual(other.status().healthz, "ok")

    def test_a_vanished_client_leaves_the_service_working(self):
        gone = self.node.client()
        for _ in range(100):
            gone.start(wire.ENCRYPT, wire.encrypt_request(os.urandom(32)))
        gone.close()
        self.assertEqual(self.kms.status().healthz, "ok")


class BadPeers(SharedCase):
    def assert_unharmed(self):
        seed = os.urandom(32)
        self.assertEqual(self.kms.unseal(self.kms.encrypt(seed)), seed)

    def talk(self, data):
        with raw_peer(self.node.socket) as peer:
            try:
                peer.sendall(data)
                while peer.recv(4096):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass

    def test_a_peer_that_speaks_http_1_is_dropped(self):
        self.talk(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assert_unharmed()

    def test_a_peer_that_sends_garbage_is_dropped(self):
        self.talk(os.urandom(4096))
        self.assert_unharmed()

    def test_a_peer_that_breaks_off_inside_the_preface_is_forgotten(self):
        with raw_peer(self.node.socket) as peer:
            peer.sendall(HTTP2_PREFACE[:10])
        self.assert_unharmed()

    def test_silent_peers_disturb_nobody(self):
        with raw_peer(self.node.socket), raw_peer(self.node.socket):
            self.assert_unharmed()


class OtherMethods(SharedCase):
    def test_an_unknown_method_is_unimplemented(self):
        for path in ("/v2.KeyManagementService/Rotate", "/v1beta1.KeyManagementService/Encrypt",
                     "/v2.KeyManagementService/", "/x"):
            with self.subTest(path), self.refused(grpc.StatusCode.UNIMPLEMENTED):
                self.kms.call(path, b"anything")

    def test_health_check_says_serving(self):
        self.assertEqual(self.kms.health(), SERVING)
        self.assertEqual(self.kms.health(b"v2.KeyManagementService"), SERVING)

    def test_health_check_of_an_unknown_service_is_not_found(self):
        with self.refused(grpc.StatusCode.NOT_FOUND):
            self.kms.health(b"v1.Nothing")

    def test_describe_tells_the_node_the_token_and_the_keks(self):
        tells = self.kms.describe()
        self.assertEqual(tells.node, os.uname().nodename)
        self.assertEqual((tells.ring, tells.promoted, tells.tokens), ("prod", 1, ["prod"]))
        self.assertEqual(tells.key_id, self.kms.status().key_id)
        self.assertTrue(tells.healthy, tells.health_text)
        self.assertEqual([(kek.generation, kek.state) for kek in tells.keks], [(1, "active")])
        self.assertRegex(tells.keks[0].label, r"^prod\.v1@\d{8}T\d{6}Z$")
        self.assertTrue(tells.key_id.endswith(tells.keks[0].fingerprint[:32]))


class SeveralConnections(Case):
    def test_a_server_of_one_session_answers_many_connections(self):
        node = self.new_node().make_token()
        node.config["tokens"][0]["sessions"] = 1
        node.configure()
        node.key_create()
        node.up()
        clients = [node.client() for _ in range(20)]
        seeds = [os.urandom(32) for _ in clients]
        with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
            answers = list(pool.map(lambda c, s: c.unseal(c.encrypt(s)), clients, seeds))
        self.assertEqual(answers, seeds)

    def test_closed_connections_free_their_places(self):
        node = self.ready_node()
        for _ in range(100):  # more than one uid may hold at a time
            client = node.client()
            wait_for("a place", lambda c=client: c.status().healthz == "ok")
            client.close()
        with raw_peer(node.socket) as peer:
            self.assertTrue(is_served(peer))


if __name__ == "__main__":
    unittest.main()
