# SPDX-License-Identifier: Apache-2.0
"""key destroy proves from a real etcd, and from snapshots of it, that nothing needs the key."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from kms_atrest import Source, value
from kms_etcd import Etcd
from test_lifecycle_commands import LifecycleCase

PLAIN = b"k8s\x00plain"
SERVICE = 64999  # a uid that nobody has


class DestroyCase(LifecycleCase):
    """An etcd for all, which each test finds empty; it has a node with generation 1 and, promoted, 2,
    and a prefix."""

    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="destroy-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.etcd = cls.enterClassContext(cls.make_etcd())

    @classmethod
    def make_etcd(cls):
        return Etcd(cls.directory)

    def setUp(self):
        super().setUp()
        self.etcd.clear()
        self.prefix = "/" + self.id().rsplit(".", 1)[1]

    def rotated(self, **options):
        node = self.ready_node(**{"policy": {"destroy_wait": "0s"}, **options})
        client = node.client()
        self.old = Source(client)
        node.rotate()
        self.new = Source(client)
        return node

    def put(self, name, source):
        key = f"{self.prefix}/secrets/default/{name}".encode()
        self.etcd.write([(key, value(source, key, PLAIN))])

    def snapshot(self):
        path = self.directory / f"{self.prefix.strip('/')}.db"
        self.etcd.etcdctl("snapshot", "save", path)
        self.addCleanup(path.unlink)
        return path

    def proof(self, *flags):
        return ("--etcd", self.etcd.url, "--prefix", self.prefix, *map(str, flags))


class Proof(DestroyCase):
    def test_a_generation_that_nothing_needs_is_destroyed_without_a_typed_name(self):
        node = self.rotated()
        self.put("a", self.new)
        self.done(node, "disable", "1")
        told = self.done(node, "destroy", "1", *self.proof())
        self.assertEqual((told["changed"], told["outcome"], told["verified_by"]),
                         (True, "destroyed", "proof"))
        self.assertEqual(self.generations(node), [2])
        again = self.done(node, "destroy", "1", *self.proof())
        self.assertEqual((again["changed"], again["outcome"]), (False, "gone"))

    def test_an_object_that_needs_it_keeps_it_and_is_named(self):
        node = self.rotated()
        self.put("a", self.new)
        self.put("old", self.old)
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", *self.proof(),
                     word=f"{self.prefix}/secrets/default/old")
        self.says_no(node, "destroy", "1", *self.proof(), "--dry-run", word="1 value(s) need it")
        self.done(node, "enable", "1")
        self.assertEqual(node.client().unseal(self.old.sealed), self.old.secret)

    def test_the_history_of_a_backup_keeps_it(self):
        node = self.rotated()
        self.put("a", self.old)
        self.put("a", self.new)
        backup = self.snapshot()
        self.done(node, "disable", "1")
        self.done(node, "destroy", "1", *self.proof(), "--dry-run")
        self.says_no(node, "destroy", "1", *self.proof("--backup", backup), word=str(backup))
        self.says_no(node, "destroy", "1", *self.proof("--backup", backup), word="(history)")

    def test_a_backup_that_does_not_need_it_lets_it_go(self):
        node = self.rotated()
        self.put("a", self.new)
        backup = self.snapshot()
        self.done(node, "disable", "1")
        told = self.done(node, "destroy", "1", *self.proof("--backup", backup))
        self.assertEqual(told["outcome"], "destroyed")

    def test_what_can_not_be_told_keeps_it(self):
        node = self.rotated()
        self.put("a", self.new)
        backup = self.snapshot()
        self.done(node, "disable", "1")
        nowhere = ("--etcd", "http://127.0.0.1:1", "--prefix", self.prefix)
        self.says_no(node, "destroy", "1", *nowhere, word="it can't be told")
        self.says_no(node, "destroy", "1", *self.proof("--backup", "/nowhere.db"),
                     word="it can't be told")
        os.truncate(backup, backup.stat().st_size - 32)
        self.says_no(node, "destroy", "1", *self.proof("--backup", backup), word="SHA-256")
        os.truncate(backup, 5000)
        self.says_no(node, "destroy", "1", *self.proof("--backup", backup), word=str(backup))

    def test_another_etcd_proves_nothing(self):
        node = self.rotated()
        self.etcd.write([(f"{self.prefix}/events/default/e".encode(), PLAIN)])
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", *self.proof(), word="another etcd")
        self.put("a", self.old)
        self.says_no(node, "destroy", "1", *self.proof(), word="1 value(s) need it")

    def test_what_is_not_below_the_prefix_keeps_it(self):
        node = self.rotated()
        self.put("a", self.new)
        key = b"/elsewhere/secrets/default/old"
        self.etcd.write([(key, value(self.old, key, PLAIN))])
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", *self.proof(), word=key.decode())
        narrow = ("--etcd", self.etcd.url, "--prefix", self.prefix + "/secrets/default")
        self.says_no(node, "destroy", "1", *narrow, word=key.decode())

    def test_a_seed_that_may_be_under_it_keeps_it_whatever_its_label(self):
        node = self.rotated()
        self.put("a", self.new)
        key = f"{self.prefix}/secrets/default/relabelled".encode()
        self.etcd.write([(key, value(self.old, key, PLAIN, key_id="kms-old"))])
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", *self.proof(), word=key.decode())

    def test_the_audit_log_says_which_key_ended_and_on_what_ground(self):
        node = self.rotated()
        self.put("a", self.new)
        node.configure(audit={"path": node.path("log")})
        self.says_no(node, "destroy", "1", *self.proof(), word="key disable 1")
        self.done(node, "disable", "1")
        self.done(node, "destroy", "1", *self.proof("--now"))
        log = pathlib.Path(node.path("log.admin"))
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        done = [line for line in lines if line.get("phase") == "done"]
        self.assertEqual([(line["op"], line["outcome"], line["code"]) for line in done],
                         [("key-destroy", "refused", "precondition"), ("key-disable", "disabled", "ok"),
                          ("key-destroy", "destroyed", "ok")])
        self.assertEqual({line["key_id"] for line in done}, {self.old.key_id})
        self.assertEqual((done[-1]["verified_by"], done[-1]["wait"]), ("proof", "skipped"))

    def test_a_backup_alone_proves_nothing(self):
        node = self.rotated()
        self.put("a", self.new)
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", "--backup", str(self.snapshot()), word="--etcd URL")

    def test_a_proof_and_a_typed_name_are_not_mixed(self):
        node = self.rotated()
        done = self.key(node, "destroy", "1", *self.proof(), "--i-have-verified", "prod.v1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not both", done.stderr)

    def test_it_is_disabled_before_it_is_destroyed_whatever_is_proven(self):
        node = self.rotated()
        self.put("a", self.new)
        self.says_no(node, "destroy", "1", *self.proof(), word="key disable 1")
        self.says_no(node, "destroy", "2", *self.proof(), word="promoted")

    def test_roots_own_backup_is_opened_before_root_is_given_up(self):
        node = self.rotated()
        self.put("a", self.new)
        self.done(node, "disable", "1")
        node.stop()
        private = self.directory / "private"
        private.mkdir(mode=0o700)
        backup = self.snapshot()
        shutil.copyfile(backup, private / "backup.db")
        subprocess.run(["chown", "-R", f"{SERVICE}:{SERVICE}", node.state_dir,
                        node.token.directory], check=True)
        told = self.done(node, "destroy", "1", *self.proof("--backup", private / "backup.db"))
        self.assertEqual(told["outcome"], "destroyed")


class Wait(DestroyCase):
    def waiting(self):
        """Generation 1 is disabled just now, and nothing needs it."""
        node = self.rotated(policy={})
        self.put("a", self.new)
        self.done(node, "disable", "1")
        return node

    def record(self, node):
        return pathlib.Path(node.state_dir, "disabled.v1")

    def test_a_generation_that_was_disabled_just_now_is_kept_but_by_now(self):
        node = self.waiting()
        self.says_no(node, "destroy", "1", *self.proof(), word="policy.destroy_wait")
        self.assertEqual(self.done(node, "destroy", "1", *self.proof("--now"))["outcome"],
                         "destroyed")
        self.assertFalse(self.record(node).exists())

    def test_now_does_not_skip_the_proof(self):
        node = self.waiting()
        self.put("old", self.old)
        self.says_no(node, "destroy", "1", *self.proof("--now"), word="secrets/default/old")
        self.says_no(node, "destroy", "1", "--now", word="--etcd URL")

    def test_after_thirty_days_it_goes_and_a_rerun_of_disable_does_not_begin_them_anew(self):
        node = self.waiting()
        since = int(self.record(node).read_text()) - 30 * 86400
        self.record(node).write_text(f"{since}\n")
        self.done(node, "disable", "1")
        self.assertEqual(self.record(node).read_text(), f"{since}\n")
        self.assertEqual(self.done(node, "destroy", "1", *self.proof())["outcome"], "destroyed")

    def test_enabling_and_disabling_begins_the_wait_anew(self):
        node = self.waiting()
        self.record(node).write_text("1700000000\n")
        self.done(node, "enable", "1")
        self.assertFalse(self.record(node).exists())
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", *self.proof(), word="policy.destroy_wait")

    def test_what_was_disabled_elsewhere_is_kept_until_disable_is_run_here(self):
        node = self.waiting()
        self.record(node).unlink()
        self.says_no(node, "destroy", "1", *self.proof(), word="isn't recorded")
        self.assertFalse(self.done(node, "disable", "1")["changed"])
        self.assertEqual(self.record(node).stat().st_mode & 0o777, 0o600)
        self.says_no(node, "destroy", "1", *self.proof(), word="wait until")

    def test_dry_runs_record_nothing(self):
        node = self.rotated()
        self.done(node, "disable", "1", "--dry-run")
        self.assertFalse(self.record(node).exists())
        self.done(node, "disable", "1")
        self.done(node, "enable", "1", "--dry-run")
        self.assertTrue(self.record(node).exists())


class Ledger(DestroyCase):
    def ledger(self, node):
        return pathlib.Path(node.state_dir, "snapshots.jsonl")

    def record(self, node, path, code=0):
        done = node.run("verify", "--snapshot", str(path), "--record", "--prefix", self.prefix,
                        "--config", node.config_path)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def test_a_recorded_snapshot_that_needs_a_generation_keeps_it_though_the_file_is_gone(self):
        node = self.rotated(policy={"destroy_wait": "0s", "backup_retention": "90d"})
        self.put("a", self.old)
        self.put("a", self.new)
        backup = self.snapshot()
        self.record(node, backup)
        line = json.loads(self.ledger(node).read_text())
        self.assertEqual(line["sha256"], backup.read_bytes()[-32:].hex())
        self.assertEqual(line["keys"], [
            {"key_id": self.new.key_id, "current": 1, "history": 0},
            {"key_id": self.old.key_id, "current": 0, "history": 1}])
        self.assertEqual(self.ledger(node).stat().st_mode & 0o777, 0o600)
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", *self.proof(), word=line["sha256"])
        done = self.key(node, "destroy", "1", *self.proof("--now"))
        self.assertIn("destroyed generation 1", done.stdout)
        self.assertIn(f"--now skips this: the snapshot with SHA-256 {line['sha256']}", done.stderr)

    def test_a_recorded_snapshot_of_the_promoted_key_alone_lets_it_go(self):
        node = self.rotated(policy={"destroy_wait": "0s", "backup_retention": "90d"})
        self.put("a", self.new)
        self.record(node, self.snapshot())
        self.done(node, "disable", "1")
        self.assertEqual(self.done(node, "destroy", "1", *self.proof())["outcome"], "destroyed")

    def test_that_nothing_was_recorded_is_said_where_backups_are_kept(self):
        node = self.rotated(policy={"destroy_wait": "0s", "backup_retention": "90d"})
        self.put("a", self.new)
        self.done(node, "disable", "1")
        done = self.key(node, "destroy", "1", *self.proof(), "--dry-run")
        self.assertIn("no snapshot was recorded on this node", done.stderr)
        self.record(node, self.snapshot())
        done = self.key(node, "destroy", "1", *self.proof(), "--dry-run")
        self.assertNotIn("no snapshot was recorded", done.stderr)

    def test_only_a_whole_snapshot_is_recorded(self):
        node = self.rotated()
        self.put("a", self.new)
        backup = self.snapshot()
        os.truncate(backup, backup.stat().st_size - 32)
        self.assertIn("isn't recorded", self.record(node, backup, code=1).stderr)
        done = node.run("verify", "--etcd", self.etcd.url, "--record")
        self.assertEqual(done.returncode, 1)
        self.assertFalse(self.ledger(node).exists())
