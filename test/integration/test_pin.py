# SPDX-License-Identifier: Apache-2.0
"""PIN attempts: one for each content of the PIN file, over restarts and commands; `pin check`."""

import glob
import hashlib
import json
import os
import signal
import stat
import unittest

import grpc

import kms_killer as killer
from kms_case import Case
from kms_node import wait_for
from kms_token import MODULE, spy_module

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
ERROR, FINDINGS, REFUSED_FOR_SAFETY = 1, 2, 3


class PinCase(Case):
    def spied_node(self):
        """A node with a KEK that never logged in with a latch; its PKCS#11 calls go to a log."""
        node = self.new_node().make_token()
        node.key_create()
        os.mkdir(node.state_dir, 0o700)
        self.calls = node.path("spy.log")
        node.env = {"PKCS11SPY": MODULE, "PKCS11SPY_OUTPUT": self.calls}
        node.config["tokens"][0]["module"] = spy_module()
        node.configure()
        return node

    def logins(self):
        return self.counted(": C_Login")

    def counted(self, *names):
        with open(self.calls, encoding="utf-8", errors="replace") as lines:
            return sum(any(name in line for name in names) for line in lines)

    def wait_looks(self, count):
        """Until the daemon has looked at the token @count times more."""
        seen = self.counted(": C_GetSlotList")
        wait_for("%d more looks at the token" % count,
                 lambda: self.counted(": C_GetSlotList") >= seen + count)

    def latches(self, node):
        return glob.glob(os.path.join(node.state_dir, "pin-latch.*"))

    def latch(self, node):
        path, = self.latches(node)
        with open(path, encoding="ascii") as text:
            return text.read()

    def write_latch(self, node, text):
        path, = self.latches(node)
        with open(path, "w", encoding="ascii") as out:
            out.write(text)

    def key_list(self, node, *flags):
        return node.run("key", "list", "--config", node.config_path, *flags)

    def wrong_pin(self, node):
        node.token.write_pin("wrong-" + node.token.pin)

    def pin_check(self, node, *flags):
        return node.run("pin", "check", "--config", node.config_path, *flags)

    def checked(self, node, code, *flags):
        done = self.pin_check(node, "-o", "json", *flags)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return json.loads(done.stdout)


class Restarts(PinCase):
    def test_a_wrong_pin_costs_one_login_over_restarts_and_commands_and_heals_by_itself(self):
        node = self.spied_node()
        self.wrong_pin(node)
        for _ in range(3):
            node.start().wait_complaint(PRECONDITION, "PIN")
            self.wait_looks(2)
            self.assertEqual(node.stop(), 0)
            node.hang_up()
        for _ in range(3):
            done = self.key_list(node)
            self.assertEqual(done.returncode, ERROR)
            self.assertIn("refused this PIN", done.stderr)
        self.assertEqual(self.logins(), 1)
        node.start().wait_complaint(PRECONDITION, "refused this PIN")
        node.token.write_pin(node.token.pin)
        node.wait_status()
        self.assertEqual(self.logins(), 2)
        self.assertNotIn("refused", self.latch(node))

    def test_a_pin_that_a_command_found_wrong_is_not_tried_by_the_plugin(self):
        node = self.spied_node()
        self.wrong_pin(node)
        self.assertIn("CKR_PIN_INCORRECT", self.key_list(node).stderr)
        node.start().wait_complaint(PRECONDITION, "refused this PIN")
        self.wait_looks(2)
        self.assertEqual(self.logins(), 1)

    def test_each_content_of_the_file_is_one_attempt(self):
        node = self.spied_node()
        for pin in ("first-wrong", "second-wrong", "first-wrong", "second-wrong"):
            node.token.write_pin(pin)
            self.assertEqual(self.key_list(node).returncode, ERROR)
        self.assertEqual(self.logins(), 2)

    def test_kill_9_after_the_refusal_costs_no_second_attempt(self):
        node = self.spied_node()
        self.wrong_pin(node)
        node.start().wait_complaint(PRECONDITION, "PIN")
        node.kill()
        node.hang_up()
        node.start().wait_complaint(PRECONDITION, "refused this PIN")
        self.assertEqual(self.logins(), 1)

    def test_sighup_lets_a_latched_pin_be_tried_once_more(self):
        node = self.spied_node()
        self.wrong_pin(node)
        self.key_list(node)
        node.start().wait_complaint(PRECONDITION, "refused this PIN")
        node.process.send_signal(signal.SIGHUP)
        wait_for("a second login", lambda: self.logins() == 2)
        self.wait_looks(2)
        self.assertEqual(self.logins(), 2)

    def test_sighup_with_a_live_login_logs_in_no_more(self):
        node = self.spied_node().up()
        for number in range(1, 4):
            node.process.send_signal(signal.SIGHUP)
            wait_for("reload %d" % number, lambda: len(
                [event for event in node.log_events() if "reloaded" in event["msg"]]) >= number)
        before = self.counted(": C_FindObjectsInit")
        wait_for("three more listings",
                 lambda: self.counted(": C_FindObjectsInit") >= before + 3)
        self.assertEqual(self.logins(), 1)

    def test_the_latch_is_private_and_tells_nothing_of_the_pin(self):
        node = self.spied_node()
        self.wrong_pin(node)
        self.key_list(node)
        path, = self.latches(node)
        pin = ("wrong-" + node.token.pin).encode()
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        text = self.latch(node)
        self.assertIn("CKR_PIN_INCORRECT", text)
        for secret in (pin, node.token.pin.encode()):
            self.assertNotIn(secret.decode(), text)
            for name in ("md5", "sha1", "sha256", "sha512"):
                self.assertNotIn(hashlib.new(name, secret).hexdigest(), text)

    def test_commands_of_root_leave_a_latch_that_is_the_service_s(self):
        node = self.new_node().make_token()
        node.key_create()
        os.mkdir(node.state_dir, 0o700)
        self.give_away(node, 12345)
        done = self.key_list(node)
        self.assertEqual(done.returncode, 0, done.stderr)
        path, = self.latches(node)
        self.assertEqual(os.stat(path).st_uid, 12345)

    def give_away(self, node, uid):
        os.chown(node.state_dir, uid, uid)
        os.chown(node.token.directory, uid, uid)
        for directory, names, files in os.walk(node.token.directory):
            for name in names + files:
                os.chown(os.path.join(directory, name), uid, uid)

    def test_without_a_state_dir_commands_work_and_leave_nothing(self):
        node = self.spied_node()
        os.rmdir(node.state_dir)
        done = self.key_list(node)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("latch", done.stderr)
        self.assertFalse(os.path.exists(node.state_dir))

    def test_good_logins_leave_the_file_as_it_is(self):
        node = self.spied_node()
        self.assertEqual(self.key_list(node).returncode, 0)
        first = self.latch(node)
        self.assertEqual(self.key_list(node).returncode, 0)
        self.assertEqual(self.latch(node), first)

    def test_a_damaged_latch_lets_no_login_happen_until_pin_check(self):
        node = self.spied_node().up()
        self.assertEqual(node.stop(), 0)
        node.hang_up()
        self.write_latch(node, self.latch(node)[:40])
        node.start()
        self.assertIn("hsm-kms pin check", node.wait_complaint(PRECONDITION, "pin-latch."))
        self.assertEqual(self.logins(), 1)
        self.assertEqual(self.checked(node, 0)["was_known"], "damaged")
        node.wait_status()

    def test_a_latch_of_a_newer_release_is_told(self):
        node = self.spied_node().up()
        self.assertEqual(node.stop(), 0)
        self.write_latch(node, "hsm-kms pin latch 2\n")
        self.assertIn("newer release", self.key_list(node).stderr)


class SpentByOthers(PinCase):
    """SoftHSM sets CKF_USER_PIN_COUNT_LOW at the first failure, whoever made it."""

    def spend_one(self, node):
        right, node.token.pin = node.token.pin, "not-the-pin"
        with self.assertRaises(AssertionError):
            node.token.labels()
        node.token.pin = right

    def test_a_plugin_whose_pin_worked_before_starts_all_the_same(self):
        node = self.spied_node().up()
        self.assertEqual(node.stop(), 0)
        self.spend_one(node)
        node.up()

    def test_a_plugin_whose_pin_never_worked_waits_for_pin_check(self):
        node = self.spied_node()
        self.spend_one(node)
        node.start()
        self.assertIn("hsm-kms pin check", node.wait_complaint(PRECONDITION, "somebody spent"))
        self.assertEqual(self.logins(), 0)
        self.assertEqual(self.checked(node, 0)["outcome"], "good")
        node.wait_status()

    def test_a_plugin_whose_pin_never_worked_tries_it_on_sighup(self):
        node = self.spied_node()
        self.spend_one(node)
        node.start().wait_complaint(PRECONDITION, "somebody spent")
        node.process.send_signal(signal.SIGHUP)
        node.wait_status()


class KilledInLogin(PinCase):
    """Around C_Login, not within: SoftHSM's token file doesn't survive that."""

    def killed_node(self):
        node = self.new_node().make_token()
        node.key_create()
        os.mkdir(node.state_dir, 0o700)
        node.config["tokens"][0]["module"] = killer.killed_commands_module()
        node.configure()
        node.env = killer.environment()
        return node

    def login_number(self, node):
        """C_Login's place among the calls of a good run, whose latch is thrown away."""
        calls = killer.calls_of(node, "key", "list", "--config", node.config_path)
        os.unlink(self.latches(node)[0])
        return calls.index("C_Login") + 1

    def kill(self, node, variable):
        point = killer.Point(variable, self.number, "C_Login")
        killer.run_killed(node, point, "key", "list", "--config", node.config_path)

    def logins_of(self, node):
        """How often `key list` logs in, and what it exits with and says."""
        path = node.path("calls")
        done = node.run("key", "list", "--config", node.config_path, env={"KILLER_CALLS": path})
        with open(path, encoding="ascii") as lines:
            count = lines.read().split().count("C_Login")
        os.unlink(path)
        return count, done.returncode, done.stderr

    def arranged(self):
        node = self.killed_node()
        self.number = self.login_number(node)
        return node

    def test_right_after_a_refusal_the_pin_is_not_tried_again(self):
        node = self.arranged()
        self.wrong_pin(node)
        self.kill(node, "KILLER_AFTER")
        self.assertIn("trying", self.latch(node))
        count, code, said = self.logins_of(node)
        self.assertEqual((count, code), (0, ERROR))
        self.assertIn("cut short", said)
        node.token.write_pin(node.token.pin)
        self.assertEqual(self.logins_of(node)[:2], (1, 0))

    def test_right_before_a_login_the_pin_is_tried_again(self):
        node = self.arranged()
        self.kill(node, "KILLER_AT")
        self.assertIn("trying", self.latch(node))
        self.assertEqual(self.logins_of(node)[:2], (1, 0))
        self.assertNotIn("trying", self.latch(node))

    def test_right_after_a_good_login_the_pin_is_tried_again(self):
        node = self.arranged()
        self.kill(node, "KILLER_AFTER")
        self.assertEqual(self.logins_of(node)[:2], (1, 0))
        self.assertIn("good", self.latch(node))

    def test_a_good_pin_may_be_killed_any_number_of_times(self):
        node = self.arranged()
        self.assertEqual(self.logins_of(node)[:2], (1, 0))
        for _ in range(4):
            self.kill(node, "KILLER_AT")
        self.assertEqual(self.logins_of(node)[:2], (1, 0))


class PinCheck(PinCase):
    def test_a_good_pin_is_told_with_the_token_and_exits_0(self):
        node = self.spied_node()
        said = self.checked(node, 0)
        self.assertEqual(said["schema"], "hsm-kms/pin-check/v1")
        self.assertEqual((said["outcome"], said["spent"], said["token"], said["kept"]),
                         ("good", True, "prod", True))
        self.assertTrue(said["serial"])
        self.assertEqual(said["attempts_left"], "unknown: the token doesn't tell")
        self.assertEqual(self.logins(), 1)

    def test_a_refused_pin_exits_2_and_says_how_many_attempts_are_thought_left(self):
        node = self.spied_node()
        self.wrong_pin(node)
        said = self.checked(node, FINDINGS)
        self.assertEqual((said["outcome"], said["attempts_left"]), ("refused", "at least 2"))
        self.assertEqual((said["before"]["count_low"], said["after"]["count_low"]), (False, True))
        self.assertIn("CKR_PIN_INCORRECT", said["reason"])
        self.assertIn("refused this PIN", self.key_list(node).stderr)
        self.assertEqual(self.logins(), 1)

    def test_it_tries_a_latched_pin_and_the_running_plugin_follows(self):
        node = self.spied_node()
        right = node.token.pin
        self.wrong_pin(node)
        node.start().wait_complaint(PRECONDITION, "refused this PIN")
        said = self.checked(node, FINDINGS)
        self.assertEqual(said["was_known"], "refused")
        self.assertEqual(self.logins(), 2)
        self.change_pin(node, right, "wrong-" + right)
        self.wait_looks(2)
        self.assertEqual(self.logins(), 2)
        self.assertEqual(self.checked(node, 0)["outcome"], "good")
        node.wait_status()

    def change_pin(self, node, old, new):
        node.token._run(["pkcs11-tool", "--module", MODULE, "--token-label", "prod", "--login",
                         "--pin", old, "--change-pin", "--new-pin", new])

    def test_dry_run_spends_nothing_and_says_what_is_known(self):
        node = self.spied_node()
        said = self.checked(node, 0, "--dry-run")
        self.assertEqual((said["outcome"], said["spent"], said["was_known"]),
                         ("not-tried", False, "nothing"))
        self.assertEqual(self.logins(), 0)
        self.assertEqual(self.latches(node), [])

    def test_another_file_is_checked_and_leaves_the_service_s_latch_alone(self):
        node = self.spied_node()
        other = node.path("other.pin")
        with open(os.open(other, os.O_CREAT | os.O_WRONLY, 0o400), "w", encoding="ascii") as out:
            out.write(node.token.pin)
        self.wrong_pin(node)
        self.key_list(node)
        said = self.checked(node, 0, "--pin-file", other)
        self.assertEqual(said["outcome"], "good")
        self.assertIn("pin_file", said["next"])
        self.assertIn("refused this PIN", self.key_list(node).stderr)
        self.assertEqual(self.logins(), 2)

    def test_in_text_it_ends_with_the_next_step(self):
        node = self.spied_node()
        self.wrong_pin(node)
        done = self.pin_check(node)
        self.assertEqual(done.returncode, FINDINGS)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], "PIN: refused (one attempt was spent)")
        self.assertTrue(lines[-1].startswith("next: "))
        self.assertIn("at least 2", done.stdout)
        self.assertNotIn(node.token.pin, done.stdout + done.stderr)

    def test_a_token_that_is_away_says_nothing_of_the_pin(self):
        node = self.spied_node()
        node.token.take_away()
        self.assertEqual(self.pin_check(node).returncode, ERROR)
        node.token.put_back()


if __name__ == "__main__":
    unittest.main()
