# SPDX-License-Identifier: Apache-2.0
"""Audit logs that a token signs, and those that only a recipient can read."""

import base64
import datetime
import glob
import json
import os
import subprocess
import unittest

from kms_audit import OPEN, USE, AuditCase, Chain, admin_log, configure, lines_of, serve_log
from kms_node import wait_for

SEED = bytes(range(32))
FINDINGS = 2


class Checkpoints(AuditCase):
    def audit_key(self, node, *flags, code=0):
        run = node.run("audit", "key", "-o", "json", "--config", node.config_path, *flags)
        self.assertEqual(run.returncode, code, run.stderr)
        return json.loads(run.stdout)

    def signing_node(self):
        """A node with an audit key, whose public key is in node.audit_pem."""
        node = self.audited_node()
        node.key_create()
        node.audit_pem = node.path("audit.pem")
        self.audit_key(node, "--make", "--export", node.audit_pem)
        return node

    def stopped(self, node):
        """Its logs, signed at the stop."""
        node.up()
        for _ in range(10):
            node.client().encrypt(SEED)
        node.hang_up()
        node.stop()
        return serve_log(node)

    def verify_signed(self, node, *files, code=0):
        return self.verify(node, "--checkpoint-key", node.audit_pem, *files, code=code)

    def test_the_key_is_made_once(self):
        node = self.audited_node()
        self.assertIsNone(self.audit_key(node, code=FINDINGS)["public_key"])
        self.assertFalse(self.audit_key(node, "--make", "--dry-run")["changed"])
        made = self.audit_key(node, "--make")
        self.assertEqual((made["changed"], made["label"], made["alg"]),
                         (True, "prod.audit", "ecdsa-p256-sha256"))
        again = self.audit_key(node, "--make")
        self.assertEqual((again["changed"], again["sha256"]), (False, made["sha256"]))
        self.assertEqual(self.audit_key(node)["public_key"], made["public_key"])
        self.assertRegex(made["public_key"], "^-----BEGIN PUBLIC KEY-----\n[^-]+-----END PUBLIC KEY"
                                             "-----\n$")
        self.assertEqual([(line["op"], line["phase"], line.get("outcome"))
                          for line in lines_of(admin_log(node)) if line["type"] == "command"],
                         [("audit-key", "begin", None), ("audit-key", "done", "created")])

    def test_a_log_is_vouched_for_to_its_last_checkpoint(self):
        node = self.signing_node()
        log = self.stopped(node)
        last = lines_of(log)[-1]
        self.assertEqual((last["type"], last["signed_seq"]), ("checkpoint", last["seq"] - 1))
        told = self.verify_signed(node, log, admin_log(node))
        self.assertEqual({file["writer"]: file["last"] - file["vouched_to"]
                          for file in told["files"]}, {"serve": 1, "admin": 1})
        run = node.run("audit", "verify", "--checkpoint-key", node.audit_pem, log)
        self.assertIn("signed up to line number %d" % last["signed_seq"], run.stdout)

    def test_openssl_alone_can_check_a_checkpoint(self):
        node = self.signing_node()
        line = lines_of(self.stopped(node))[-1]
        with open(node.path("text"), "w", encoding="utf-8") as out:
            out.write("hsm-kms audit checkpoint v1\n%s\n%d\n%s\n" % (
                line["chain"], line["signed_seq"], line["signed_sha256"]))
        with open(node.path("signature"), "wb") as out:
            out.write(base64.b64decode(line["signature"]))
        subprocess.run(["openssl", "dgst", "-sha256", "-verify", node.audit_pem, "-signature",
                        node.path("signature"), node.path("text")], check=True,
                       stdout=subprocess.DEVNULL)

    def test_a_rotated_file_is_vouched_for_by_the_next(self):
        node = self.signing_node()
        node.configure(audit={"path": node.audit_path, "rotate_size": 1, "sync": "none"})
        node.up()
        client = node.client()
        sealed = client.encrypt(SEED)
        for _ in range(800):  # of 1,400 bytes or more
            client.unseal(sealed, uid=b"u" * 1000)
        rotated, = glob.glob(serve_log(node) + ".0*")
        wait_for("a checkpoint in the new file", lambda: any(
            line["type"] == "checkpoint" for line in lines_of(serve_log(node))))
        told = self.verify_signed(node, serve_log(node), rotated)
        self.assertEqual(told["files"][0]["vouched_to"], told["files"][0]["last"])

    def test_a_chain_that_was_written_anew_is_a_finding(self):
        node = self.signing_node()
        self.stopped(node)
        chain = Chain()
        forged = node.path("forged")
        with open(forged, "wb") as out:
            out.write(chain.line(OPEN) + chain.line(USE))
        finding = self.verify_signed(node, forged, code=FINDINGS)["files"][0]["finding"]
        self.assertIn("no checkpoint vouches", finding)

    def test_a_log_that_is_younger_than_a_minute_needs_no_checkpoint_yet(self):
        node = self.signing_node()  # nothing signs while no plugin runs
        file, = self.verify_signed(node, admin_log(node))["files"]
        self.assertEqual((file["finding"], file["vouched_to"], file["no_checkpoint_yet"]),
                         (None, None, True))
        run = node.run("audit", "verify", "--checkpoint-key", node.audit_pem, admin_log(node))
        self.assertIn("no checkpoint yet: one comes within a minute", run.stdout)

    def test_a_log_of_two_minutes_needs_one(self):
        node = self.signing_node()
        then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=2)
        chain, forged = Chain(), node.path("forged")
        with open(forged, "wb") as out:
            out.write(chain.line(OPEN | {"ts": then.strftime("%Y-%m-%dT%H:%M:%S.000Z")}))
        file, = self.verify_signed(node, forged, code=FINDINGS)["files"]
        self.assertIn("no checkpoint vouches", file["finding"])
        self.assertFalse(file["no_checkpoint_yet"])

    def test_a_log_that_was_changed_before_a_true_checkpoint_is_a_finding(self):
        node = self.signing_node()
        *lines, checkpoint = lines_of(self.stopped(node))
        chain = Chain()
        chain.id = checkpoint["chain"]
        forged = node.path("forged")
        with open(forged, "wb") as out:
            for line in [*lines, checkpoint]:
                body = {key: line[key] for key in line if key not in ("chain", "seq", "prev")}
                body["node"] = "elsewhere"
                out.write(chain.line(body))
        self.assertTrue(self.verify(node, forged)["ok"])  # the chain alone is whole
        finding = self.verify_signed(node, forged, code=FINDINGS)["files"][0]["finding"]
        self.assertIn("isn't the line that was signed", finding)

    def test_a_wrong_signature_and_a_foreign_key_are_findings(self):
        node = self.signing_node()
        key = self.audit_key(node)["sha256"]
        for sha256, text in ((key, "a wrong signature"), ("00" * 32, "of another key")):
            chain = Chain()
            first = chain.line(OPEN)
            record = {"type": "checkpoint", "signed_seq": 1, "signed_sha256": chain.prev,
                      "key_sha256": sha256, "alg": "ecdsa-p256-sha256", "signature": "MAYCAQECAQE="}
            with open(node.path("forged"), "wb") as out:
                out.write(first + chain.line(record))
            told = self.verify_signed(node, node.path("forged"), code=FINDINGS)
            self.assertIn("line 2 is a checkpoint", told["files"][0]["finding"])
            self.assertIn(text, told["files"][0]["finding"])

    def test_without_a_key_that_is_logged_once_and_nothing_is_signed(self):
        node = self.ready_audited_node()
        wait_for("a complaint", lambda: "audit checkpoints are not signed" in node.log())
        node.hang_up()
        node.stop()
        complaint, = [event for event in node.log_events()
                      if event["msg"] == "audit checkpoints are not signed"]
        self.assertIn("hsm-kms audit key --make", complaint["error"])
        self.assertNotIn("checkpoint", [line["type"] for line in lines_of(serve_log(node))])

    def test_a_file_that_is_no_public_key_is_exit_1(self):
        node = self.audited_node()
        run = node.run("audit", "verify", "--checkpoint-key", node.config_path, "/dev/null")
        self.assertEqual(run.returncode, 1)
        self.assertIn("no public key in PEM", run.stderr)


class Sealed(AuditCase):
    def sealed_node(self):
        node = self.new_node()
        self.key, cert = node.path("recipient.key"), node.path("recipient.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout",
                        self.key, "-out", cert, "-days", "2", "-subj", "/CN=auditor"],
                       check=True, stderr=subprocess.DEVNULL)
        configure(node, encrypt=cert)
        node.make_token()
        node.key_create()
        return node

    def test_the_recipient_alone_reads_who_used_which_key(self):
        node = self.sealed_node().up()
        node.client().encrypt(SEED, uid=b"hidden")
        node.hang_up()
        node.stop()
        with open(serve_log(node), "rb") as log:
            self.assertNotIn(b"hidden", log.read())
        lines = self.show(node, "--recipient-key", self.key, "--op", "Encrypt", serve_log(node))
        self.assertEqual([(line["uid"], line["peer_uid"]) for line in lines],
                         [("hidden", os.getuid())])
        self.assertEqual({line["type"] for line in self.show(node, serve_log(node))},
                         {"open", "key", "sealed"})
        self.assertTrue(self.verify(node, serve_log(node), admin_log(node))["ok"])

    def test_a_command_s_lines_are_sealed_too(self):
        node = self.sealed_node()
        self.assertNotIn("command", [line["type"] for line in lines_of(admin_log(node))])
        lines = self.show(node, "--recipient-key", self.key, "--op", "key-create", admin_log(node))
        self.assertEqual([line["phase"] for line in lines], ["begin", "done"])

    def test_without_the_certificate_there_is_no_start_and_no_key_command(self):
        node = self.audited_node(encrypt="/nonexistent/recipient.pem")
        for command in (("serve",), ("key", "create")):
            run = node.run(*command, "--config", node.config_path)
            self.assertNotEqual(run.returncode, 0)
            self.assertIn("audit.encrypt: /nonexistent/recipient.pem", run.stderr)


if __name__ == "__main__":
    unittest.main()
