# SPDX-License-Identifier: Apache-2.0
"""Keys that come to a token and leave it: transport-key, wrap, import, escrow."""

import datetime
import hashlib
import json
import os
import subprocess
import time
import unittest

import kms_killer as killer
from kms_case import Case
from kms_token import RFC_KEK

ERROR, REFUSED_FOR_SAFETY = 1, 3


def read(path):
    with open(path, "rb") as content:
        return content.read()


class Transport(Case):
    """A token without a KEK, a custodian with a raw key."""

    def setUp(self):
        super().setUp()
        self.node = self.new_node().make_token()
        self.pem = self.node.path("transport.pem")
        self.wrapped = self.node.path("wrapped.bin")
        self.raw = self.write_raw("raw.key", RFC_KEK)

    def write_raw(self, name, value, mode=0o600):
        path = self.node.path(name)
        with open(path, "wb") as out:
            out.write(value)
            os.fchmod(out.fileno(), mode)
        return path

    def key(self, *words, node=None, exit_code=0):
        """Runs a key command, and returns what it says: JSON, or the error's text."""
        node = node or self.node
        done = node.run("key", *words, "--config", node.config_path, "-o", "json")
        self.assertEqual(done.returncode, exit_code, done.stdout + done.stderr)
        return json.loads(done.stdout) if exit_code == 0 else done.stderr

    def transport_key(self, *flags):
        return self.key("transport-key", "--out", self.pem, *flags)

    def wrap(self, *flags, exit_code=0, raw=None):
        """As a custodian: no configuration, no token."""
        done = self.node.run("key", "wrap", "--transport", self.pem, "--in", raw or self.raw,
                             "--out", self.wrapped, "-o", "json", *flags,
                             env={"SOFTHSM2_CONF": "/nowhere"})
        self.assertEqual(done.returncode, exit_code, done.stdout + done.stderr)
        return json.loads(done.stdout) if exit_code == 0 else done.stderr

    def bring(self):
        """The fingerprint of the key in self.wrapped, which this makes: by the hash that the
        public key's file names."""
        self.transport_key()
        return self.wrap()["fingerprint"]

    def import_key(self, fingerprint, *flags, **options):
        return self.key("import", "--wrapped", self.wrapped, "--expect-fingerprint", fingerprint,
                        *flags, **options)


class TransportKey(Transport):
    def test_the_public_key_is_the_same_each_time(self):
        made, again = self.transport_key(), self.transport_key()
        self.assertTrue(made["changed"])
        self.assertFalse(again["changed"])
        self.assertEqual(made["public_key"], again["public_key"])
        self.assertEqual(read(self.pem).decode(), made["public_key"])
        self.assertEqual(os.stat(self.pem).st_mode & 0o777, 0o600)

    def test_its_sha256_is_that_of_the_der(self):
        made = self.transport_key()
        der = subprocess.run(["openssl", "pkey", "-pubin", "-in", self.pem, "-outform", "DER"],
                             capture_output=True, check=True).stdout
        self.assertEqual(made["sha256"], hashlib.sha256(der).hexdigest())

    def test_a_dry_run_makes_neither_key_nor_file(self):
        planned = self.transport_key("--dry-run")
        self.assertFalse(planned["changed"])
        self.assertIsNone(planned["public_key"])
        self.assertFalse(os.path.exists(self.pem))
        self.assertTrue(self.transport_key()["changed"])

    def test_a_module_that_takes_only_sha1_is_said_to(self):
        made = self.transport_key()
        done = self.node.run("key", "transport-key", "--config", self.node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(made["oaep_hash"], done.stdout)
        self.assertEqual(made["oaep_hash"] == "sha1", "SHA-1 only" in done.stderr)
        self.assertIn("oaep-hash: %s\n-----BEGIN" % made["oaep_hash"], done.stdout)
        self.assertTrue(done.stdout.splitlines()[-1].startswith("next: "))

    def test_out_never_takes_the_place_of_a_device(self):
        text = self.key("transport-key", "--out", "/dev/null", exit_code=ERROR)
        self.assertIn("not a regular file", text)
        self.assertFalse(os.path.isfile("/dev/null"))


class Wrap(Transport):
    def setUp(self):
        super().setUp()
        self.sha256 = self.transport_key()["sha256"]

    def test_the_fingerprint_is_that_of_the_documents(self):
        kw = bytes.fromhex("9d59a37da8b916b979bea2207b35f02e3f9f5ac48a3780c5ed52904c6a81f444"
                           "25fa6bd74614cd42")  # KW(C) under the KEK of RFC 3394, as measured
        expected = hashlib.sha256(b"hsm-kms kek fingerprint v1" + kw).hexdigest()
        self.assertEqual(self.wrap()["fingerprint"], expected)

    def test_a_raw_key_that_others_can_read_is_refused(self):
        for mode in (0o640, 0o604, 0o660):
            raw = self.write_raw("open.key", RFC_KEK, mode)
            self.assertIn("open to others", self.wrap(exit_code=ERROR, raw=raw))
        self.assertFalse(os.path.exists(self.wrapped))

    def test_only_exactly_32_bytes_are_a_key(self):
        for value in (b"", RFC_KEK[:16], RFC_KEK[:31], RFC_KEK + b"\n", RFC_KEK.hex().encode()):
            raw = self.write_raw("odd.key", value)
            self.assertIn("exactly 32 bytes", self.wrap(exit_code=ERROR, raw=raw))

    def test_another_public_key_than_expected_is_refused(self):
        self.wrap("--expect-transport", self.sha256)
        os.unlink(self.wrapped)
        text = self.wrap("--expect-transport", "0" * 64, exit_code=REFUSED_FOR_SAFETY)
        self.assertIn(self.sha256, text)
        self.assertFalse(os.path.exists(self.wrapped))

    def test_the_raw_key_is_not_overwritten(self):
        self.wrapped = self.raw
        self.assertIn("overwrite", self.wrap(exit_code=ERROR))
        self.assertEqual(read(self.raw), RFC_KEK)

    def test_a_dry_run_writes_nothing(self):
        self.assertFalse(self.wrap("--dry-run")["changed"])
        self.assertFalse(os.path.exists(self.wrapped))

    def set_hash(self, name):
        """In the line above the PEM; None: no such line."""
        text = read(self.pem).decode()
        line = "" if name is None else "# hsm-kms transport-key, ring: prod, oaep-hash: %s\n" % name
        with open(self.pem, "w", encoding="ascii") as out:
            out.write(line + text[text.index("-----BEGIN"):])

    def test_the_hash_is_what_the_public_keys_file_says(self):
        for name in ("sha1", "sha256"):
            self.set_hash(name)
            self.assertEqual(self.wrap()["oaep_hash"], name)

    def test_the_hash_is_sha256_where_the_file_does_not_say(self):
        self.set_hash(None)
        self.assertEqual(self.wrap()["oaep_hash"], "sha256")

    def test_the_hash_on_the_command_line_comes_first(self):
        self.set_hash("sha1")
        self.assertEqual(self.wrap("--hash", "sha256")["oaep_hash"], "sha256")

    def test_a_hash_that_nobody_knows_is_an_error(self):
        self.set_hash("sha3-256")
        self.assertIn("--hash", self.wrap(exit_code=ERROR))
        self.assertFalse(os.path.exists(self.wrapped))

    def test_sha1_is_noted(self):
        for name in ("sha1", "sha256"):
            self.set_hash(name)
            done = self.node.run("key", "wrap", "--transport", self.pem, "--in", self.raw, "--out",
                                 self.wrapped)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual("SHA-1" in done.stderr, name == "sha1")

    def test_a_private_key_or_rubbish_is_no_transport_key(self):
        with open(self.pem, "wb") as out:
            subprocess.run(["openssl", "genrsa", "2048"], stdout=out, stderr=subprocess.DEVNULL,
                           check=True)
        self.assertIn("no RSA public key", self.wrap(exit_code=ERROR))


class Import(Transport):
    def test_an_imported_key_serves_once_it_is_pinned(self):
        fingerprint = self.bring()
        made = self.import_key(fingerprint)
        self.assertTrue(made["changed"])
        self.assertEqual((made["generation"], made["fingerprint"]), (1, fingerprint))
        self.node.configure(pins=[{"generation": 1, "fingerprint": fingerprint}])
        self.node.up()
        seed = os.urandom(32)
        answer = self.node.client().encrypt(seed)
        self.assertEqual(answer.key_id, made["key_id"])
        self.assertEqual(self.node.client().unseal(answer), seed)
        self.assertEqual(unwrap_by_openssl(answer.ciphertext), seed)

    def test_an_imported_key_serves_once_it_is_accepted(self):
        self.node.key_create()
        self.node.up()
        made = self.import_key(self.bring(), "--activate", "now", "--force")
        self.key("accept", "--generation", "2", "--fingerprint", made["fingerprint"])
        self.assertEqual(self.node.wait_generation(2).key_id, made["key_id"])
        answer = self.node.client().encrypt(RFC_KEK)
        self.assertEqual(unwrap_by_openssl(answer.ciphertext), RFC_KEK)

    def test_an_imported_key_is_not_used_unasked(self):
        self.node.key_create()
        self.node.up()
        made = self.import_key(self.bring(), "--activate", "now", "--force")
        self.assertEqual(made["generation"], 2)
        kek = self.node.key_list()[1]
        self.assertEqual(kek["state"], "refused")
        self.assertNotIn("local", kek["attributes"])

    def test_a_rerun_finds_it_and_changes_nothing(self):
        fingerprint = self.bring()
        self.import_key(fingerprint)
        before = self.node.token.labels()
        again = self.import_key(fingerprint)
        self.assertFalse(again["changed"])
        self.assertEqual(again["generation"], 1)
        self.assertEqual(self.node.token.labels(), before)

    def test_a_wrong_fingerprint_leaves_no_key(self):
        fingerprint = self.bring()
        text = self.import_key("0" * 64, exit_code=REFUSED_FOR_SAFETY)
        self.assertIn(fingerprint, text)
        self.assertEqual(self.node.token.labels(), [])

    def test_a_damaged_file_leaves_no_key(self):
        fingerprint = self.bring()
        content = bytearray(read(self.wrapped))
        content[77] ^= 4
        with open(self.wrapped, "wb") as out:
            out.write(content)
        self.assertIn("doesn't unwrap", self.import_key(fingerprint, exit_code=ERROR))
        self.assertEqual(self.node.token.labels(), [])

    def test_a_hash_that_the_module_lacks_is_named(self):
        made = self.transport_key()
        if made["oaep_hash"] == "sha256":
            self.assertEqual(self.import_key(self.wrap()["fingerprint"])["changed"], True)
            return
        fingerprint = self.wrap("--hash", "sha256")["fingerprint"]
        self.assertIn("--hash", self.import_key(fingerprint, exit_code=ERROR))

    def test_a_dry_run_proves_the_key_and_keeps_nothing(self):
        fingerprint = self.bring()
        planned = self.import_key(fingerprint, "--dry-run")
        self.assertEqual((planned["outcome"], planned["changed"]), ("planned", False))
        self.assertEqual(planned["generation"], 1)
        self.import_key("0" * 64, "--dry-run", exit_code=REFUSED_FOR_SAFETY)
        self.assertEqual(self.node.token.labels(), [])

    def test_without_a_transport_key_it_says_what_to_do(self):
        self.bring()
        other = self.new_node().make_token()
        text = self.import_key("0" * 64, node=other, exit_code=ERROR)
        self.assertIn("key transport-key", text)

    def test_a_key_wrapped_for_another_token_is_refused(self):
        fingerprint = self.bring()
        other = self.new_node().make_token()
        self.key("transport-key", node=other)
        text = self.import_key(fingerprint, node=other, exit_code=ERROR)
        self.assertIn("another public key", text)

    def test_a_generation_that_waits_comes_first(self):
        self.node.key_create()
        self.node.up()
        self.node.key_create("--activate", "+1h")
        text = self.import_key(self.bring(), exit_code=REFUSED_FOR_SAFETY)
        self.assertIn("generation 2", text)

    def test_an_early_activation_needs_force(self):
        self.node.key_create()
        self.node.up()
        fingerprint = self.bring()
        text = self.import_key(fingerprint, "--activate", "now", exit_code=REFUSED_FOR_SAFETY)
        self.assertIn("--force", text)
        self.assertTrue(self.import_key(fingerprint, "--activate", "now", "--force")["changed"])

    def test_by_default_there_is_a_day_to_accept_it_on_every_node(self):
        self.node.key_create()
        self.node.up()
        fingerprint = self.bring()
        begun = time.time()
        made = self.import_key(fingerprint)
        activation = datetime.datetime.strptime(made["activation"], "%Y-%m-%dT%H:%M:%S%z")
        self.assertGreaterEqual(activation.timestamp(), int(begun) + 86400)
        done = self.node.run("key", "import", "--wrapped", self.wrapped, "--expect-fingerprint",
                             fingerprint, "--config", self.node.config_path)
        self.assertIn("on every node, before " + made["activation"], done.stdout.splitlines()[-1])

    def test_the_first_key_is_active_at_once(self):
        made = self.import_key(self.bring())
        activation = datetime.datetime.strptime(made["activation"], "%Y-%m-%dT%H:%M:%S%z")
        self.assertLessEqual(activation.timestamp(), time.time())

    def test_a_key_that_was_in_use_is_reverted_to_instead(self):
        fingerprint = self.bring()
        self.import_key(fingerprint)
        self.node.configure(pins=[{"generation": 1, "fingerprint": fingerprint}])
        self.node.up()
        self.node.rotate()
        text = self.import_key(fingerprint, exit_code=REFUSED_FOR_SAFETY)
        self.assertIn("revert --to 1", text)

    def test_a_damaged_ring_json_is_refused(self):
        fingerprint = self.bring()
        self.node.key_create()
        self.node.up()
        self.assertEqual(self.node.stop(), 0)
        self.node.hang_up()
        with open(self.node.ring_json, "w", encoding="ascii") as out:
            out.write("{")
        self.assertIn("--force", self.import_key(fingerprint, exit_code=REFUSED_FOR_SAFETY))
        self.assertEqual(len(self.node.token.labels()), 1)

    def test_the_key_is_in_no_output_and_no_file_of_the_token(self):
        fingerprint = self.bring()
        self.import_key(fingerprint)
        done = self.node.run("key", "list", "--config", self.node.config_path, "-o", "json")
        for text in (done.stdout.encode(), read(self.wrapped), *self.node.token.objects().values()):
            self.assertNotIn(RFC_KEK, text)
            self.assertNotIn(RFC_KEK.hex().encode(), text)


class TwoTokens(Transport):
    """self.node has the KEK; self.other is the disaster-recovery token."""

    def setUp(self):
        super().setUp()
        self.other = self.new_node().make_token()
        self.recipient = self.key("transport-key", "--out", self.pem, node=self.other)
        self.out = self.node.path("kek.escrow")
        os.mkdir(self.node.state_dir, 0o700)  # commit keeps the backup's reference there

    def export(self, *flags, out=None, **options):
        return self.key("escrow", "export", "--escrow-to", self.pem, "--expect-recipient",
                        self.recipient["sha256"], "--out", out or self.out, *flags, **options)

    def bring_back(self, *flags, **options):
        return self.key("escrow", "import", "--in", self.out, *flags, node=self.other, **options)

    def commit(self, exported):
        return self.key("commit", exported["label"].rsplit(".", 1)[1], "--backup-ref", "DR token")


class Escrow(TwoTokens):
    def test_what_one_token_wraps_the_other_unwraps_under_the_same_key_id(self):
        exported = self.export()
        fingerprint = exported["fingerprint"]
        self.assertEqual(self.bring_back("--expect-fingerprint", fingerprint)["fingerprint"],
                         fingerprint)
        label = self.commit(exported)["label"]
        self.assertEqual(self.bring_back("--label-like", label)["label"], label)
        self.assertEqual(self.other.token.labels(), [label])
        self.other.configure(pins=[{"generation": 1, "fingerprint": fingerprint}])
        self.node.up()
        self.other.up()
        for writer, reader in ((self.node, self.other), (self.other, self.node)):
            seed = os.urandom(32)
            answer = writer.client().encrypt(seed)
            self.assertEqual(answer.key_id, reader.client().status().key_id)
            self.assertEqual(reader.client().unseal(answer), seed)

    def test_an_exported_key_cannot_leave_its_token_again(self):
        exported = self.export()
        self.assertNotIn("extractable", exported["attributes"])
        generation = self.commit(exported)["generation"]
        described = self.key("describe", str(generation))
        self.assertEqual(described["generation"], generation)
        self.assertIs(described["asserted_by_token"]["CKA_NEVER_EXTRACTABLE"], False)
        self.assertIn("key escrow export", described["could_leave_because"])
        listed, = self.node.key_list()
        self.assertNotIn("extractable", listed["attributes"])
        self.assertIn("local", listed["attributes"])
        self.node.up()

    def test_a_rerun_reports_the_key_that_is_exported(self):
        exported, content = self.export(), read(self.out)
        again = self.export()
        self.assertFalse(again["changed"])
        self.assertEqual(again["label"], exported["label"])
        self.assertEqual(read(self.out), content)
        self.commit(exported)
        self.assertEqual(self.export()["outcome"], "committed")
        self.assertEqual(read(self.out), content)
        self.assertEqual(len(self.node.token.labels()), 1)

    def test_json_names_recipient_and_hash(self):
        for said in (self.export(), self.export()):
            self.assertEqual((said["recipient"], said["oaep_hash"]),
                             (self.recipient["sha256"], self.recipient["oaep_hash"]))

    def test_the_file_is_private_and_says_whose_key_it_holds(self):
        exported = self.export()
        self.assertEqual(os.stat(self.out).st_mode & 0o777, 0o600)
        held = json.loads(read(self.out))
        self.assertEqual((held["version"], held["ring"], held["fingerprint"], held["recipient"]),
                         (1, "prod", exported["fingerprint"], self.recipient["sha256"]))
        self.assertEqual(exported["label"], "prod.pending." + held["id"])

    def test_another_recipient_than_expected_is_refused(self):
        self.recipient["sha256"] = "0" * 64
        self.assertIn("refused", self.export(exit_code=REFUSED_FOR_SAFETY))
        self.assertEqual(self.node.token.labels(), [])

    def test_a_dry_run_makes_neither_key_nor_file(self):
        self.assertEqual(self.export("--dry-run")["outcome"], "planned")
        self.assertEqual(self.node.token.labels(), [])
        self.assertFalse(os.path.exists(self.out))
        self.export()
        self.assertEqual(self.bring_back("--dry-run")["outcome"], "planned")
        self.assertEqual(self.other.token.labels(), [])

    def test_a_file_that_is_no_escrow_file_is_left_alone(self):
        for content in (b"", b"{}", b"precious"):
            with open(self.out, "wb") as out:
                out.write(content)
            self.assertIn("no escrow file", self.export(exit_code=ERROR))
            self.assertEqual(read(self.out), content)
        self.assertEqual(self.node.token.labels(), [])

    def test_an_extractable_key_is_never_committed_and_blocks_the_next_export(self):
        exported = self.export()
        identity = exported["label"].rsplit(".", 1)[1]
        self.node.token.delete(exported["label"], self.node.token.list_ids()[exported["label"]])
        self.node.token.generate(exported["label"], "0e", "--extractable")
        self.assertIn("CKA_EXTRACTABLE", self.key("commit", identity, "--backup-ref", "x",
                                                  exit_code=REFUSED_FOR_SAFETY))
        second = self.node.path("second.escrow")
        self.assertIn("--discard-unfinished",
                      self.export(out=second, exit_code=REFUSED_FOR_SAFETY))
        made = self.export("--discard-unfinished", out=second)
        self.assertEqual(self.node.token.labels(), [made["label"]])

    def test_a_tampered_file_brings_no_key(self):
        self.export()
        held = json.loads(read(self.out))
        held["fingerprint"] = "00" * 32
        with open(self.out, "w", encoding="ascii") as out:
            json.dump(held, out)
        self.assertIn("another key than expected", self.bring_back(exit_code=REFUSED_FOR_SAFETY))
        held["blob"] = held["blob"][:-8] + "AAAAAAAA"
        with open(self.out, "w", encoding="ascii") as out:
            json.dump(held, out)
        self.assertIn("doesn't unwrap", self.bring_back(exit_code=ERROR))
        self.assertEqual(self.other.token.labels(), [])

    def test_a_rerun_of_the_import_changes_nothing(self):
        exported = self.export()
        self.assertTrue(self.bring_back()["changed"])
        self.assertFalse(self.bring_back()["changed"])
        label = self.commit(exported)["label"]
        self.assertTrue(self.bring_back("--label-like", label)["changed"])
        self.assertFalse(self.bring_back("--label-like", label)["changed"])
        self.assertFalse(self.bring_back()["changed"])
        self.assertEqual(self.other.token.labels(), [label])

    def test_a_number_that_another_key_has_is_refused(self):
        label = self.commit(self.export())["label"]
        self.other.key_create()
        text = self.bring_back("--label-like", label, exit_code=REFUSED_FOR_SAFETY)
        self.assertIn("generation 1 is on this token already", text)

    def test_a_label_that_is_not_the_rings_is_an_error(self):
        self.export()
        for label in ("prod.v1", "other.v1@20260101T000000Z", "prod.pending.0123456789abcdef"):
            self.assertIn("--label-like", self.bring_back("--label-like", label, exit_code=ERROR))
        self.assertEqual(self.other.token.labels(), [])


class Killed(TwoTokens):
    """kill -9 before and after each Cryptoki call that may change something; test_kill.py has the
    commands that need one token."""

    def setUp(self):
        super().setUp()
        for node in (self.node, self.other):
            node.env = killer.environment()
            node.configure(tokens=[dict(node.config["tokens"][0],
                                        module=killer.killed_commands_module())])

    def kill_everywhere(self, node, command, check, tidy):
        """After each kill a rerun must succeed; @check sees what it says, @tidy starts again."""
        calls = killer.calls_of(node, *command)
        tidy()
        half_done = 0
        for point in killer.points(calls, "C_FindObjectsInit", False):  # the first listing
            before = node.token.objects()
            killer.run_killed(node, point, *command)
            half_done += node.token.objects() != before
            done = node.run(*command)
            self.assertEqual(done.returncode, 0, "%s: %s" % (point, done.stderr))
            check(json.loads(done.stdout))
            tidy()
        self.assertGreater(half_done, 0)

    def delete_all(self, node):
        for label, cka_id in node.token.list_ids().items():
            node.token.delete(label, cka_id)

    def test_export(self):
        command = ("key", "escrow", "export", "--escrow-to", self.pem, "--expect-recipient",
                   self.recipient["sha256"], "--out", self.out, "--config",
                   self.node.config_path, "-o", "json")

        def check(said):
            self.assertNotIn("extractable", said["attributes"])
            self.assertEqual(self.node.token.labels(), [said["label"]])
            self.assertEqual(json.loads(read(self.out))["fingerprint"], said["fingerprint"])
            self.assertEqual(self.bring_back("--dry-run")["fingerprint"], said["fingerprint"])

        def tidy():
            self.delete_all(self.node)
            os.unlink(self.out)

        self.kill_everywhere(self.node, command, check, tidy)

    def test_escrow_import(self):
        exported = self.export()
        command = ("key", "escrow", "import", "--in", self.out, "--config", self.other.config_path,
                   "-o", "json")

        def check(said):
            self.assertEqual(said["fingerprint"], exported["fingerprint"])
            self.assertEqual(self.other.token.labels(), [exported["label"]])

        self.kill_everywhere(self.other, command, check, lambda: self.delete_all(self.other))


def unwrap_by_openssl(ciphertext, key=RFC_KEK):
    return subprocess.run(["openssl", "enc", "-d", "-id-aes256-wrap", "-K", key.hex(), "-iv",
                           "A6A6A6A6A6A6A6A6"], input=ciphertext, capture_output=True,
                          check=True).stdout


if __name__ == "__main__":
    unittest.main()
