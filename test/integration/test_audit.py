# SPDX-License-Identifier: Apache-2.0
"""The audit log of a real server and of key commands, and what audit verify and show say of it."""

import fcntl
import glob
import hashlib
import json
import os
import socket
import subprocess
import sys
import unittest

import grpc

from kms_audit import COMMAND, GAP, LATE, OPEN, USE, AuditCase, Chain, admin_log, configure, lines_of, serve_log
from kms_case import SharedCase
from kms_node import wait_for
from kms_token import RFC_KEK
from kms_tokens import Tokens
from test_pins import PAST, RFC_KEK_FINGERPRINT
from test_socket import STRANGER, status_as

SEED = bytes(range(32))
FINDINGS = 2
REFUSED = 3
NO_LOGIN = 4294967295  # the kernel's
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


# In a mount namespace of its own: journald's socket, and what a command sends there.
JOURNAL_SCRIPT = """
import os, socket, subprocess, sys
os.makedirs("/run/systemd/journal")
os.makedirs("/run/lock")
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
journal.setblocking(False)
subprocess.run(sys.argv[1:], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
try:
    while True:
        print(journal.recv(65536).decode())
except BlockingIOError:
    pass
"""


class Calls(AuditCase, SharedCase):
    CALLS = 100

    @classmethod
    def prepare(cls):
        configure(cls.node)
        cls.node.configure(socket={"path": cls.node.socket, "mode": "0666", "group": "root"})
        super().prepare()

    def setUp(self):
        super().setUp()
        self.log = serve_log(self.node)

    def test_100_calls_are_100_lines_that_verify(self):
        before = len(self.show(self.node, "--op", "decrypt", self.log))
        sealed = self.kms.encrypt(SEED)
        for number in range(self.CALLS):
            self.kms.unseal(sealed, uid=b"call-%d" % number)
        lines = self.show(self.node, "--op", "Decrypt", self.log)[before:]
        self.assertEqual([line["uid"] for line in lines],
                         ["call-%d" % number for number in range(self.CALLS)])
        told = self.verify(self.node, self.log)
        self.assertTrue(told["ok"])
        self.assertEqual(told["lines"], len(lines_of(self.log)))

    def test_a_line_says_who_used_which_key(self):
        sealed = self.kms.encrypt(SEED, uid=b"who")
        line, = [line for line in lines_of(self.log) if line.get("uid") == "who"]
        self.assertEqual((line["type"], line["op"], line["code"]), ("use", "Encrypt", "ok"))
        self.assertEqual(line["key_id"], sealed.key_id)
        self.assertEqual(line["ciphertext_sha256"], hashlib.sha256(sealed.ciphertext).hexdigest())
        self.assertEqual((line["peer_uid"], line["peer_gid"], line["peer_pid"]),
                         (os.getuid(), os.getgid(), os.getpid()))
        self.assertEqual(line["exe"], os.readlink("/proc/self/exe"))
        self.assertEqual((line["cluster"], line["node"]), ("prod", socket.gethostname()))
        self.assertLessEqual(line["token_us"] + line["queue_us"], line["total_us"])
        self.assertGreater(line["token_us"], 0)

    def test_the_line_is_there_before_the_answer(self):
        for number in range(20):
            uid = b"before-%d" % number
            self.kms.encrypt(SEED, uid=uid)
            with open(self.log, "rb") as log:
                self.assertIn(b'"uid":"%s"' % uid, log.read())

    def test_a_refused_call_has_a_line(self):
        sealed = self.kms.encrypt(SEED)
        broken = sealed._replace(ciphertext=bytes(len(sealed.ciphertext)))
        with self.assertRaises(grpc.RpcError):
            self.kms.unseal(broken, uid=b"broken")
        line, = [line for line in lines_of(self.log) if line.get("uid") == "broken"]
        self.assertNotEqual(line["code"], "ok")

    def test_no_seed_is_in_the_log(self):
        seed = hashlib.sha256(b"a seed like no other").digest()
        self.kms.unseal(self.kms.encrypt(seed))
        with open(self.log, "rb") as log:
            text = log.read()
        self.assertNotIn(seed, text)
        self.assertNotIn(seed.hex().encode(), text)

    def test_show_filters_by_key_time_and_peer(self):
        sealed = self.kms.encrypt(SEED, uid=b"filter")
        ours = str(os.getuid())
        for flags, found in ((("--key", sealed.key_id), True), (("--key", "prod.v1"), True),
                             (("--key", "prod.v"), False), (("--key", "prod.v2"), False),
                             (("--peer", ours), True), (("--peer", "4711"), False),
                             (("--peer", os.path.basename(os.readlink("/proc/self/exe"))), True),
                             (("--since", "1h"), True), (("--since", "2020-01-01T00:00:00Z"), True),
                             (("--since", "2999-01-01T00:00:00Z"), False)):
            with self.subTest(flags):
                uids = [line.get("uid") for line in self.show(self.node, *flags, self.log)]
                self.assertEqual("filter" in uids, found)

    def test_show_states_its_limit(self):
        run = self.node.run("audit", "show", self.log)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("kube-apiserver's own audit log", run.stderr)
        self.assertIn(" started", run.stdout)

    def test_a_changed_line_is_named(self):
        self.kms.encrypt(SEED)
        with open(self.log, encoding="utf-8") as log:
            lines = log.readlines()
        copy = self.node.path("changed")
        lines[1] = lines[1].replace('"node":"', '"node":"x')
        with open(copy, "w", encoding="utf-8") as out:
            out.writelines(lines)
        told = self.verify(self.node, copy, code=FINDINGS)
        self.assertEqual(told["files"][0]["fault_line"], 3)

    def test_a_refused_peer_has_a_line(self):
        self.assertNotEqual(status_as(self.node.socket, STRANGER, STRANGER), "OK")
        line = self.show(self.node, "--op", "peer-refused", "--peer", str(STRANGER), self.log)[0]
        self.assertEqual((line["type"], line["peer_gid"]), ("state", STRANGER))
        self.assertIn("socket", line["reason"])

    def test_a_missing_file_is_exit_1(self):
        for command in ("verify", "show"):
            run = self.node.run("audit", command, "/nonexistent/log")
            self.assertEqual(run.returncode, 1)
            self.assertIn("/nonexistent/log", run.stderr)


class States(AuditCase):
    def ops(self, node):
        return [line.get("op", line["type"]) for line in lines_of(serve_log(node))]

    def test_start_pin_promotion_and_stop_are_recorded(self):
        node = self.ready_audited_node()
        node.rotate()
        node.hang_up()
        node.stop()
        lines = lines_of(serve_log(node))
        promoted = [line["key_id"].split(".")[1] for line in lines if line.get("op") == "promoted"]
        self.assertEqual(promoted, ["v1", "v2"])
        ops = self.ops(node)
        self.assertEqual((ops[0], ops[-1]), ("open", "stopped"))
        self.assertIn("started", ops)
        pinned, = [line["key_id"] for line in lines if line.get("op") == "pinned"]
        self.assertTrue(pinned.startswith("prod.v1."), pinned)
        self.assertIn("healthy", ops)
        self.assertTrue(self.verify(node, serve_log(node))["ok"])

    def test_a_lost_token_is_recorded_with_its_return(self):
        node = self.ready_audited_node()
        os.rename(node.token.directory, node.token.directory + ".away")
        wait_for("an unhealthy line", lambda: "unhealthy" in self.ops(node))
        os.rename(node.token.directory + ".away", node.token.directory)
        wait_for("a healthy line after it", lambda: self.ops(node)[::-1].index("healthy") <
                 self.ops(node)[::-1].index("unhealthy"))

    def test_kill_9_leaves_a_chain_that_goes_on(self):
        node = self.ready_audited_node()
        for _ in range(3):
            for _ in range(5):
                node.client().encrypt(SEED)
            node.kill()
            node.hang_up()
            node.up()
        self.assertTrue(self.verify(node, serve_log(node))["ok"])

    def test_rotated_files_join(self):
        node = self.ready_audited_node(rotate_size=1, sync="none")
        client = node.client()
        sealed = client.encrypt(SEED)
        uid = b"u" * 1000
        for _ in range(1000):  # of 1,400 bytes or more
            client.unseal(sealed, uid=uid)
        rotated, = glob.glob(serve_log(node) + ".0*")
        told = self.verify(node, serve_log(node), rotated)
        self.assertEqual([file["joined_to"] for file in told["files"]], [None, rotated])


class FullDisk(AuditCase):
    """prlimit --fsize stands for the full disk: it can be undone while the server runs."""

    def limit(self, node, size):
        subprocess.run(["prlimit", "--pid", str(node.process.pid), "--fsize=%s:" % size],
                       check=True)

    @staticmethod
    def status(node):
        return json.loads(node.run("status", "-o", "json", "--config", node.config_path).stdout)

    def full_node(self, on_error):
        node = self.ready_audited_node(on_error=on_error)
        self.sealed = node.client().encrypt(SEED)
        self.limit(node, 1024)
        return node

    def test_calls_go_on_and_the_gap_is_recorded(self):
        node = self.full_node("continue")
        client = node.client()
        for number in range(10):
            self.assertEqual(client.unseal(self.sealed, uid=b"lost-%d" % number), SEED)
        self.assertEqual(client.status().healthz, "ok")
        told = self.status(node)
        self.assertFalse(told["audit"]["ok"])
        self.assertGreaterEqual(told["audit"]["lost"], 10)
        self.assertEqual(told["attention"], ["audit log: " + told["audit"]["reason"]])
        self.limit(node, "unlimited")
        wait_for("a gap record", lambda: any(
            line["type"] == "gap" for line in lines_of(serve_log(node))))
        told = self.verify(node, serve_log(node), code=FINDINGS)
        self.assertGreaterEqual(told["lost"], 10)
        self.assertIn("audit log is written again", node.log())
        told = self.status(node)
        self.assertTrue(told["audit"]["ok"])
        self.assertEqual(told["attention"],
                         [f"audit log: {told['audit']['lost']} lines are missing"])

    def test_a_missing_directory_stops_no_start_and_is_logged(self):
        node = self.audited_node()
        node.key_create()
        node.configure(audit={"path": node.path("nowhere/log")})
        node.up()
        complaint, = [event for event in node.log_events()
                      if event["msg"] == "audit log can't be written"]
        self.assertEqual((complaint["level"], complaint["op"]), ("error", "open"))
        self.assertIn("No such file", complaint["error"])

    def test_calls_are_refused_where_that_is_asked(self):
        node = self.full_node("refuse")
        client = node.client()
        with self.refused(grpc.StatusCode.UNAVAILABLE, "audit log: ", "File too large"):
            client.unseal(self.sealed)
        self.assertIn("audit log: ", node.wait_failing(PRECONDITION))
        self.limit(node, "unlimited")
        node.wait_status()
        self.assertEqual(client.unseal(self.sealed), SEED)


class SeveralTokens(AuditCase):
    def test_a_lost_token_is_recorded_by_name_with_its_return(self):
        node = self.new_node(pins=[{"generation": 1, "fingerprint": RFC_KEK_FINGERPRINT}])
        configure(node)
        tokens = Tokens(node, "one", "two")
        tokens.import_key("prod.v1@" + PAST, "01", RFC_KEK)
        node.up()
        tokens.wait_used()
        tokens[1].take_away()
        tokens[1].wait_away()
        tokens[1].put_back()
        tokens[1].wait_used()
        told = wait_for("both lines", lambda: self.told_of(node, 2))
        self.assertEqual([(line["op"], line["token"]) for line in told],
                         [("token-lost", "two"), ("token-regained", "two")])
        self.assertTrue(told[0]["reason"])

    def told_of(self, node, count):
        told = [line for line in lines_of(serve_log(node)) if line.get("token")]
        return told if len(told) >= count else None


class Files(AuditCase):
    """Logs as other hosts leave them: verify and show read what they are given."""

    def setUp(self):
        super().setUp()
        self.node = self.new_node()

    def store(self, name, chain, *bodies):
        with open(self.node.path(name), "wb") as out:
            out.write(b"".join(chain.line(body) for body in bodies))
        return self.node.path(name)

    def three_files(self):
        chain = Chain()
        return [self.store("log.1", chain, OPEN, USE, USE),
                self.store("log.2", chain, dict(OPEN, previous_file="log.1"), USE),
                self.store("log.3", chain, dict(OPEN, previous_file="log.2"), USE)]

    def findings(self, *files):
        told = self.verify(self.node, *files, code=FINDINGS)
        return [file["finding"] for file in told["files"] if file["finding"]]

    def test_files_are_joined_in_whatever_order_they_are_named(self):
        first, second, third = self.three_files()
        told = self.verify(self.node, third, first, second)
        self.assertEqual([file["joined_to"] for file in told["files"]], [None, first, second])
        self.assertEqual(told["lines"], 7)

    def test_a_missing_file_between_is_a_finding(self):
        first, _, third = self.three_files()
        finding, = self.findings(first, third)
        self.assertIn("lines 4 to 5 are missing", finding)

    def test_a_missing_oldest_file_is_none(self):
        _, second, third = self.three_files()
        self.assertTrue(self.verify(self.node, second, third)["ok"])
        run = self.node.run("audit", "verify", second, third)
        self.assertIn("goes on from log.1", run.stdout)

    def test_a_file_that_was_shortened_and_written_on_is_a_finding(self):
        chain = Chain()
        first = self.store("log.1", chain, OPEN, USE)
        chain.prev = "00" * 32
        second = self.store("log.2", chain, dict(OPEN, previous_file="log.1"), USE)
        finding, = self.findings(first, second)
        self.assertIn("doesn't go on where", finding)

    def test_a_gap_is_a_finding(self):
        finding, = self.findings(self.store("log", Chain(), OPEN, USE, GAP, USE))
        self.assertIn("3 line(s) couldn't be written", finding)

    def test_a_gap_hides_no_missing_file(self):
        chain = Chain()
        first = self.store("log.1", chain, OPEN, USE)
        self.store("log.2", chain, dict(OPEN, previous_file="log.1"), USE)
        third = self.store("log.3", chain, dict(OPEN, previous_file="log.2"), GAP, USE)
        finding, = self.findings(first, third)
        self.assertIn("lines 3 to 4 are missing", finding)
        self.assertIn("3 line(s) couldn't be written", finding)

    def test_a_gap_hides_no_changed_file(self):
        chain = Chain()
        first = self.store("log.1", chain, OPEN, USE)
        chain.prev = "00" * 32
        second = self.store("log.2", chain, dict(OPEN, previous_file="log.1"), GAP)
        finding, = self.findings(first, second)
        self.assertIn("doesn't go on where", finding)

    def test_a_file_with_a_gap_is_joined(self):
        chain = Chain()
        first = self.store("log.1", chain, OPEN, USE)
        second = self.store("log.2", chain, dict(OPEN, previous_file="log.1"), GAP)
        told = self.verify(self.node, first, second, code=FINDINGS)
        self.assertEqual([file["joined_to"] for file in told["files"]], [None, first])

    def test_late_lines_are_told_and_are_no_finding(self):
        log = self.store("log", Chain(), OPEN, USE, LATE)
        told = self.verify(self.node, log)
        self.assertEqual((told["ok"], told["files"][0]["late"]), (True, 2))
        self.assertIn("2 line(s) were written late", self.node.run("audit", "verify", log).stdout)
        self.assertIn(" late late=2 ", self.node.run("audit", "show", log).stdout)

    def test_old_lines_without_a_login_verify(self):
        log = self.store("log", Chain(), OPEN, COMMAND)
        self.assertTrue(self.verify(self.node, log)["ok"])

    def test_a_login_that_is_none_is_a_finding(self):
        for uid in (-1, 1 << 32, "root", None, 1.5):
            with self.subTest(uid):
                log = self.store("log", Chain(), OPEN, dict(COMMAND, login_uid=uid))
                self.assertIn("login_uid is no number", self.findings(log)[0])

    def test_a_record_of_a_later_version_is_none(self):
        log = self.store("log", Chain(), OPEN, {"type": "future", "signature": "AA"}, USE)
        self.assertTrue(self.verify(self.node, log)["ok"])

    def test_an_empty_file_and_an_incomplete_line_are_findings(self):
        empty = self.store("empty", Chain())
        torn = self.store("torn", Chain(), OPEN)
        with open(torn, "ab") as log:
            log.write(b'{"chain"')
        self.assertEqual(sorted(finding[:12] for finding in self.findings(empty, torn)),
                         ["holds no lin", "line 2 has n"])

    def test_show_merges_by_time(self):
        logs = [self.store(name, Chain(name), OPEN, *(dict(
            USE, uid=name, ts="2026-12-01T12:%02d:00.000Z" % minute) for minute in minutes))
                for name, minutes in (("a", (1, 4)), ("b", (2, 3)))]
        uids = [line["uid"] for line in self.show(self.node, "--op", "Decrypt", *logs)]
        self.assertEqual(uids, ["a", "b", "b", "a"])

    def test_show_tells_gaps_whatever_is_asked_for(self):
        log = self.store("log", Chain(), OPEN, USE, GAP)
        lines = self.show(self.node, "--key", "prod.v9", log)
        self.assertEqual([line["type"] for line in lines], ["gap"])

    def test_the_logs_own_records_go_by_their_type(self):
        cut = {"type": "cut", "file": "log.cut.000000000003", "bytes": 7, "sha256": 64 * "0"}
        log = self.store("log", Chain(), OPEN, USE, cut)
        line, = self.show(self.node, "--op", "cut", log)
        self.assertEqual((line["file"], line["log"]), (cut["file"], str(log)))

    def test_show_says_where_it_had_to_stop(self):
        log = self.store("log", Chain(), OPEN, USE)
        with open(log, "ab") as out:
            out.write(b"\x1b[31mred\n")
        run = self.node.run("audit", "show", "-o", "json", log)
        self.assertEqual(run.returncode, FINDINGS)
        self.assertIn("line 3", run.stderr)
        self.assertFalse(json.loads(run.stdout)["complete"])

    def test_hostile_texts_reach_no_terminal(self):
        log = self.store("log", Chain(), OPEN, dict(USE, uid="\x1b[31m", op="\u202ered"))
        for command in ("show", "verify"):
            run = self.node.run("audit", command, log)
            self.assertNotIn("\x1b", run.stdout + run.stderr)
            self.assertNotIn("\u202e", run.stdout + run.stderr)


class Commands(AuditCase):
    def phases(self, node):
        return [(line["op"], line["phase"], line.get("outcome"), line.get("generation"))
                for line in lines_of(admin_log(node)) if line["type"] == "command"]

    def test_a_key_command_has_a_line_before_and_after(self):
        node = self.audited_node()
        created = node.key_create()
        self.assertEqual(self.phases(node), [("key-create", "begin", None, 1),
                                             ("key-create", "done", "created", 1)])
        self.assertEqual(lines_of(admin_log(node))[-1]["key_id"], created["key_id"])
        self.assertTrue(self.verify(node, admin_log(node))["ok"])

    def test_journald_gets_each_field_under_its_name(self):
        node = self.audited_node(sinks=["journald"])
        done = subprocess.run(
            ["unshare", "-m", "sh", "-ec", "mount -t tmpfs tmpfs /run; exec \"$@\"", "sh",
             sys.executable, "-c", JOURNAL_SCRIPT, node.binary, "key", "create", "--config",
             node.config_path], env=node.environment(), capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        *_, last = lines_of(admin_log(node))
        entry, = [entry for entry in done.stdout.split("\n\n") if '"phase":"done"' in entry]
        fields = dict(field.split("=", 1) for field in entry.splitlines() if "=" in field)
        self.assertEqual(json.loads(fields["MESSAGE"]), last)
        self.assertEqual(fields["SYSLOG_IDENTIFIER"], "hsm-kms-audit")
        self.assertEqual(fields["PRIORITY"], "5")
        for name, value in last.items():
            self.assertEqual(fields["HSM_KMS_" + name.upper()], str(value))

    def test_lifecycle_commands_are_recorded(self):
        node = self.ready_audited_node()
        node.rotate()
        for command in ("disable", "enable"):
            run = node.run("key", command, "--config", node.config_path, "1")
            self.assertEqual(run.returncode, 0, run.stderr)
        ops = [phase[0] for phase in self.phases(node)]
        self.assertEqual(ops[-4:], ["key-disable", "key-disable", "key-enable", "key-enable"])
        self.assertTrue(self.verify(node, admin_log(node), serve_log(node))["ok"])

    def test_a_command_says_who_is_behind_it(self):
        node = self.audited_node()
        run = node.run("key", "create", "--config", node.config_path, env={"SUDO_UID": "4711"})
        self.assertEqual(run.returncode, 0, run.stderr)
        with open("/proc/self/loginuid", encoding="ascii") as login:
            login_uid = int(login.read())
        for line in lines_of(admin_log(node))[1:]:
            self.assertEqual((line["started_uid"], line["claimed_uid"]), (os.getuid(), 4711))
            self.assertEqual(line.get("login_uid", NO_LOGIN), login_uid)
        told = self.show(node, "--peer", str(os.getuid()), admin_log(node))
        self.assertEqual([line["phase"] for line in told], ["begin", "done"])
        self.assertEqual(self.show(node, "--peer", "4711", admin_log(node)), [])
        text = node.run("audit", "show", admin_log(node)).stdout
        self.assertIn(" started=%d claimed=4711" % os.getuid(), text)

    def test_what_is_no_uid_is_not_claimed(self):
        node = self.audited_node()
        for claim in ("", "-1", "1 2", "4294967295", "99999999999", "root"):
            run = node.run("key", "transport-key", "--config", node.config_path,
                           env={"SUDO_UID": claim})
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertNotIn("claimed_uid", lines_of(admin_log(node))[-1])

    def test_who_started_a_command_is_known_after_it_became_another(self):
        node = self.audited_node()
        for path in (node.state_dir, node.path("audit"), node.token.directory):
            os.makedirs(path, 0o700, exist_ok=True)
            subprocess.run(["chown", "-R", "%d:%d" % (STRANGER, STRANGER), path], check=True)
        run = node.run("pin", "check", "--config", node.config_path)
        self.assertEqual(run.returncode, 0, run.stderr)
        line = lines_of(admin_log(node))[-1]
        self.assertEqual((line["peer_uid"], line["started_uid"]), (STRANGER, os.getuid()))

    def test_a_transport_key_is_recorded(self):
        node = self.audited_node()
        for outcome in ("created", "there"):
            run = node.run("key", "transport-key", "--config", node.config_path)
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertEqual(self.phases(node)[-1],
                             ("key-transport-key", "done", outcome, None))

    def test_a_refusal_is_recorded(self):
        node = self.ready_audited_node()
        run = node.run("key", "destroy", "--config", node.config_path, "1")
        self.assertEqual(run.returncode, REFUSED)
        self.assertEqual(self.phases(node)[-1][:3], ("key-destroy", "done", "refused"))

    def test_a_tried_pin_is_recorded(self):
        node = self.audited_node()
        run = node.run("pin", "check", "--config", node.config_path)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(self.phases(node)[-2:], [("pin-check", "begin", None, None),
                                                  ("pin-check", "done", "good", None)])
        self.assertTrue(lines_of(admin_log(node))[-1]["token"])

    def test_no_attempt_is_spent_if_its_line_cannot_be_written(self):
        node = self.audited_node()
        os.mkdir(admin_log(node))
        run = node.run("pin", "check", "--config", node.config_path)
        self.assertEqual(run.returncode, REFUSED, run.stderr)
        self.assertIn("refused: audit log: ", run.stderr)

    def test_no_pair_is_made_if_its_line_cannot_be_written(self):
        node = self.audited_node()
        os.mkdir(admin_log(node))
        for command in (("audit", "key", "--make"), ("key", "transport-key")):
            with self.subTest(command):
                run = node.run(*command, "--config", node.config_path)
                self.assertEqual(run.returncode, REFUSED, run.stderr)
                self.assertIn("refused: audit log: ", run.stderr)
                self.assertIn("Is a directory", run.stderr)
        shown = node.run("audit", "key", "--config", node.config_path)
        self.assertEqual(shown.returncode, FINDINGS, shown.stdout)

    def test_lock_files_that_a_pattern_names_are_left_aside(self):
        node = self.audited_node()
        node.key_create()
        names = [admin_log(node), admin_log(node) + ".lock"]
        told = self.verify(node, *names)
        self.assertEqual((told["locks"], [file["file"] for file in told["files"]]), (1, names[:1]))
        with open(names[1], "w", encoding="ascii") as lock:
            lock.write("{}\n")
        self.assertEqual(self.verify(node, *names, code=2)["locks"], 0)

    def test_what_changes_nothing_is_not_recorded(self):
        node = self.audited_node()
        node.key_create("--dry-run")
        node.key_list()
        node.run("pin", "check", "--dry-run", "--config", node.config_path)
        node.run("audit", "key", "--make", "--dry-run", "--config", node.config_path)
        self.assertFalse(os.path.exists(admin_log(node)))

    def test_a_command_refuses_if_its_line_cannot_be_written(self):
        node = self.audited_node()
        os.mkdir(admin_log(node))
        run = node.run("key", "create", "--config", node.config_path)
        self.assertEqual(run.returncode, REFUSED, run.stderr)
        self.assertIn("refused: audit log: ", run.stderr)
        self.assertEqual(node.token.labels(), [])

    def test_an_act_refuses_if_its_line_cannot_be_written(self):
        node = self.ready_audited_node()
        node.rotate()
        os.rename(admin_log(node), admin_log(node) + ".away")
        os.mkdir(admin_log(node))
        run = node.run("key", "disable", "--config", node.config_path, "1")
        self.assertEqual(run.returncode, REFUSED, run.stderr)
        self.assertIn("refused: audit log: ", run.stderr)

    def test_a_command_refuses_while_another_process_holds_its_log(self):
        node = self.audited_node()
        with open(admin_log(node) + ".lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            run = node.run("key", "create", "--config", node.config_path)
        self.assertEqual(run.returncode, REFUSED, run.stderr)
        self.assertIn("another process writes it", run.stderr)
        self.assertEqual(node.token.labels(), [])

    def test_commands_wait_for_each_other(self):
        node = self.ready_audited_node()
        node.rotate()
        runs = [subprocess.Popen([node.binary, "key", "disable", "--config", node.config_path, "1"],
                                 env=node.environment(), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for _ in range(4)]
        for run in runs:
            run.wait(timeout=120)
        told = self.verify(node, admin_log(node))
        self.assertEqual(told["lines"], 1 + 2 * (2 + 4))


if __name__ == "__main__":
    unittest.main()
