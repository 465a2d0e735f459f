# SPDX-License-Identifier: Apache-2.0
"""The Unix socket: who may take its place, who may connect, and what too many peers do."""

import grp
import os
import shutil
import socket
import stat
import subprocess
import sys
import unittest

import grpc

from kms_case import Case
from kms_client import HTTP2_PREFACE, is_served, raw_peer
from kms_node import BINARY, wait_for

GROUP = 47110  # a gid that nobody has
STRANGER = 47111  # a uid and gid that nobody has
UNPRIVILEGED = 65534  # kube-apiserver's own

STATUS_SCRIPT = """
import grpc, sys
call = grpc.insecure_channel("unix:" + sys.argv[1]).unary_unary("/v2.KeyManagementService/Status")
try:
    print("OK" if b"v2" in call(b"", timeout=30) else "empty")
except grpc.RpcError as error:
    print(error.code().name, error.details())
"""


def status_as(socket_path, uid, gid, groups=()):
    """What a client of another user gets as answer to Status: "OK" or the error."""
    extra = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    done = subprocess.run(
        ["setpriv", "--reuid", str(uid), "--regid", str(gid), *extra, sys.executable, "-c",
         STATUS_SCRIPT, socket_path], capture_output=True, text=True, timeout=120, cwd="/")
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout.strip()


class PlaceOfTheSocket(Case):
    def test_a_second_instance_does_not_displace_a_live_one(self):
        node = self.ready_node()
        second = self.new_node(token=node.token)
        second.configure(socket=node.config["socket"])
        self.assertIn(node.socket, second.serve_fails())
        self.assertEqual(node.client().status().healthz, "ok")

    def test_a_second_instance_on_the_same_state_dir_ends(self):
        node = self.ready_node()
        second = self.new_node(token=node.token)
        second.configure(state_dir=node.state_dir)
        self.assertIn(node.state_dir, second.serve_fails())
        self.assertFalse(os.path.exists(second.socket))
        self.assertEqual(node.client().status().healthz, "ok")

    def test_a_stale_socket_is_replaced_after_kill_9(self):
        node = self.ready_node()
        node.kill()
        self.assertTrue(stat.S_ISSOCK(os.lstat(node.socket).st_mode))
        node.up()
        self.assertEqual(node.client().status().healthz, "ok")

    def test_anything_that_is_not_a_socket_is_refused_and_left_alone(self):
        for kind in ("file", "directory", "symlink"):
            with self.subTest(kind):
                node = self.new_node()
                if kind == "file":
                    with open(node.socket, "w", encoding="ascii") as out:
                        out.write("precious")
                elif kind == "directory":
                    os.mkdir(node.socket)
                else:
                    os.symlink("/nonexistent", node.socket)
                before = os.lstat(node.socket)
                self.assertIn("not a socket", node.serve_fails())
                after = os.lstat(node.socket)
                self.assertEqual((before.st_ino, before.st_mode), (after.st_ino, after.st_mode))

    def test_a_parent_directory_that_others_may_write_is_refused(self):
        for mode in (0o777, 0o1777, 0o757):
            with self.subTest(oct(mode)):
                node = self.new_node()
                os.chmod(node.socket_dir, mode)
                self.assertIn("writable", node.serve_fails())
                self.assertFalse(os.path.exists(node.socket))

    def test_a_missing_parent_directory_is_named(self):
        node = self.new_node()
        os.rmdir(node.socket_dir)
        self.assertIn(node.socket_dir, node.serve_fails())

    def test_mode_and_group_are_set(self):
        node = self.new_node()
        node.configure(socket={"path": node.socket, "mode": "0620", "group": str(GROUP)})
        node.start().wait_listening()
        there = os.lstat(node.socket)
        self.assertEqual((stat.S_IMODE(there.st_mode), there.st_gid), (0o620, GROUP))

    def test_a_group_may_be_given_by_name(self):
        node = self.new_node()
        node.configure(socket={"path": node.socket, "mode": "0660", "group": "daemon"})
        node.start().wait_listening()
        self.assertEqual(os.lstat(node.socket).st_gid, grp.getgrnam("daemon").gr_gid)

    def test_an_unknown_group_is_an_error(self):
        node = self.new_node()
        node.configure(socket={"path": node.socket, "mode": "0660", "group": "no-such-group"})
        self.assertIn("no-such-group", node.serve_fails())

    def test_nothing_but_socket_and_lock_file_is_left_beside_it(self):
        node = self.ready_node()
        self.assertEqual(sorted(os.listdir(node.socket_dir)), ["kms.sock", "kms.sock.lock"])
        self.assertEqual(node.stop(), 0)
        self.assertEqual(os.listdir(node.socket_dir), ["kms.sock.lock"])

    def test_a_socket_that_another_took_is_not_unlinked_at_the_end(self):
        node = self.ready_node()
        node.hang_up()
        os.rename(node.socket, node.socket + ".old")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(node.socket)
            inode = os.lstat(node.socket).st_ino
            self.assertEqual(node.stop(), 0)
            self.assertEqual(os.lstat(node.socket).st_ino, inode)

    def test_the_flag_overrides_the_configured_path(self):
        node = self.new_node()
        other = os.path.join(node.socket_dir, "other.sock")
        node.start("--socket", other)
        wait_for("a socket at the flag's path", lambda: node.alive() and os.path.exists(other))
        self.assertFalse(os.path.exists(node.socket))


class WhoMayConnect(Case):
    def open_node(self, group="root", allow_uids=(), mode="0666"):
        node = self.new_node().make_token()
        node.configure(socket={"path": node.socket, "mode": mode, "group": group,
                               "allow_uids": list(allow_uids)})
        node.key_create()
        return node.up()

    def test_a_foreign_uid_is_refused_and_logged(self):
        node = self.open_node()
        self.assertIn("UNAVAILABLE", status_as(node.socket, STRANGER, STRANGER))
        wait_for("a log line that names uid %d" % STRANGER, lambda: [
            event for event in node.log_events()
            if STRANGER in event.values() and event["level"] in ("warn", "error")])

    def test_a_foreign_peer_is_closed_before_http_2_starts(self):
        node = self.open_node()
        done = subprocess.run(
            ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups",
             sys.executable, "-c",
             "import socket, sys\n"
             "peer = socket.socket(socket.AF_UNIX)\n"
             "peer.connect(sys.argv[1])\n"
             "peer.settimeout(60)\n"
             "try:\n"
             "    print(peer.recv(100))\n"
             "except ConnectionResetError:\n"
             "    print(b'')\n", node.socket],
            capture_output=True, text=True, timeout=120, cwd="/")
        self.assertEqual(done.stdout.strip(), "b''", done.stderr)

    def test_a_flood_of_refused_peers_does_not_flood_the_log(self):
        node = self.open_node()
        script = ("import socket, sys\n"
                  "for _ in range(500):\n"
                  "    with socket.socket(socket.AF_UNIX) as peer:\n"
                  "        peer.connect(sys.argv[1])\n")
        subprocess.run(["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER),
                        "--clear-groups", sys.executable, "-c", script, node.socket],
                       check=True, timeout=120, cwd="/")
        self.assertEqual(node.client().status().healthz, "ok")
        lines = [event for event in node.log_events() if STRANGER in event.values()]
        self.assertTrue(lines)
        self.assertLess(len(lines), 50)

    def test_uid_65534_with_the_supplementary_group_is_served(self):
        node = self.open_node(group=str(GROUP), mode="0660")
        self.assertEqual(status_as(node.socket, UNPRIVILEGED, UNPRIVILEGED, [GROUP]), "OK")

    def test_a_peer_whose_own_gid_is_the_group_is_served(self):
        node = self.open_node(group=str(GROUP), mode="0660")
        self.assertEqual(status_as(node.socket, STRANGER, GROUP), "OK")

    def test_a_peer_in_another_group_is_refused(self):
        node = self.open_node(group=str(GROUP))
        self.assertIn("UNAVAILABLE",
                      status_as(node.socket, UNPRIVILEGED, UNPRIVILEGED, [STRANGER]))

    def test_an_allowed_uid_is_served(self):
        node = self.open_node(allow_uids=[STRANGER])
        self.assertEqual(status_as(node.socket, STRANGER, STRANGER), "OK")


class ServiceUser(Case):
    """The server need not be root."""

    def service_node(self):
        node = self.new_node().make_token()
        binary = node.path("hsm-kms")  # the build folder may be root's alone
        shutil.copy(BINARY, binary)
        os.mkdir(node.state_dir, 0o700)
        for path in (node.state_dir, node.socket_dir, node.token.directory):
            subprocess.run(["chown", "-R", "%d:%d" % (STRANGER, STRANGER), path], check=True)
        node.configure(socket={"path": node.socket, "mode": "0660", "group": str(STRANGER)})
        node.binary = binary
        node.wrapper = ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER),
                        "--clear-groups"]
        return node

    def test_it_serves_root_and_its_own_user(self):
        node = self.service_node()
        node.key_create()
        node.up()
        self.assertEqual(status_as(node.socket, STRANGER, STRANGER), "OK")
        self.assertEqual(os.stat(node.ring_json).st_uid, STRANGER)

    def test_commands_of_root_leave_no_file_of_root_on_the_token(self):
        node = self.service_node()
        node.key_create()
        node.up()
        node.rotate()
        owners = {os.stat(os.path.join(folder, name)).st_uid
                  for folder, _, names in os.walk(node.token.tokens) for name in names}
        self.assertEqual(owners, {STRANGER})


class TooManyPeers(Case):
    def hold(self, node):
        peer = raw_peer(node.socket)
        self.addCleanup(peer.close)
        return peer

    def test_the_65th_connection_of_a_uid_is_refused_until_one_closes(self):
        node = self.ready_node()
        node.hang_up()
        held = []

        def fill():  # the connections of wait_status() may still be on their way out
            peer = self.hold(node)
            peer.sendall(HTTP2_PREFACE)
            if is_served(peer):
                held.append(peer)
            return len(held) == 64
        wait_for("64 connections", fill)
        one_more = self.hold(node)
        self.assertFalse(is_served(one_more))
        held.pop().close()
        wait_for("a free place", lambda: is_served(self.hold(node)))

    def test_the_limit_of_one_uid_does_not_touch_another(self):
        node = self.new_node().make_token()
        node.configure(socket={"path": node.socket, "mode": "0666", "allow_uids": [STRANGER]})
        node.key_create()
        node.up().hang_up()
        while is_served(self.hold(node)):
            pass
        self.assertEqual(status_as(node.socket, STRANGER, STRANGER), "OK")

    def test_it_recovers_when_it_ran_out_of_file_descriptors(self):
        node = self.new_node().make_token()
        node.key_create()
        node.wrapper = ["prlimit", "--nofile=48:48"]
        node.up().hang_up()
        held = [self.hold(node) for _ in range(60)]
        wait_for("a log line about it", lambda: "accept" in node.log())
        for peer in held:
            peer.close()
        self.assertEqual(wait_for("an answer", lambda: status_or_none(node)).healthz, "ok")


def status_or_none(node):
    client = node.client()
    try:
        return client.status()
    except grpc.RpcError:
        return None
    finally:
        client.close()


if __name__ == "__main__":
    unittest.main()
