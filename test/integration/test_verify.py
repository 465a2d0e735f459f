# SPDX-License-Identifier: Apache-2.0
"""verify and inspect: what is in a real etcd and its snapshots, under keys of a real plugin."""

import csv
import io
import json
import os
import pathlib
import pty
import shutil
import signal
import stat
import subprocess
import tempfile

from kms_atrest import KEY_TYPE, Source, value
from kms_case import SharedCase
from kms_etcd import Certificates, Etcd
from kms_node import BINARY, wait_for

MARK = b"never-to-be-printed"
PLAIN = b"k8s\x00" + MARK
BENCH = pathlib.Path(BINARY).parent / "../../test/bench"
SERVICE = 64999  # a uid that nobody has
CLEAN, ERROR, FINDINGS, REFUSED, LOST = 0, 1, 2, 3, 4


class EtcdCase(SharedCase):
    """An etcd, which each test finds empty, and a plugin with generation 1 and, promoted, 2.  Each test
    has a prefix of its own."""

    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="verify-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.logs = cls.directory / "logs"
        cls.logs.mkdir()
        cls.options = {"audit": {"path": str(cls.logs / "audit")}}
        super().setUpClass()
        cls.etcd = cls.enterClassContext(Etcd(cls.directory))
        client = cls.node.client()
        cls.old = Source(client)
        cls.node.rotate()
        cls.new, cls.newer = Source(client), Source(client)
        cls.new_key = Source(client, KEY_TYPE)

    def setUp(self):
        super().setUp()
        self.etcd.clear()
        self.prefix = "/" + self.id().rsplit(".", 1)[1]

    def key(self, path):
        return f"{self.prefix}/{path}".encode()

    def put(self, path, source, **changes):
        self.etcd.write([(self.key(path), value(source, self.key(path), PLAIN, **changes))])

    def put_raw(self, path, raw):
        self.etcd.write([(self.key(path), raw)])

    def delete(self, path):
        self.etcd.write([(self.key(path), None)])

    def snapshot(self):
        path = self.directory / f"{self.prefix.strip('/')}.db"
        self.etcdctl_save(path)
        self.addCleanup(path.unlink)
        return path

    def etcdctl_save(self, path):
        self.etcd.etcdctl("snapshot", "save", path)

    def run_command(self, *words, source=None, config=None, stdin=b""):
        where = ["--etcd", self.etcd.url] if source is None else ["--snapshot", source]
        done = subprocess.run(
            [BINARY, *map(str, words), *map(str, where), "--prefix", self.prefix, "--config",
             config or self.node.config_path], env=self.node.environment(), input=stdin,
            capture_output=True, timeout=60)
        self.assertNotIn(MARK, done.stdout + done.stderr)
        return done

    def verify(self, code, *flags, source=None, config=None):
        """The report of a run that exits with @code."""
        done = self.run_command("verify", "-o", "json", *flags, source=source, config=config)
        self.assertEqual(done.returncode, code, done.stdout.decode() + done.stderr.decode())
        return json.loads(done.stdout)

    def audit(self, op):
        with open(self.logs / "audit.admin", encoding="utf-8") as lines:
            return [line for line in map(json.loads, lines) if line.get("op") == op]

    @staticmethod
    def found(report, part="findings"):
        return {entry["kind"]: [item["key"] for item in entry["first"]] for entry in report[part]}


class Verify(EtcdCase):
    def test_all_under_the_promoted_key_is_clean(self):
        self.put("secrets/default/a", self.new)
        self.put("secrets/default/b", self.newer)
        self.put("example.com/widgets/default/w", self.new)
        report = self.verify(CLEAN)
        self.assertEqual(report["schema"], "hsm-kms/verify/v1")
        self.assertEqual((report["verdict"], report["level"], report["partial"]),
                         ("clean", "labelled", False))
        self.assertEqual((report["key_id"], report["key_id_by"]),
                         (self.new.key_id, "the running plugin"))
        header = self.etcd.get(self.prefix)[0]
        self.assertEqual(report["source"]["member_id"], "%x" % header["member_id"])
        self.assertEqual(report["source"]["revision"], header["revision"])
        self.assertEqual(report["totals"]["current"], 3)
        self.assertEqual(report["totals"]["dek_sources"], 2)
        self.assertEqual({(row["resource"], row["group"], row["current"])
                          for row in report["resources"]},
                         {("secrets", None, 2), ("widgets", "example.com", 1)})
        self.assertEqual(report["keys"], [{
            "encryption": "kms-v2", "provider": "hsm", "key_id": self.new.key_id, "current": 3,
            "history": 0, "dek_sources": 2, "proven": 0, "lost": False}])

    def test_an_old_key_is_a_finding_unless_it_is_allowed(self):
        self.put("secrets/default/a", self.new)
        self.put("secrets/default/old", self.old)
        report = self.verify(FINDINGS)
        self.assertEqual(self.found(report), {"old-key": [f"{self.prefix}/secrets/default/old"]})
        report = self.verify(CLEAN, "--allow-key", self.old.key_id)
        self.assertEqual((report["totals"]["promoted"], report["totals"]["allowed"]), (1, 1))
        self.assertEqual(report["question"]["allowed"], [self.old.key_id])
        self.assertIn("or an allowed one", report["text"])

    def test_plaintext_is_a_finding_unless_it_is_exempt(self):
        self.put("secrets/default/a", self.new)
        self.put_raw("leases/kube-system/l", PLAIN)
        self.put_raw("events/default/e", PLAIN)
        self.put_raw("masterleases/127.0.0.1", PLAIN)
        report = self.verify(FINDINGS)
        self.assertEqual(len(self.found(report)["plaintext"]), 2)
        self.assertEqual(self.found(report, "listed"),
                         {"exempt": [f"{self.prefix}/masterleases/127.0.0.1"]})
        configured = self.node.path("exempt.yaml")
        with open(configured, "w", encoding="utf-8") as out:
            json.dump({**self.node.config, "verify": {"exempt": ["events"]}}, out)
        report = self.verify(CLEAN, "--exempt", "leases.coordination.k8s.io", config=configured)
        self.assertEqual(len(self.found(report, "listed")["exempted"]), 2)

    def test_what_kube_apiserver_does_not_write_is_a_finding(self):
        self.put("secrets/default/foreign", self.new, key_id=b"aws-1")
        self.put("secrets/default/unknown", self.new, key_id="prod.v7." + "ab" * 16)
        self.put_raw("secrets/default/cut", value(self.new, b"k", PLAIN)[:60])
        self.put_raw("secrets/default/future", b"k8s:enc:kms:v9:x:y")
        self.put_raw("secrets/default/cbc", b"k8s:enc:aescbc:v1:key1:" + bytes(32))
        kinds = self.found(self.verify(FINDINGS))
        self.assertEqual(set(kinds), {"foreign-key", "unknown-key", "malformed", "unknown-format",
                                      "other-provider"})

    def test_expected_resources_narrow_what_is_asked(self):
        self.put("secrets/default/a", self.new)
        self.put_raw("configmaps/default/c", PLAIN)
        report = self.verify(CLEAN, "--expect-resource", "secrets")
        self.assertEqual(report["question"]["expected"], ["secrets"])
        self.assertIn("of the expected resources", report["text"])
        report = self.verify(FINDINGS, "--expect-resource", "secrets", "--expect-resource",
                             "deployments.apps")
        self.assertEqual(report["absent"], ["deployments.apps"])
        self.assertEqual(report["findings"], [])

    def test_an_empty_prefix_is_no_proof(self):
        self.assertIn("etcd-prefix", self.verify(FINDINGS)["text"])

    def test_the_token_says_what_is_promoted_when_the_plugin_is_away(self):
        self.put("secrets/default/a", self.new)
        away = self.node.path("away.yaml")
        with open(away, "w", encoding="utf-8") as out:
            json.dump({**self.node.config, "socket": {"path": self.node.path("none.sock")}}, out)
        report = self.verify(CLEAN, config=away)
        self.assertIn("token", report["key_id_by"])
        self.assertEqual(report["key_id"], self.new.key_id)

    def test_a_given_key_id_needs_no_plugin(self):
        self.put("secrets/default/old", self.old)
        report = self.verify(CLEAN, "--key-id", self.old.key_id)
        self.assertEqual((report["key_id_by"], report["ring"]), ("--key-id", "prod"))

    def test_etcd_is_read_over_tls(self):
        directory = self.directory / "tls"
        directory.mkdir()
        authority = Certificates(directory)
        with Etcd(directory, authority) as etcd:
            etcd.write([(self.key("secrets/d/a"), value(self.new, self.key("secrets/d/a"), PLAIN))])
            words = [BINARY, "verify", "--etcd", etcd.url, "--prefix", self.prefix, "--key-id",
                     self.new.key_id, "--cacert", authority.ca]
            both = ["--cert", etcd.client[0], "--key", etcd.client[1]]
            done = subprocess.run([*words, *both], capture_output=True, timeout=60)
            self.assertEqual(done.returncode, CLEAN, done.stderr)
            done = subprocess.run(words, capture_output=True, timeout=60)
            self.assertEqual(done.returncode, ERROR)

    def test_the_list_has_everything_and_belongs_to_its_maker_alone(self):
        for i in range(130):
            self.put_raw(f"secrets/default/s{i}", PLAIN)
        path = self.directory / "list"
        report = self.verify(FINDINGS, "--list", path)
        self.assertEqual(report["findings"][0]["count"], 130)
        self.assertEqual(len(report["findings"][0]["first"]), 100)
        lines = path.read_text(encoding="utf-8").splitlines()
        self.assertEqual(len(lines), 130)
        self.assertEqual(lines[0].split("\t")[:2], ["plaintext", "current"])
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(self.run_command("verify", "--list", path).returncode, ERROR)
        path.unlink()

    def test_csv_has_a_row_for_each_resource_and_key(self):
        self.put("secrets/default/a", self.new)
        self.put("secrets/default/b", self.old)
        done = self.run_command("verify", "-o", "csv")
        rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
        self.assertEqual({(row["resource"], row["key_id"], row["current"]) for row in rows},
                         {("secrets", self.new.key_id, "1"), ("secrets", self.old.key_id, "1")})
        self.assertEqual({(row["level"], row["extent"]) for row in rows}, {("labelled", "whole")})

    def test_csv_calls_proven_only_what_was_unwrapped(self):
        self.put("secrets/default/a", self.new)
        self.put("secrets/default/b", self.old, key_id="prod.v9." + "0" * 32)
        self.put_raw("secrets/default/c", PLAIN)
        done = self.run_command("verify", "--prove", "-o", "csv")
        self.assertEqual(done.returncode, LOST)
        rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
        self.assertEqual({row["key_id"] for row in rows if row["level"] == "proven"},
                         {self.new.key_id})
        self.assertEqual(len(rows), 3)

    def test_text_names_the_finding_and_what_follows(self):
        self.put("secrets/default/old", self.old)
        text = self.run_command("verify").stdout.decode()
        self.assertIn(f"  {self.prefix}/secrets/default/old  {self.old.key_id}\n", text)
        self.assertIn("\nfindings: 1 finding(s)", text)
        narrow = self.run_command("verify", "--expect-resource", "pods").stdout.decode()
        self.assertIn("\nasked     only pods\n", narrow)

    def test_progress_is_shown_on_a_terminal(self):
        path, key_id = self.directory / "progress.db", "prod.v1." + 32 * "0"
        subprocess.run([BENCH / "make_snapshot", path, "20000", "100", "3", key_id],
                       check=True)
        self.addCleanup(path.unlink)
        words = [BINARY, "verify", "--snapshot", path, "--key-id", key_id]
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=theirs, check=True)
        os.close(theirs)
        self.assertRegex(os.read(ours, 4096), rb"^\r\d+ values, \d+/s, \d+ %, \d+ s left")
        done = subprocess.run(words, capture_output=True, check=True)
        self.assertEqual(done.stderr, b"")

    def test_sigint_leaves_a_part_that_is_marked_so(self):
        path, listed = self.directory / "large.db", self.directory / "large.list"
        subprocess.run([BENCH / "make_snapshot", path, "200000", "100"], check=True)
        self.addCleanup(path.unlink)
        self.addCleanup(listed.unlink)
        with subprocess.Popen(
                [BINARY, "verify", "--snapshot", path, "--key-id", "k", "-o", "json", "--list",
                 listed], stdout=subprocess.PIPE) as process:
            wait_for("the list to begin", lambda: listed.exists() and listed.stat().st_size > 0)
            process.send_signal(signal.SIGINT)
            report = json.loads(process.stdout.read())
        self.assertEqual(process.returncode, ERROR)
        self.assertEqual((report["verdict"], report["partial"]), ("partial", True))
        self.assertIn(report["totals"]["current"], range(1, 200000))


class Prove(EtcdCase):
    def test_every_source_is_unwrapped_and_samples_are_opened(self):
        for i in range(5):
            self.put(f"secrets/default/{i}", self.new)
        self.put("configmaps/default/c", self.newer)
        self.put("configmaps/default/d", self.new_key)
        report = self.verify(CLEAN, "--prove", "--sample", "2")
        self.assertEqual(report["level"], "proven")
        self.assertEqual((report["totals"]["dek_sources"], report["totals"]["proven"]), (3, 3))
        self.assertIn(report["totals"]["opened"], range(4, 8))

    def test_the_level_is_no_better_than_what_was_unwrapped(self):
        self.put_raw("secrets/default/plain", PLAIN)
        report = self.verify(FINDINGS, "--prove")
        self.assertEqual((report["level"], report["totals"]["dek_sources"]), ("labelled", 0))
        lost = "prod.v9." + "0" * 32
        self.put("secrets/default/a", self.new, key_id=lost)
        self.assertEqual(self.verify(LOST, "--prove")["level"], "labelled")
        self.put("secrets/default/b", self.newer)
        report = self.verify(LOST, "--prove")
        self.assertEqual((report["level"], report["totals"]["proven"]), ("partly-proven", 1))
        text = self.run_command("verify", "--prove").stdout.decode()
        self.assertIn("partly-proven: the HSM unwrapped 1 of 2 DEK sources; 0 objects", text)

    def test_a_proof_is_in_the_audit_log_before_anything_is_unwrapped(self):
        self.put("secrets/default/a", self.new)
        self.verify(CLEAN, "--prove")
        begin, done = self.audit("verify-prove")[-2:]
        self.assertEqual((begin["op"], begin["phase"]), ("verify-prove", "begin"))
        self.assertEqual((done["phase"], done["outcome"]),
                         ("done", "clean: 1 of 1 DEK sources unwrapped"))
        before = len(self.audit("verify-prove"))
        self.verify(CLEAN)
        self.assertEqual(len(self.audit("verify-prove")), before)

    def test_a_swapped_key_id_is_found_and_the_true_one_named(self):
        self.put("secrets/default/a", self.old, key_id=self.new.key_id)
        self.verify(CLEAN)
        item = self.verify(FINDINGS, "--prove")["findings"][0]
        self.assertEqual((item["kind"], item["first"][0]["key"]),
                         ("swapped-key", f"{self.prefix}/secrets/default/a"))
        self.assertIn(self.old.key_id, item["first"][0]["detail"])

    def test_a_corrupt_seed_is_found(self):
        raw = value(self.new, self.key("secrets/default/a"), PLAIN)
        wrapped = self.new.sealed.ciphertext
        self.put_raw("secrets/default/a", raw.replace(wrapped, wrapped[:-1] + bytes([wrapped[-1] ^ 1])))
        self.assertEqual(set(self.found(self.verify(FINDINGS, "--prove"))), {"corrupt-seed"})

    def test_an_object_under_another_key_does_not_open(self):
        self.put_raw("secrets/default/a", value(self.new, b"/elsewhere", PLAIN))
        self.verify(CLEAN, "--prove")
        self.assertEqual(set(self.found(self.verify(FINDINGS, "--prove", "--sample", "1"))),
                         {"corrupt-object"})

    def test_a_lost_key_is_named(self):
        lost = "prod.v7." + "ab" * 16
        self.put("secrets/default/a", self.new, key_id=lost)
        report = self.verify(LOST, "--prove")
        self.assertEqual([key["key_id"] for key in report["keys"] if key["lost"]], [lost])
        self.assertEqual(report["findings"][-1]["kind"], "lost-key")

    def test_a_generation_may_go_once_nothing_names_it(self):
        self.put("secrets/default/a", self.new)
        self.put("secrets/default/old", self.old)
        report = self.verify(REFUSED, "--can-destroy", "1")
        self.assertEqual(self.found(report, "listed"),
                         {"dependent": [f"{self.prefix}/secrets/default/old"]})
        self.put("secrets/default/old", self.new)
        report = self.verify(CLEAN, "--can-destroy", "1")
        self.assertEqual((report["level"], report["question"]["can_destroy"]), ("proven", 1))

    def test_the_history_of_a_snapshot_needs_its_key(self):
        self.put("secrets/default/a", self.old)
        self.put("secrets/default/a", self.new)
        snapshot = self.snapshot()
        self.verify(CLEAN, source=snapshot)
        report = self.verify(REFUSED, "--can-destroy", "1", source=snapshot)
        item = report["listed"][0]["first"][0]
        self.assertEqual((item["state"], item["key_id"]), ("history", self.old.key_id))
        self.assertEqual(report["totals"]["history"], 1)

    def test_a_seed_under_the_generation_counts_whatever_its_label(self):
        self.put("secrets/default/a", self.old, key_id=self.new.key_id)
        self.verify(REFUSED, "--can-destroy", "1")

    def test_what_is_not_below_the_prefix_counts_where_a_key_is_to_go(self):
        self.put("secrets/default/a", self.new)
        key = b"/elsewhere/secrets/default/old"
        self.etcd.write([(key, value(self.old, key, PLAIN)), (b"/elsewhere/clear", b"clear")])
        self.assertEqual(self.verify(CLEAN)["totals"]["current"], 1)
        report = self.verify(REFUSED, "--can-destroy", "1")
        self.assertEqual(self.found(report, "listed"), {"dependent": [key.decode()]})
        self.assertEqual((report["totals"]["current"], report["totals"]["beyond_prefix"]), (2, 1))
        self.assertTrue(report["question"]["all_of_etcd"])
        self.verify(REFUSED, "--can-remove-provider", "hsm", source=self.snapshot())

    def test_another_etcd_does_not_let_a_generation_go(self):
        self.put_raw("events/default/e", PLAIN)
        self.assertIn("another etcd", self.verify(REFUSED, "--can-destroy", "1")["text"])

    def test_the_promoted_generation_may_not_go(self):
        self.put("secrets/default/a", self.old)
        self.assertIn("promoted", self.verify(REFUSED, "--can-destroy", "2")["text"])

    def test_an_empty_prefix_does_not_let_a_generation_go(self):
        self.verify(REFUSED, "--can-destroy", "1")

    def test_a_file_without_a_sha_256_does_not_let_a_generation_go(self):
        self.put("secrets/default/a", self.new)
        snapshot = self.snapshot()
        os.truncate(snapshot, snapshot.stat().st_size - 32)
        self.assertEqual(self.verify(CLEAN, source=snapshot)["source"]["kind"], "member-db")
        self.assertIn("SHA-256", self.verify(REFUSED, "--can-destroy", "1", source=snapshot)["text"])

    def test_a_provider_may_go_once_nothing_names_it(self):
        self.put("secrets/default/a", self.new)
        self.put("secrets/default/b", self.new, provider=b"before")
        self.verify(CLEAN)
        self.verify(REFUSED, "--can-remove-provider", "before")
        self.put("secrets/default/b", self.new)
        self.verify(CLEAN, "--can-remove-provider", "before")
        self.verify(REFUSED, "--can-remove-provider", "hsm")
        self.verify(CLEAN, "--can-remove-provider", "identity")
        self.put_raw("secrets/default/c", b"k8s:enc:aescbc:v1:key1:" + bytes(32))
        self.verify(REFUSED, "--can-remove-provider", "aescbc")
        self.verify(REFUSED, "--can-remove-provider", "key1")


class Root(EtcdCase):
    """root runs the commands; the plugin's files are another user's."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.node.stop()
        subprocess.run(["chown", "-R", f"{SERVICE}:{SERVICE}", cls.node.state_dir,
                        cls.node.token.directory, cls.logs], check=True)
        cls.directory.chmod(0o711)
        cls.private = cls.directory / "private"
        cls.private.mkdir(mode=0o700)

    def test_what_only_root_may_open_is_opened_before_root_is_given_up(self):
        self.put("secrets/default/a", self.new)
        listed = self.private / "list"
        report = self.verify(CLEAN, "--prove", "--list", listed)
        self.assertEqual((report["level"], report["totals"]["proven"]), ("proven", 1))
        self.assertTrue(listed.exists())

    def test_the_opened_object_is_in_roots_own_file(self):
        self.put("secrets/default/a", self.new)
        pin, out = self.private / "pin", self.private / "object"
        shutil.copyfile(self.node.token.pin_file, pin)
        pin.chmod(0o400)
        done = self.run_command("inspect", self.key("secrets/default/a").decode(), "--decrypt",
                                "--out", out, "--pin-file", pin)
        self.assertEqual(done.returncode, CLEAN, done.stderr)
        self.assertEqual((out.read_bytes(), out.stat().st_uid), (PLAIN, 0))


class Inspect(EtcdCase):
    def inspect(self, path, *flags, **options):
        return self.run_command("inspect", self.key(path).decode(), *flags, **options)

    def own_pin(self):
        """Of the same user, in a file that isn't the service's."""
        path = self.directory / "own.pin"
        if not path.exists():
            shutil.copyfile(self.node.token.pin_file, path)
            path.chmod(0o400)
        return str(path)

    def unwritable(self):
        """A configuration whose audit log can't be written."""
        config = self.node.path("no-audit.yaml")
        with open(config, "w", encoding="utf-8") as out:
            json.dump({**self.node.config, "audit": {"path": "/proc/none/audit"}}, out)
        return config

    def decrypt(self, path, *flags, pin=None):
        out = self.directory / "object"
        words = ["--pin-file", pin or self.own_pin()]
        done = self.inspect(path, "--decrypt", "--out", out, *words, *flags)
        if not out.exists():
            return done, None
        self.assertEqual(stat.S_IMODE(out.stat().st_mode), 0o600)
        plain = out.read_bytes()
        out.unlink()
        return done, plain

    def test_every_field_is_shown_and_what_the_key_id_means(self):
        self.put("secrets/default/a", self.new)
        told = json.loads(self.inspect("secrets/default/a", "-o", "json").stdout)
        self.assertEqual((told["schema"], told["encryption"], told["provider"]),
                         ("hsm-kms/inspect/v1", "kms-v2", "hsm"))
        self.assertEqual((told["resource"], told["namespace"], told["name"]),
                         ("secrets", "default", "a"))
        self.assertEqual(told["wrapped_hex"], self.new.sealed.ciphertext.hex())
        self.assertEqual((told["kek"]["generation"], told["kek"]["state"]), (2, "active"))
        self.assertEqual(told["object_len"], len(PLAIN))
        text = self.inspect("secrets/default/a").stdout.decode()
        self.assertIn("generation 2, active", text)

    def inspect_bytes(self, stdin):
        return subprocess.run(
            [BINARY, "inspect", "-o", "json", "--config", self.node.config_path], input=stdin,
            env=self.node.environment(), capture_output=True, timeout=60)

    def test_raw_bytes_on_stdin_need_no_etcd(self):
        told = json.loads(self.inspect_bytes(value(self.old, b"/registry/secrets/d/n", PLAIN)).stdout)
        self.assertEqual((told["key_id"], told["kek"]["state"]), (self.old.key_id, "decrypt-only"))

    def test_etcdctls_newline_is_left_out(self):
        raw = value(self.new, b"/registry/secrets/default/a", PLAIN)
        done = self.inspect_bytes(raw + b"\n")
        self.assertEqual(json.loads(done.stdout)["stored_len"], len(raw))
        self.assertIn(b"newline", done.stderr)

    def test_nothing_on_stdin_is_an_error(self):
        done = self.inspect_bytes(b"")
        self.assertEqual(done.returncode, ERROR)
        self.assertIn(b"stdin is empty", done.stderr)

    def test_a_deleted_key_is_said_to_be_so_with_what_is_left_of_it(self):
        self.put("secrets/default/gone", self.new)
        revision = self.etcd.writes[-1][0]
        self.delete("secrets/default/gone")
        key = self.key("secrets/default/gone").decode()
        done = self.run_command("inspect", key, source=self.snapshot())
        self.assertEqual(done.returncode, ERROR)
        self.assertIn(b"--revision %d" % revision, done.stderr)

    def test_a_lost_key_is_said_to_be_so(self):
        self.put("secrets/default/a", self.new, key_id="prod.v7." + "ab" * 16)
        self.assertIn("no such KEK", self.inspect("secrets/default/a").stdout.decode())
        self.assertEqual(self.decrypt("secrets/default/a")[0].returncode, LOST)

    def test_a_key_that_is_not_there_is_an_error(self):
        self.assertEqual(self.inspect("secrets/default/a").returncode, ERROR)

    def test_an_older_value_comes_out_of_a_snapshot(self):
        self.put("secrets/default/a", self.old)
        revision = self.etcd.writes[-1][0]
        self.delete("secrets/default/a")
        snapshot = self.snapshot()
        done = self.inspect("secrets/default/a", source=snapshot)
        self.assertIn(b"was deleted at revision", done.stderr)
        done = self.inspect("secrets/default/a", "--revision", revision, "-o", "json",
                            source=snapshot)
        self.assertEqual(json.loads(done.stdout)["key_id"], self.old.key_id)

    def test_an_object_is_opened_by_etcd_and_the_hsm_alone(self):
        for source in (self.old, self.new, self.new_key):
            self.put("secrets/default/a", source)
            before = len(self.audit("inspect-decrypt")) if source is not self.old else 0
            done, plain = self.decrypt("secrets/default/a")
            self.assertEqual((done.returncode, plain), (CLEAN, PLAIN), done.stderr)
            begun, ended = self.audit("inspect-decrypt")[before:][-2:]
            self.assertEqual((begun["phase"], begun["key_id"]), ("begin", source.key_id))
            self.assertIn(self.key("secrets/default/a").decode(), begun["outcome"])
            self.assertEqual((ended["phase"], ended["code"]), ("done", "ok"))

    def test_the_object_goes_to_stdout_only_if_asked(self):
        self.put("secrets/default/a", self.new)
        done = subprocess.run(
            [BINARY, "inspect", self.key("secrets/default/a").decode(), "--etcd", self.etcd.url,
             "--config", self.node.config_path, "--decrypt", "--stdout", "--pin-file",
             self.own_pin()], env=self.node.environment(), capture_output=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (CLEAN, PLAIN), done.stderr)

    def test_the_services_pin_file_is_refused_and_that_recorded(self):
        self.put("secrets/default/a", self.new)
        linked = self.node.path("linked.pin")
        os.symlink(self.node.token.pin_file, linked)
        self.addCleanup(os.unlink, linked)
        for pin in (self.node.token.pin_file, linked, "token-1=" + linked):
            done, plain = self.decrypt("secrets/default/a", pin=pin)
            self.assertEqual((done.returncode, plain), (REFUSED, None), done.stderr)
            self.assertIn("refused", self.audit("inspect-decrypt")[-1]["outcome"])
        done = self.inspect("secrets/default/a", "--decrypt", "--stdout")
        self.assertEqual(done.returncode, REFUSED)

    def test_a_file_that_is_there_is_left_alone(self):
        self.put("secrets/default/a", self.new)
        out = self.directory / "kept"
        out.write_bytes(b"kept")
        done = self.inspect("secrets/default/a", "--decrypt", "--out", out, "--pin-file",
                            self.own_pin())
        self.assertEqual((done.returncode, out.read_bytes()), (ERROR, b"kept"))

    def test_a_value_that_does_not_open_leaves_no_file(self):
        self.put_raw("secrets/default/a", value(self.new, b"/elsewhere", PLAIN))
        self.put("secrets/default/b", self.old, key_id=self.new.key_id)
        self.put_raw("secrets/default/c", PLAIN)
        for name in "abc":
            done, plain = self.decrypt(f"secrets/default/{name}")
            self.assertEqual((done.returncode, plain), (ERROR, None), done.stderr)

    def test_a_snapshot_is_recorded_with_a_line_or_not_at_all(self):
        self.put("secrets/default/a", self.new)
        snapshot, ledger = self.snapshot(), pathlib.Path(self.node.state_dir, "snapshots.jsonl")
        done = self.run_command("verify", "--record", source=snapshot)
        self.assertEqual(done.returncode, CLEAN, done.stderr)
        self.assertEqual([(line["phase"], line.get("outcome"))
                          for line in self.audit("verify-record")[-2:]],
                         [("begin", None), ("done", "recorded")])
        recorded = ledger.read_bytes()
        done = self.run_command("verify", "--record", source=snapshot, config=self.unwritable())
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn(b"refused: audit log: ", done.stderr)
        self.assertEqual(ledger.read_bytes(), recorded)

    def test_nothing_is_opened_while_the_audit_log_cannot_be_written(self):
        self.put("secrets/default/a", self.new)
        out = self.directory / "unwritten"
        done = self.inspect("secrets/default/a", "--decrypt", "--out", out, "--pin-file",
                            self.own_pin(), config=self.unwritable())
        self.assertEqual((done.returncode, out.exists()), (REFUSED, False))
        self.assertIn(b"audit log", done.stderr)
