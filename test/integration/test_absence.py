# SPDX-License-Identifier: Apache-2.0
"""The HSM, token, PIN or KEK is missing: the process lives, says what is missing, and heals."""

import os
import shutil
import unittest

import grpc

import kms_wire as wire
from kms_case import Case
from kms_node import wait_for
from kms_token import MODULE, spy_module

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NOT_SERVING = 2


class StartWithout(Case):
    def test_without_a_token_status_says_so_and_heals_when_it_is_made(self):
        node = self.new_node()
        node.token.prepare()
        node.start().wait_complaint(UNAVAILABLE, "no token")
        node.make_token()
        node.key_create()
        node.wait_status()

    def test_a_node_without_a_token_fails_every_service_truthfully(self):
        node = self.new_node()
        node.token.prepare()
        node.start().wait_failing(UNAVAILABLE)
        kms = node.client()
        with self.refused(UNAVAILABLE):
            kms.encrypt(bytes(32))
        with self.refused(UNAVAILABLE):
            kms.decrypt(bytes(40), "prod.v1." + "0" * 32)
        self.assertEqual(kms.health(), NOT_SERVING)
        tells = kms.describe()
        self.assertEqual((tells.healthy, tells.promoted, tells.keks), (False, 0, []))
        self.assertIn("token", tells.health_text)

    def test_without_a_module_status_says_so_and_it_heals(self):
        node = self.new_node().make_token()
        node.key_create()
        later = node.path("late.so")
        node.config["tokens"][0]["module"] = later
        node.configure()
        node.start().wait_listening()
        kms = node.client()
        wait_for("Status to name the module", lambda: "late.so" in kms.status_error()[1])
        shutil.copy(MODULE, later)
        node.wait_status()

    def test_without_a_pin_file_status_says_so_and_it_heals(self):
        node = self.new_node().make_token()
        node.key_create()
        os.unlink(node.token.pin_file)
        node.start()
        self.assertIn("PIN", node.wait_failing(PRECONDITION))
        node.token.write_pin(node.token.pin)
        node.wait_status()

    def test_a_pin_file_that_others_may_read_is_refused_until_it_is_mended(self):
        node = self.new_node().make_token()
        node.key_create()
        for mode in (0o644, 0o640, 0o404):
            with self.subTest(oct(mode)):
                node.token.write_pin(node.token.pin, mode)
                node.start()
                self.assertIn("chmod", node.wait_failing(PRECONDITION))
                os.chmod(node.token.pin_file, 0o400)
                node.wait_status()
                self.assertEqual(node.stop(), 0)

    def test_without_a_kek_status_names_the_label_and_heals_by_key_create(self):
        node = self.new_node().make_token()
        node.start()
        self.assertIn("prod", node.wait_failing(PRECONDITION))
        node.key_create()
        node.wait_generation(1)

    def test_several_tokens_of_one_label_are_refused_and_listed(self):
        node = self.new_node().make_token()
        node.key_create()
        node.token.make_another("prod")
        node.start().wait_complaint(PRECONDITION, "prod")

    def test_a_module_may_be_named_as_p11_kit_knows_it(self):
        node = self.new_node().make_token()
        node.config["tokens"][0]["module"] = "softhsm2"
        node.configure()
        node.key_create()
        node.up()

    def test_tokens_of_other_labels_do_not_matter(self):
        node = self.new_node().make_token()
        node.key_create()
        node.token.make_another("aaa")
        node.token.make_another("zzz")
        node.up()
        self.assertEqual(node.client().describe().tokens, ["prod"])


class WrongPin(Case):
    def spied_node(self):
        """All PKCS#11 calls go to a log of their own."""
        node = self.new_node().make_token()
        node.key_create()
        self.calls = node.path("spy.log")
        node.env = {"PKCS11SPY": MODULE, "PKCS11SPY_OUTPUT": self.calls}
        node.config["tokens"][0]["module"] = spy_module()
        node.configure()
        return node

    def logins(self):
        with open(self.calls, encoding="utf-8", errors="replace") as lines:
            return sum(": C_Login" in line for line in lines)

    def refreshes(self):
        with open(self.calls, encoding="utf-8", errors="replace") as lines:
            return sum(": C_GetSlotList" in line or ": C_FindObjectsInit" in line
                       for line in lines)

    def test_a_wrong_pin_costs_one_login_attempt_and_heals_when_the_file_changes(self):
        node = self.spied_node()
        node.token.write_pin("wrong-" + node.token.pin)
        node.start()
        self.assertIn("PIN", node.wait_failing(PRECONDITION))
        seen = self.refreshes()
        wait_for("three more looks at the token", lambda: self.refreshes() >= seen + 3)
        self.assertEqual(self.logins(), 1)
        node.token.write_pin(node.token.pin)
        node.wait_status()
        self.assertEqual(self.logins(), 2)

    def test_sighup_allows_one_more_attempt(self):
        node = self.spied_node()
        node.token.write_pin("wrong-" + node.token.pin)
        node.start().wait_failing(PRECONDITION)
        node.process.send_signal(1)
        wait_for("a second login", lambda: self.logins() == 2)
        node.wait_failing(PRECONDITION)
        self.assertEqual(self.logins(), 2)

    def test_a_healthy_node_logs_in_once(self):
        node = self.spied_node().up()
        sequence = self.refreshes()
        wait_for("five more refreshes", lambda: self.refreshes() >= sequence + 5)
        self.assertEqual(self.logins(), 1)

    def test_every_session_object_is_destroyed(self):
        node = self.spied_node().up()
        kms = node.client()
        for _ in range(20):
            kms.unseal(kms.encrypt(os.urandom(32)))
        with self.refused(grpc.StatusCode.DATA_LOSS):
            kms.decrypt(os.urandom(40), kms.status().key_id)
        self.assertEqual(node.stop(), 0)
        self.assertEqual(*self.objects_made_and_destroyed())

    def objects_made_and_destroyed(self):
        """Counts successes: a call's name stands alone, its return value follows."""
        made = destroyed = 0
        name = ""
        with open(self.calls, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if ": C_" in line:
                    name = line.split(": ", 1)[1].strip()
                elif "Returned:" in line and "CKR_OK" in line:
                    made += name in ("C_CreateObject", "C_UnwrapKey")
                    destroyed += name == "C_DestroyObject"
        self.assertGreater(made, 40)
        return made, destroyed


class Outage(Case):
    def test_a_token_that_goes_away_is_unavailable_and_heals_when_it_is_back(self):
        node = self.ready_node(canary="1s")
        kms = node.client()
        seed = os.urandom(32)
        good = kms.encrypt(seed)
        node.token.take_away()
        node.wait_failing(UNAVAILABLE)
        with self.refused(UNAVAILABLE):
            kms.encrypt(os.urandom(32))
        with self.refused(UNAVAILABLE, "do not delete"):
            kms.unseal(good)
        self.assertEqual(kms.health(), NOT_SERVING)
        node.token.put_back()
        self.assertEqual(node.wait_status().key_id, good.key_id)
        self.assertEqual(kms.unseal(good), seed)

    def test_a_call_that_fails_on_a_lost_token_makes_status_fail_at_once(self):
        # The canary alone would not notice for minutes.
        node = self.ready_node(canary="5m", refresh="5m")
        kms = node.client()
        node.token.take_away()
        with self.assertRaises(grpc.RpcError) as caught:
            kms.encrypt(os.urandom(32))
        self.assertIn(caught.exception.code(), (UNAVAILABLE, PRECONDITION))
        with self.assertRaises(grpc.RpcError):
            kms.status()
        node.token.put_back()

    def test_status_never_pairs_bad_health_with_a_key_id(self):
        # kubernetes/kubernetes#138950: a key_id beside bad health keeps kube-apiserver writing.
        node = self.ready_node(canary="1s")
        kms = node.client()
        node.token.take_away()

        def failed():
            try:
                fields = wire.parse(kms.call(wire.STATUS))
            except grpc.RpcError:
                return True
            self.assertEqual(wire.one(fields, 2), b"ok")
            return False
        wait_for("Status to fail", failed)
        node.token.put_back()

    def test_repeated_outages_heal_each_time(self):
        node = self.ready_node(canary="1s")
        kms = node.client()
        for _ in range(3):
            node.token.take_away()
            node.wait_failing(UNAVAILABLE)
            node.token.put_back()
            node.wait_status()
            seed = os.urandom(32)
            self.assertEqual(kms.unseal(kms.encrypt(seed)), seed)

    def test_requests_in_an_outage_are_answered_not_held(self):
        node = self.ready_node(canary="1s")
        kms = node.client()
        good = kms.encrypt(os.urandom(32))
        node.token.take_away()
        node.wait_failing(UNAVAILABLE)
        request = wire.decrypt_request(good.ciphertext, good.key_id.encode())
        calls = [kms.start(wire.DECRYPT, request) for _ in range(100)]
        self.assertEqual({call.code() for call in calls}, {UNAVAILABLE})
        node.token.put_back()
        node.wait_status()


if __name__ == "__main__":
    unittest.main()
