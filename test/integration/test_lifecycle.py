# SPDX-License-Identifier: Apache-2.0
"""Start, readiness, signals and end of the process."""

import os
import signal
import socket
import unittest

import grpc

import kms_wire as wire
from kms_case import Case
from kms_client import raw_peer, sealed
from kms_node import PATIENCE_S, wait_for


class NotifySocket:
    """What systemd listens on."""

    def __init__(self, node):
        self.path = node.path("notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE_S)
        node.env["NOTIFY_SOCKET"] = self.path

    def next(self):
        """One message as {name: value}."""
        text = self.socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def until(self, name):
        while True:
            message = self.next()
            if name in message:
                return message

    def close(self):
        self.socket.close()


class Readiness(Case):
    def notified(self, **options):
        node = self.new_node(**options)
        notify = NotifySocket(node)
        self.addCleanup(notify.close)
        return node, notify

    def test_ready_is_sent_when_status_is_good(self):
        node, notify = self.notified()
        node.make_token().key_create()
        node.start()
        self.assertEqual(notify.until("READY")["READY"], "1")
        self.assertEqual(node.client().status().healthz, "ok")

    def test_ready_waits_for_the_missing_kek(self):
        node, notify = self.notified()
        node.make_token().start().wait_failing(grpc.StatusCode.FAILED_PRECONDITION)
        notify.socket.setblocking(False)
        with self.assertRaises(BlockingIOError):
            notify.until("READY")
        notify.socket.settimeout(PATIENCE_S)
        node.key_create()
        notify.until("READY")

    def test_after_ready_timeout_ready_comes_with_a_status_that_says_what_is_missing(self):
        node, notify = self.notified(ready_timeout="1s")
        node.token.prepare()
        node.start()
        status = ready = None
        while status is None or ready is None:
            message = notify.next()
            status = message.get("STATUS", status)
            ready = message.get("READY", ready)
        self.assertIn("token", status)
        node.alive()

    def test_a_control_plane_boots_on_a_late_hsm(self):
        node, notify = self.notified(ready_timeout="0s")
        node.token.prepare()
        node.start()
        notify.until("READY")
        node.make_token().key_create()
        node.wait_status()


class Stop(Case):
    def test_sigterm_ends_with_0_and_unlinks_the_socket(self):
        node = self.ready_node()
        self.assertEqual(node.stop(), 0)
        self.assertFalse(os.path.exists(node.socket))

    def test_sigint_ends_it_the_same_way(self):
        node = self.ready_node()
        node.process.send_signal(signal.SIGINT)
        self.assertEqual(node.wait_exit(), 0)
        self.assertFalse(os.path.exists(node.socket))

    def test_sigterm_ends_a_node_that_never_found_its_token(self):
        node = self.new_node()
        node.token.prepare()
        node.start().wait_listening()
        self.assertEqual(node.stop(), 0)

    def test_calls_in_flight_are_answered_before_the_end(self):
        node = self.ready_node()
        kms = node.client()
        kms.status()
        calls = [kms.start(wire.ENCRYPT, wire.encrypt_request(os.urandom(32)))
                 for _ in range(50)]
        wait_for("the first answer", lambda: any(call.done() for call in calls))
        self.assertEqual(node.stop(), 0)
        for call in calls:
            if call.code() == grpc.StatusCode.OK:
                self.assertEqual(len(sealed(call.result()).ciphertext), 40)
            else:  # what reached the server after it began to stop
                self.assertIn(call.code(), (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE))

    def test_idle_connections_do_not_hold_up_the_end(self):
        node = self.ready_node()
        for _ in range(30):
            self.addCleanup(raw_peer(node.socket).close)
        idle = node.client()
        idle.status()
        self.assertEqual(node.stop(), 0)

    def test_a_restart_serves_the_same_key_id_and_old_ciphertexts(self):
        node = self.ready_node()
        seed = os.urandom(32)
        good = node.client().encrypt(seed)
        self.assertEqual(node.stop(), 0)
        node.up()
        self.assertEqual(node.client().status().key_id, good.key_id)
        self.assertEqual(node.client().unseal(good), seed)

    def test_a_client_survives_the_restart(self):
        node = self.ready_node()
        kms = node.client()
        before = kms.status()
        self.assertEqual(node.stop(), 0)
        node.start().wait_listening()

        def same_again():
            try:
                return kms.status() == before
            except grpc.RpcError:
                return False
        wait_for("the old channel to work again", same_again)

    def test_kill_9_in_the_middle_of_calls_harms_nothing(self):
        node = self.ready_node()
        kms = node.client()
        good = kms.encrypt(bytes(range(32)))
        for _ in range(50):
            kms.start(wire.ENCRYPT, wire.encrypt_request(os.urandom(32)))
        node.kill()
        node.hang_up()
        node.up()
        self.assertEqual(node.client().unseal(good), bytes(range(32)))


class Hangup(Case):
    def test_sighup_refreshes_at_once(self):
        # Left alone it would look at the token again in ten minutes.
        node = self.ready_node(refresh="10m")
        node.key_create("--activate", "now", "--force")
        kms = node.client()

        def promoted():  # two sights are needed
            node.process.send_signal(signal.SIGHUP)
            return kms.status().key_id.startswith("prod.v2.")
        wait_for("generation 2", promoted)

    def test_sighup_rereads_the_pin_file(self):
        node = self.new_node(refresh="10m").make_token()
        node.key_create()
        node.token.write_pin("wrong-" + node.token.pin)
        node.start().wait_failing(grpc.StatusCode.FAILED_PRECONDITION)
        node.token.write_pin(node.token.pin)
        node.process.send_signal(signal.SIGHUP)
        node.wait_status()

    def test_sighup_disturbs_no_call(self):
        node = self.ready_node()
        kms = node.client()
        for _ in range(20):
            calls = [kms.start(wire.ENCRYPT, wire.encrypt_request(os.urandom(32)))
                     for _ in range(10)]
            node.process.send_signal(signal.SIGHUP)
            self.assertEqual({call.code() for call in calls}, {grpc.StatusCode.OK})


if __name__ == "__main__":
    unittest.main()
