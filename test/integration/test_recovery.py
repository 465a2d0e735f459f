# SPDX-License-Identifier: Apache-2.0
"""A serving plugin outlives what its PKCS#11 module does, without a restart (test/fake/README.md)."""

import os

import grpc

import kms_wire as wire
from kms_case import Case
from kms_misbehave import Misbehaviour
from kms_node import wait_for

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED
TROUBLE = {UNAVAILABLE, DEADLINE, grpc.StatusCode.RESOURCE_EXHAUSTED}


class RecoveryCase(Case):
    def serve(self, **config):
        self.node = self.new_node(**dict({"canary": "1s"}, **config)).make_token()
        self.module = Misbehaviour(self.node)
        self.node.key_create()
        self.node.up()
        self.kms = self.node.client()
        wait_for("the client's connection", lambda: self.kms.status_error()[0] is None)
        self.seed = os.urandom(32)
        self.sealed = self.kms.encrypt(self.seed)

    def assert_recovered(self):
        """Well again, by the same process, with the same key."""
        self.assertEqual(self.node.wait_status().key_id, self.sealed.key_id)
        self.assertEqual(self.kms.unseal(self.sealed), self.seed)
        seed = os.urandom(32)
        self.assertEqual(self.kms.unseal(self.kms.encrypt(seed)), seed)

    def encrypt_fails(self):
        try:
            self.kms.encrypt(self.seed)
        except grpc.RpcError as error:
            self.assertIn(error.code(), TROUBLE, error.details())
            return True
        return False

    def start_decrypt(self, timeout):
        request = wire.decrypt_request(self.sealed.ciphertext, self.sealed.key_id.encode())
        return self.kms.start(wire.DECRYPT, request, timeout)

    def wait_event(self, message, number=1):
        """Waits until the plugin logged @message so many times."""
        wait_for("%d x %s" % (number, message),
                 lambda: self.node.alive() and self.count(message) >= number)

    def count(self, message):
        return self.node.log().count('"msg":"%s"' % message)  # a crash leaves lines of its own


class Failing(RecoveryCase):
    def test_a_module_that_answers_everything_by_one_error_is_well_when_it_ends(self):
        self.serve()
        for rv in ("DEVICE_ERROR", "FUNCTION_FAILED", "SESSION_CLOSED", "KEY_HANDLE_INVALID",
                   "DEVICE_MEMORY", "MUTEX_BAD", "0x80000042"):
            with self.subTest(rv=rv):
                self.module.tell("* fail %s always" % rv)
                wait_for("Status to fail", lambda: self.kms.status_error()[0] is not None)
                with self.assertRaises(grpc.RpcError) as caught:
                    self.kms.unseal(self.sealed)
                self.assertNotEqual(caught.exception.code(), grpc.StatusCode.DATA_LOSS)
                self.module.tell()
                self.assert_recovered()

    def test_a_module_is_finalized_whatever_it_says_until_then(self):
        self.serve()
        for rv in ("DEVICE_ERROR", "MUTEX_BAD", "WRAPPED_KEY_INVALID", "SESSION_COUNT"):
            with self.subTest(rv=rv):
                starts = self.module.calls("C_Initialize")
                self.module.tell("C_WrapKey dead-until-finalize %s" % rv)
                wait_for("a new start", lambda: self.module.calls("C_Initialize") > starts)
                self.assert_recovered()

    def test_a_token_without_a_session_for_a_moment_costs_no_request(self):
        self.serve(refresh="5m", canary="5m")
        for rv in ("SESSION_COUNT", "ARGUMENTS_BAD", "HOST_MEMORY"):
            with self.subTest(rv=rv):
                before = self.module.injected("C_OpenSession")
                self.module.tell("C_UnwrapKey fail SESSION_CLOSED",
                                 "C_OpenSession fail %s count 3" % rv)
                self.assertEqual(self.kms.unseal(self.sealed), self.seed)
                self.assertLessEqual(self.module.injected("C_OpenSession"), before + 3)

    def test_a_busy_cluster_costs_no_request_and_is_no_data_loss(self):
        self.serve(refresh="5m", canary="5m")
        self.module.tell("C_UnwrapKey fail FUNCTION_FAILED count 4",
                         "C_WrapKey fail FUNCTION_FAILED count 4")
        self.assertEqual(self.kms.unseal(self.sealed), self.seed)
        self.assertEqual(self.kms.unseal(self.kms.encrypt(self.seed)), self.seed)
        self.assertEqual(self.kms.status().healthz, "ok")


class Ended(RecoveryCase):
    def test_a_module_that_crashes_now_and_then_costs_no_request(self):
        self.serve()
        self.module.tell("C_WrapKey crash nth 30")  # in each process
        for _ in range(50):
            seed = os.urandom(32)
            self.assertEqual(self.kms.unseal(self.kms.encrypt(seed)), seed)
        self.assertGreaterEqual(self.count("token host ended"), 2)
        self.module.tell()
        self.assert_recovered()

    def test_a_module_that_is_dead_as_long_as_its_process_lives_gets_another(self):
        self.serve()
        self.module.tell("C_WrapKey dead-until-exit DEVICE_ERROR nth 60")  # in each process
        wait_for("the module to die", self.encrypt_fails)
        self.node.wait_complaint(UNAVAILABLE, "C_Initialize")
        self.wait_event("token host is given up")
        self.module.tell()
        self.assert_recovered()


class Hanging(RecoveryCase):
    def test_a_call_that_hangs_for_good_costs_its_host_and_nobody_else(self):
        self.serve()
        self.module.tell("C_UnwrapKey hang")
        stuck = self.start_decrypt(2)
        self.module.wait_hanging("C_UnwrapKey")
        self.assertEqual(self.kms.unseal(self.sealed), self.seed)
        self.assertEqual(stuck.code(), DEADLINE)
        self.wait_event("token host is given up")
        self.module.tell()
        self.assert_recovered()

    def test_a_reconnect_that_hangs_is_told_by_status_and_ends_by_another_host(self):
        self.serve()
        # Neither strikes the next process: that has nothing to finalize.
        self.module.tell("C_WrapKey fail DEVICE_REMOVED nth 20", "C_Finalize hang")
        wait_for("the module to go", self.encrypt_fails)
        self.module.wait_hanging("C_Finalize")
        self.node.wait_failing(UNAVAILABLE)
        self.wait_event("token host is given up")
        self.module.tell("C_Finalize hang")
        self.assert_recovered()
        self.assertEqual(self.node.stop(), 0)  # though C_Finalize hangs at the end, too

    def test_a_module_that_hangs_at_its_start_heals_when_it_goes_on(self):
        self.serve()
        for function in ("C_Initialize", "C_Login"):
            with self.subTest(function=function):
                self.module.tell("%s hang" % function,
                                 "C_WrapKey fail DEVICE_REMOVED tag %s" % function)
                self.module.wait_hanging(function)
                self.node.wait_failing(UNAVAILABLE)
                call = self.start_decrypt(1)
                self.assertIn(call.code(), TROUBLE, call.details())
                self.module.tell()
                self.assert_recovered()

    def test_a_plugin_ends_while_its_module_hangs(self):
        self.serve()
        for function in ("C_Initialize", "C_Login", "C_UnwrapKey"):
            with self.subTest(function=function):
                self.assertEqual(self.node.stop(), 0)
                self.module.tell("%s hang" % function)
                self.node.start()
                self.module.wait_hanging(function)
                self.assertEqual(self.node.stop(), 0)
                self.module.tell()
                self.node.up()
