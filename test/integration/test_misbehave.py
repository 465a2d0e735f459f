# SPDX-License-Identifier: Apache-2.0
"""The plugin on a PKCS#11 module that misbehaves on demand (test/fake/README.md)."""

import contextlib
import os
import unittest

import grpc

import kms_wire as wire
from kms_case import Case
from kms_misbehave import Misbehaviour
from kms_node import wait_for

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED
# Nothing touches the token but what a test asks for.
QUIET = {"refresh": "5m", "canary": "5m"}


class MisbehaveCase(Case):
    def serve(self, *lines, isolation="process", **config):
        """A node with one KEK, on a module that was told @lines."""
        self.node = self.new_node(**config).make_token()
        self.node.config["tokens"][0]["isolation"] = isolation
        self.module = Misbehaviour(self.node)
        self.node.key_create()
        self.module.tell(*lines)
        self.node.up()
        self.kms = self.node.client()
        wait_for("the client's connection", lambda: self.kms.status_error()[0] is None)

    def assert_round_trip(self):
        seed = os.urandom(32)
        self.assertEqual(self.kms.unseal(self.kms.encrypt(seed)), seed)

    def start_decrypt(self, sealed, timeout):
        request = wire.decrypt_request(sealed.ciphertext, sealed.key_id.encode())
        return self.kms.start(wire.DECRYPT, request, timeout)


class Harmless(MisbehaveCase):
    def test_a_module_in_between_changes_nothing(self):
        self.serve()
        wraps = self.module.calls("C_WrapKey")
        self.assert_round_trip()
        self.assertGreater(self.module.calls("C_WrapKey"), wraps)
        self.assertEqual(self.node.stop(), 0)
        self.assertEqual(self.module.log(), "")  # nothing was injected

    def test_all_sessions_are_closed_at_the_end(self):
        self.serve()
        self.assert_round_trip()
        self.assertEqual(self.node.stop(), 0)
        opened, closed = map(self.module.counter, ("C_OpenSession", "C_CloseSession"))
        self.assertEqual(opened.calls - opened.failed, closed.calls - closed.failed)

    def test_a_slow_network_is_served_at_its_pace(self):
        self.serve("personality network", "latency 5", canary="1s")
        self.assert_round_trip()
        self.module.wait_more("C_WrapKey", 3)  # canaries
        self.assertEqual(self.kms.status().healthz, "ok")


class Failing(MisbehaveCase):
    def test_an_encrypt_that_meets_a_device_error_is_unavailable_and_health_recovers(self):
        self.serve(**QUIET)
        for nth in (1, 2):  # the proof of the fingerprint, the seed itself
            with self.subTest(nth=nth):
                self.module.tell("C_WrapKey fail DEVICE_ERROR nth %d tag t%d" % (nth, nth))
                with self.refused(UNAVAILABLE, "C_WrapKey", "CKR_DEVICE_ERROR"):
                    self.kms.encrypt(os.urandom(32))
                self.node.wait_status()
                self.assert_round_trip()
        self.assertEqual(self.module.injected("C_WrapKey"), 2)

    def test_a_decrypt_that_meets_a_device_error_leaves_health_alone(self):
        self.serve(**QUIET)
        seed = os.urandom(32)
        sealed = self.kms.encrypt(seed)
        for rv in ("DEVICE_ERROR", "FUNCTION_FAILED"):
            with self.subTest(rv=rv):
                self.module.tell("C_UnwrapKey fail " + rv)
                with contextlib.suppress(grpc.RpcError):
                    self.kms.unseal(sealed)
                self.assertEqual(self.kms.status().healthz, "ok")
                self.assertEqual(self.kms.unseal(sealed), seed)
        self.assertEqual(self.module.injected("C_UnwrapKey"), 2)

    def test_a_lost_session_costs_no_request(self):
        self.serve(**QUIET)
        for function in ("C_CreateObject", "C_WrapKey", "C_UnwrapKey", "C_GetAttributeValue"):
            for rv in ("SESSION_HANDLE_INVALID", "SESSION_CLOSED"):
                with self.subTest(function=function, rv=rv):
                    before = self.module.injected(function)
                    self.module.tell("%s fail %s" % (function, rv))
                    self.assert_round_trip()
                    self.assertEqual(self.module.injected(function), before + 1)

    def test_a_handle_that_went_stale_costs_no_request(self):
        self.serve(**QUIET)
        for function in ("C_WrapKey", "C_UnwrapKey"):
            with self.subTest(function=function):
                self.module.tell("%s fail KEY_HANDLE_INVALID" % function)
                self.assert_round_trip()
                self.assertEqual(self.module.injected(function), 1)

    def test_a_module_that_must_be_started_anew_is(self):
        self.serve(canary="1s")
        sealed = self.kms.encrypt(os.urandom(32))
        starts = self.module.calls("C_Initialize")
        self.module.tell("C_WrapKey dead-until-finalize CRYPTOKI_NOT_INITIALIZED")
        wait_for("the module to die", lambda: self.module.injected("C_WrapKey"))
        self.node.wait_status()
        self.assertGreater(self.module.calls("C_Initialize"), starts)
        self.kms.unseal(sealed)

    def test_a_module_that_stays_dead_is_told_by_status(self):
        self.serve(canary="1s")
        self.module.tell("C_WrapKey dead-until-exit DEVICE_ERROR")
        self.node.wait_complaint(UNAVAILABLE, "C_Initialize")
        self.module.tell()
        self.node.stop()
        self.node.up()

    def test_after_a_reconnect_each_key_unwraps_its_own(self):
        # Handles from before name other keys: whoever keeps one unwraps by the wrong KEK.  Without
        # isolation, since a new child has no handles from before.
        self.serve("renumber", isolation="none", canary="1s")
        seeds = [os.urandom(32) for _ in range(3)]
        sealed = [self.kms.encrypt(seeds[0])]
        for seed in seeds[1:]:
            self.node.rotate()
            sealed.append(self.kms.encrypt(seed))
        starts = self.module.calls("C_Initialize")
        self.module.tell("renumber", "C_WrapKey dead-until-finalize DEVICE_ERROR")
        wait_for("a new start", lambda: self.module.calls("C_Initialize") > starts)
        self.assertEqual(self.node.wait_status().key_id, sealed[-1].key_id)
        self.assertEqual([self.kms.unseal(one) for one in sealed], seeds)


class Missing(MisbehaveCase):
    def test_an_absent_token_is_unavailable_until_it_is_back(self):
        self.serve(canary="1s")
        seed = os.urandom(32)
        sealed = self.kms.encrypt(seed)
        for _ in range(2):
            self.module.tell("absent")
            self.node.wait_failing(UNAVAILABLE)
            with self.refused(UNAVAILABLE):
                self.kms.unseal(sealed)
            self.module.tell()
            self.assertEqual(self.node.wait_status().key_id, sealed.key_id)
            self.assertEqual(self.kms.unseal(sealed), seed)

    def test_a_node_that_starts_without_its_token_heals_when_it_comes(self):
        self.serve()
        self.assertEqual(self.node.stop(), 0)
        self.module.tell("absent")
        self.node.start().wait_complaint(UNAVAILABLE, "no token")
        self.module.tell()
        self.node.wait_status()

    def test_fewer_sessions_than_configured_serve_all_requests(self):
        for rv in ("SESSION_COUNT", "ARGUMENTS_BAD"):
            with self.subTest(rv=rv):
                self.serve("sessions 2 " + rv, "C_WrapKey delay 10 always")
                seeds = [os.urandom(32) for _ in range(16)]
                calls = [self.kms.start(wire.ENCRYPT, wire.encrypt_request(seed, b"test"))
                         for seed in seeds]
                self.assertEqual({call.code() for call in calls}, {grpc.StatusCode.OK})
                self.assertGreater(self.module.injected("C_OpenSession"), 0)
                self.assertEqual(self.kms.status().healthz, "ok")

    def test_a_plugin_stops_before_the_last_pin_attempt(self):
        self.serve()
        self.assertEqual(self.node.stop(), 0)
        self.module.tell("pin-limit 3 " + self.node.path("pins"))
        self.node.token.write_pin("wrong-1")
        self.node.start().wait_complaint(PRECONDITION, "CKR_PIN_INCORRECT")
        wrong = self.module.counter("C_Login").failed
        self.node.token.write_pin("wrong-2")
        wait_for("a second attempt", lambda: self.module.counter("C_Login").failed == wrong + 1)
        self.node.token.write_pin("wrong-3")
        self.node.wait_complaint(PRECONDITION, "one PIN attempt is left")
        self.assertEqual(self.module.counter("C_Login").failed, wrong + 1)


class Hanging(MisbehaveCase):
    def test_a_hanging_call_misses_its_deadline_and_holds_up_nobody_else(self):
        self.serve(canary="1s")
        seed = os.urandom(32)
        sealed = self.kms.encrypt(seed)
        self.module.tell("C_UnwrapKey hang")
        stuck = self.start_decrypt(sealed, 2)
        self.module.wait_hanging("C_UnwrapKey")
        self.assertEqual(self.kms.unseal(sealed), seed)
        self.assertEqual(stuck.code(), DEADLINE)
        self.module.tell()
        self.node.wait_status()
        self.assertEqual(self.kms.unseal(sealed), seed)

    def test_when_all_sessions_hang_status_fails_and_heals_when_they_go_on(self):
        self.serve(canary="1s")
        seed = os.urandom(32)
        sealed = self.kms.encrypt(seed)
        self.module.tell("C_UnwrapKey hang always")
        stuck = [self.start_decrypt(sealed, 2) for _ in range(8)]
        self.assertEqual({call.code() for call in stuck}, {DEADLINE})
        self.node.wait_failing(UNAVAILABLE)
        self.module.tell()
        self.node.wait_status()
        self.assertEqual(self.kms.unseal(sealed), seed)

    def test_a_hanging_canary_makes_status_fail(self):
        self.serve(canary="1s")
        self.module.tell("C_WrapKey hang")
        self.module.wait_hanging("C_WrapKey")
        self.node.wait_complaint(UNAVAILABLE, "no sign of life")
        self.module.tell()
        self.node.wait_status()


if __name__ == "__main__":
    unittest.main()
