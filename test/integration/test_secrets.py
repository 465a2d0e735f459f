# SPDX-License-Identifier: Apache-2.0
"""What is logged, and that no PIN and no seed gets anywhere but where it belongs."""

import base64
import json
import os
import unittest

import grpc

import kms_wire as wire
from kms_case import Case, SharedCase
from kms_node import wait_for


SHADOW_BYTES = 1 << 28  # regions beyond this are a sanitizer's own book-keeping


def spellings(secret):
    """A secret as a log might show it."""
    return [secret, secret.hex().encode(), secret.hex().upper().encode(),
            base64.b64encode(secret).rstrip(b"="), repr(secret)[2:-1].encode(),
            " ".join("%02x" % byte for byte in secret).encode(),
            ":".join("%02x" % byte for byte in secret).encode()]


def memory_holds(pid, needles):
    """Whether one of @needles is anywhere in the process's writable memory."""
    with open("/proc/%d/maps" % pid, encoding="ascii") as maps:
        regions = [line.split()[:2] for line in maps]
    with open("/proc/%d/mem" % pid, "rb", buffering=0) as memory:
        for span, rights in regions:
            begin, end = (int(part, 16) for part in span.split("-"))
            if "w" not in rights or end - begin > SHADOW_BYTES:
                continue
            try:
                memory.seek(begin)
                content = memory.read(end - begin)
            except (OSError, OverflowError, ValueError):  # guard pages, regions that just went
                continue
            if any(needle in content for needle in needles):
                return True
    return False


class Logs(SharedCase):
    def events_with(self, uid):
        return wait_for("log lines of uid " + uid, lambda: [
            event for event in self.node.log_events() if event.get("uid") == uid])

    def test_every_line_is_one_json_object_with_time_level_and_message(self):
        self.kms.unseal(self.kms.encrypt(os.urandom(32)))
        events = self.node.log_events()
        self.assertTrue(events)
        for event in events:
            self.assertLessEqual({"ts", "level", "msg"}, set(event))

    def test_encrypt_and_decrypt_are_one_line_each_with_the_requests_uid(self):
        answer = self.kms.encrypt(os.urandom(32), b"uid-of-encrypt")
        self.kms.unseal(answer, b"uid-of-decrypt")
        encrypted, = self.events_with("uid-of-encrypt")
        decrypted, = self.events_with("uid-of-decrypt")
        self.assertIn("Encrypt", json.dumps(encrypted))
        self.assertIn("Decrypt", json.dumps(decrypted))
        self.assertEqual(encrypted["key_id"], answer.key_id)
        self.assertEqual(decrypted["key_id"], answer.key_id)

    def test_a_failed_call_is_one_line_with_uid_and_reason(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.kms.decrypt(os.urandom(40), self.kms.status().key_id, b"uid-of-failure")
        failed, = self.events_with("uid-of-failure")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DATA_LOSS)
        self.assertIn("DATA_LOSS", json.dumps(failed))
        self.assertIn(failed["level"], ("warn", "error"))

    def test_a_line_tells_who_called(self):
        self.kms.encrypt(os.urandom(32), b"uid-of-root")
        event, = self.events_with("uid-of-root")
        self.assertIn(os.getpid(), event.values())

    def test_a_hostile_uid_can_not_forge_a_line(self):
        forged = b'x"}\n{"ts":"0","level":"info","msg":"forged"}\n'
        with self.refused(grpc.StatusCode.INVALID_ARGUMENT):
            self.kms.encrypt(os.urandom(32), forged)
        self.kms.encrypt(os.urandom(32), b"after-forgery")
        self.events_with("after-forgery")
        self.assertNotIn("forged", [event["msg"] for event in self.node.log_events()])

    def test_a_long_uid_is_cut(self):
        self.kms.encrypt(os.urandom(32), b"L" * 1024)
        self.kms.encrypt(os.urandom(32), b"after-long")
        self.events_with("after-long")
        self.assertNotIn("L" * 200, self.node.log())


class TextLogs(Case):
    def test_the_flag_overrides_the_configured_format(self):
        node = self.new_node().make_token()
        node.key_create()
        node.up("--log-format", "text")
        node.client().encrypt(os.urandom(32), b"uid-in-text")
        line, = wait_for("the line", lambda: [
            line for line in node.log().splitlines() if "uid=uid-in-text" in line])
        self.assertFalse(line.startswith("{"))

    def test_the_flag_overrides_the_configured_level(self):
        node = self.new_node().make_token()
        node.key_create()
        node.up("--log-level", "error")
        node.client().encrypt(os.urandom(32), b"quiet")
        self.assertNotIn("quiet", node.log())

    def test_an_unknown_format_is_refused(self):
        self.assertIn("xml", self.new_node().serve_fails("--log-format", "xml"))


class NoSecretAnywhere(Case):
    def test_neither_log_nor_process_shows_pin_or_seed(self):
        node = self.ready_node()
        kms = node.client()
        seeds = [os.urandom(32) for _ in range(20)]
        for seed in seeds:
            kms.unseal(kms.encrypt(seed))
        self.provoke_errors(node, kms, seeds)
        node.rotate()
        process = "/proc/%d/" % node.process.pid
        self.assert_clean([node.log_path, process + "cmdline", process + "environ"],
                          [node.token.pin.encode(), *seeds])

    def provoke_errors(self, node, kms, seeds):
        """Error paths talk more than good ones."""
        for request in (wire.field(1, seeds[0]), wire.encrypt_request(seeds[1][:31]),
                        wire.encrypt_request(seeds[2], seeds[3]),
                        wire.encrypt_request(seeds[4]) + b"\xff"):
            with self.assertRaises(grpc.RpcError):
                kms.call(wire.ENCRYPT, request)
        with self.assertRaises(grpc.RpcError):
            kms.call(wire.DECRYPT, wire.decrypt_request(seeds[5], seeds[6], seeds[7]))
        node.token.take_away()
        for seed in seeds[8:12]:
            with self.assertRaises(grpc.RpcError):
                kms.encrypt(seed)
        node.token.put_back()
        node.wait_status()

    def assert_clean(self, places, secrets):
        for path in places:
            with open(path, "rb") as stored:
                content = stored.read()
            for secret in secrets:
                for spelling in spellings(secret):
                    self.assertFalse(spelling in content, "%s shows a secret" % path)

    def test_no_seed_stays_in_the_servers_memory(self):
        node = self.ready_node()
        kms = node.client()
        seeds = [os.urandom(32) for _ in range(30)]
        answers = [kms.encrypt(seed) for seed in seeds]
        for answer in answers:
            kms.unseal(answer)
        known = answers[0].key_id.encode()
        node.hang_up()
        self.assertTrue(memory_holds(node.process.pid, [known]), "the search finds nothing at all")
        quarters = [seed[at:at + 8] for seed in seeds for at in range(0, 32, 8)]
        # Buffers of the last calls go with the connection, which ends a moment later.
        wait_for("the last trace of a seed to go",
                 lambda: not memory_holds(node.process.pid, quarters))

    def test_a_refused_pin_is_not_logged(self):
        node = self.new_node().make_token()
        node.token.write_pin("wrong-" + node.token.pin)
        node.start().wait_failing(grpc.StatusCode.FAILED_PRECONDITION)
        self.assertNotIn(node.token.pin, node.log())

    def test_state_and_socket_directories_hold_no_secret(self):
        node = self.ready_node()
        kms = node.client()
        seed = os.urandom(32)
        kms.unseal(kms.encrypt(seed))
        places = [os.path.join(directory, name) for directory in (node.state_dir, node.socket_dir)
                  for name in os.listdir(directory)]
        self.assert_clean(filter(os.path.isfile, places), [node.token.pin.encode(), seed])

    def test_answers_about_the_node_hold_no_pin(self):
        node = self.ready_node()
        self.assertNotIn(node.token.pin.encode(), node.client().call(wire.DESCRIBE))
        for command in (["status", "--socket", node.socket, "-o", "json"],
                        ["key", "list", "--config", node.config_path, "-o", "json"],
                        ["probe", "--socket", node.socket, "-o", "json"]):
            done = node.run(*command)
            self.assertNotIn(node.token.pin, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
