# SPDX-License-Identifier: Apache-2.0
"""hsm-kms evidence: the archive of a real node, checked as an auditor would."""

import contextlib
import hashlib
import json
import os
import pathlib
import resource
import shutil
import signal
import stat
import subprocess
import tarfile
import tempfile

import kms_audit
from kms_atrest import Source, value
from kms_case import Case, SharedCase
from kms_etcd import Etcd
from kms_misbehave import Misbehaviour
from kms_node import BINARY

OK, ERROR, FINDINGS = 0, 1, 2
MARK = b"never-in-an-archive"
SERVICE = 64999  # a uid that nobody has
ABOUT = ["README.txt", "manifest.json", "SHA256SUMS"]
ALWAYS = {"inventory.json", "tokens.json", "tokens/token-1.json", "node.json", "policy.json",
          "config.json", "doctor.json", "audit/prod.audit.pem", "audit/log.serve",
          "audit/log.admin", "audit-verify.json", "audit-show.json", "versions.json"}


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class Archive:
    """One that was made, unpacked."""

    def __init__(self, path, directory):
        self.path = path
        self.directory = pathlib.Path(directory)
        with tarfile.open(path) as tar:
            self.members = tar.getmembers()
            for member in self.members:
                to = self.directory / member.name
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(tar.extractfile(member).read())
        self.names = [member.name for member in self.members]
        self.manifest = self.json("manifest.json")
        self.entries = {entry["file"]: entry for entry in self.manifest["files"]}

    def read(self, name):
        return (self.directory / name).read_bytes()

    def json(self, name):
        return json.loads(self.read(name))


class EvidenceCase(Case):
    """Archives of self.node."""

    def folder(self):
        path = tempfile.mkdtemp(prefix="evidence-", dir="/tmp")
        self.addCleanup(shutil.rmtree, path)
        return path

    def command(self, *flags):
        return [BINARY, "evidence", "-o", "json", "--config", self.node.config_path,
                *map(str, flags)]

    def evidence(self, code, *flags):
        """What a run that exits with @code printed; its own folder for the archive."""
        done = subprocess.run(self.command(*flags), env=self.node.environment(),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertNotIn(self.node.token.pin, done.stdout + done.stderr)
        return json.loads(done.stdout) if code != ERROR else done.stderr

    def archive(self, code, *flags):
        folder = self.folder()
        out = os.path.join(folder, "evidence.tar")
        report = self.evidence(code, "--out", out, *flags)
        self.assertEqual(os.listdir(folder), ["evidence.tar"])
        self.assertEqual(report["sha256"], sha256(out))
        return report, Archive(out, os.path.join(folder, "unpacked"))


class Whole(EvidenceCase, SharedCase):
    """A node with an audit log and a key for its checkpoints, an etcd and a snapshot of it."""

    @classmethod
    def prepare(cls):
        super().prepare()
        kms_audit.configure(cls.node)
        done = cls.node.run("audit", "key", "--make", "--config", cls.node.config_path)
        assert done.returncode == OK, done.stderr

    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="evidence-", dir="/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        super().setUpClass()
        cls.etcd = cls.enterClassContext(Etcd(cls.directory))
        cls.source = Source(cls.node.client())
        key = b"/registry/secrets/default/a"
        cls.etcd.write([(key, value(cls.source, key, b"k8s\x00" + MARK))])
        cls.snapshot = cls.directory / "snapshot.db"
        cls.etcd.etcdctl("snapshot", "save", cls.snapshot)
        done = cls.node.run("verify", "--snapshot", str(cls.snapshot), "--record", "--config",
                            cls.node.config_path)
        assert done.returncode == OK, done.stderr
        cls.node.stop()  # which signs both files of the log
        cls.node.up()

    def test_an_archive_has_all_and_can_be_checked(self):
        statement = self.directory / "statement.txt"
        statement.write_text("The HSM has a certificate.")
        report, archive = self.archive(
            OK, "--etcd", self.etcd.url, "--sample", "1", "--statement", statement, "--since", "90d")
        self.assertEqual(report["schema"], "hsm-kms/evidence/v1")
        self.assertEqual((report["missing"], report["findings"], report["left_out"]),
                         ([], [], ["nodes.json"]))
        self.assertEqual(archive.names[:3], ABOUT)
        self.assertEqual(set(archive.names), ALWAYS | set(ABOUT) | {
            "verify-labelled.json", "verify-proven.json", "snapshots.jsonl",
            "operator/statement.txt"})
        self.check_members(archive)
        self.check_sums(archive, report)
        self.check_audit(archive)
        self.check_contents(archive)
        self.check_secrets(archive)

    def check_members(self, archive):
        for member in archive.members:
            self.assertTrue(member.isreg())
            self.assertEqual((member.uid, member.gid, stat.S_IMODE(member.mode)), (0, 0, 0o600))
        self.assertEqual(len({member.mtime for member in archive.members}), 1)
        self.assertEqual(stat.S_IMODE(os.stat(archive.path).st_mode), 0o600)

    def check_sums(self, archive, report):
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], check=True,
                       cwd=archive.directory)
        named = [line.split("  ", 1)[1] for line in archive.read("SHA256SUMS").decode().splitlines()]
        self.assertEqual(sorted(named), sorted(set(archive.names) - {"SHA256SUMS"}))
        last = kms_audit.lines_of(kms_audit.admin_log(self.node))
        line = [line for line in last if line.get("op") == "evidence"][-1]
        self.assertEqual(line["outcome"], "SHA256SUMS: " + report["sums_sha256"])
        self.assertEqual(report["sums_sha256"], sha256(archive.directory / "SHA256SUMS"))
        self.assertTrue(report["recorded"])

    def check_audit(self, archive):
        """The manifest's command prints the same once more, where the archive was unpacked."""
        again = subprocess.run([BINARY, *archive.entries["audit-verify.json"]["command"][1:]],
                               cwd=archive.directory, capture_output=True)
        self.assertEqual(again.returncode, OK, again.stdout)
        self.assertEqual(again.stdout, archive.read("audit-verify.json"))
        checked = archive.json("audit-verify.json")
        self.assertEqual(sorted(file["file"] for file in checked["files"]),
                         ["audit/log.admin", "audit/log.serve"])
        self.assertGreater(checked["vouched"], 0)
        log = pathlib.Path(kms_audit.serve_log(self.node)).read_bytes()
        self.assertTrue(log.startswith(archive.read("audit/log.serve")))
        self.assertTrue(archive.read("audit/log.serve").endswith(b"\n"))
        ops = {line.get("op") for line in archive.json("audit-show.json")["lines"]}
        self.assertLessEqual({"Encrypt", "audit-key"}, ops)

    def check_contents(self, archive):
        for name, schema in (("inventory.json", "key-list"), ("tokens.json", "token-list"),
                             ("tokens/token-1.json", "token-describe"), ("node.json", "status"),
                             ("policy.json", "config-policy"), ("config.json", "config-show"),
                             ("doctor.json", "doctor"), ("audit-show.json", "audit-show"),
                             ("versions.json", "evidence-versions"),
                             ("manifest.json", "evidence-manifest")):
            self.assertEqual(archive.json(name)["schema"], "hsm-kms/%s/v1" % schema)
        labelled, proven = archive.json("verify-labelled.json"), archive.json("verify-proven.json")
        self.assertEqual((labelled["level"], proven["level"]), ("labelled", "proven"))
        self.assertEqual(archive.read("snapshots.jsonl"),
                         pathlib.Path(self.node.state_dir, "snapshots.jsonl").read_bytes())
        self.assertEqual(archive.json("config.json")["fields"]["tokens[0].pin_file"],
                         self.node.token.pin_file)
        config, node = archive.json("config.json"), archive.json("node.json")["configuration"]
        self.assertEqual((config["settings_sha256"], config["vouched_sha256"]),
                         (node["settings_sha256"], node["vouched_sha256"]))
        self.assertIn("the running plugin uses the same", archive.entries["config.json"]["notes"][0])
        self.assertRegex(archive.read("audit/prod.audit.pem"),
                         rb"^-----BEGIN PUBLIC KEY-----\n[^-]*-----END PUBLIC KEY-----\n$")
        policy = archive.json("policy.json")
        self.assertEqual((policy["promoted"], policy["fields"]["policy.destroy_wait"]), (1, "30d"))
        self.check_versions(archive.json("versions.json"))
        entry = archive.entries["operator/statement.txt"]
        self.assertEqual((entry["asserted_by_operator"], entry["what"]),
                         (True, "asserted by the operator"))
        self.assertEqual([entry["file"] for entry in archive.manifest["files"]
                          if entry["asserted_by_operator"]], ["operator/statement.txt"])

    def check_versions(self, versions):
        self.assertEqual(versions["hsm_kms"]["sha256"], sha256(BINARY))
        libraries = {library["name"].split(".so")[0]: library for library in versions["libraries"]}
        for name in ("libcrypto", "libgrpc", "libprotobuf-c", "libyaml-0", "libjansson",
                     "libarchive"):
            self.assertRegex(libraries[name]["version"], r"\d+\.\d+")
        for name in ("libp11-kit", "libsystemd"):
            self.assertEqual(libraries[name]["sha256"], sha256(libraries[name]["file"]))
        token, = versions["tokens"]
        self.assertEqual(token["sha256"], sha256(token["module"]))
        self.assertIn("SoftHSM", token["model"] + token["library"])
        self.assertEqual(versions["kernel"]["release"], os.uname().release)
        self.assertTrue(versions["os_release"]["ID"])

    def check_secrets(self, archive):
        whole = pathlib.Path(archive.path).read_bytes()
        self.assertIn(b"prod.v1", whole)  # it isn't compressed
        for secret in (self.node.token.pin.encode(), MARK, self.source.secret,
                       self.source.secret.hex().encode()):
            self.assertNotIn(secret, whole)

    def test_a_snapshot_will_do(self):
        _, archive = self.archive(OK, "--snapshot", self.snapshot)
        self.assertEqual(archive.json("verify-proven.json")["source"]["kind"], "snapshot")
        notes = archive.entries["verify-proven.json"]["notes"]
        self.assertIn("proven: 1 of 1 DEK seeds unwrapped, 0 objects opened", notes)
        self.assertTrue(any("of the snapshot %s, revision" % self.snapshot in note
                            for note in notes), notes)

    def test_without_etcd_the_reports_are_missing_and_said_so(self):
        report, archive = self.archive(FINDINGS)
        self.assertEqual(report["missing"], ["verify-labelled.json", "verify-proven.json"])
        self.assertNotIn("verify-proven.json", archive.names)
        entry = archive.entries["verify-proven.json"]
        self.assertEqual((entry["status"], entry["reason"], entry["sha256"]),
                         ("missing", "no --etcd nor --snapshot was given", None))
        self.assertIn(b"no --etcd nor --snapshot", archive.read("README.txt"))

    def test_plaintext_in_etcd_is_a_finding_and_the_report_is_there(self):
        report, archive = self.archive(FINDINGS, "--etcd", self.etcd.url, "--key-id",
                                       "prod.v9." + "ab" * 16)
        self.assertEqual(report["findings"], ["verify-labelled.json", "verify-proven.json"])
        self.assertEqual(archive.entries["verify-proven.json"]["exit_status"],
                         archive.entries["verify-labelled.json"]["exit_status"])
        self.assertIn("verify-proven.json", archive.names)

    def test_an_etcd_that_is_away_is_a_missing_report(self):
        report, archive = self.archive(FINDINGS, "--etcd", "http://127.0.0.1:1", "--timeout", "5s")
        self.assertEqual(report["missing"], ["verify-labelled.json", "verify-proven.json"])
        self.assertTrue(archive.entries["verify-proven.json"]["reason"])

    def test_nodes_are_compared_where_several_are_named(self):
        exported = self.directory / "other.json"
        done = self.node.run("key", "nodes", "--export", "--config", self.node.config_path)
        exported.write_text(done.stdout)
        _, archive = self.archive(OK, "--snapshot", self.snapshot, "--nodes", exported)
        self.assertEqual(archive.json("nodes.json")["schema"], "hsm-kms/key-nodes/v1")

    def test_options_of_verify_and_doctor_are_handed_on(self):
        broken = self.directory / "enc.yaml"
        broken.write_text("[")
        _, archive = self.archive(
            FINDINGS, "--snapshot", self.snapshot, "--prefix", "/elsewhere", "--exempt", "events",
            "--sample", "3", "--encryption-config", broken, "--kubeadm-config", broken)
        checks = {check["check"]: check["status"] for check in archive.json("doctor.json")["checks"]}
        self.assertEqual(checks["encryption-config"], "FAIL")
        for name, more in (("verify-labelled.json", []), ("verify-proven.json",
                                                          ["--prove", "--sample=3"])):
            words = archive.entries[name]["command"]
            self.assertEqual(words[-2 - len(more):], ["--prefix=/elsewhere", "--exempt=events", *more])

    def test_a_dry_run_lists_and_writes_nothing(self):
        before = kms_audit.lines_of(kms_audit.admin_log(self.node))
        folder = self.folder()
        report = self.evidence(OK, "--dry-run", "--out", os.path.join(folder, "evidence.tar"))
        names = [entry["file"] for entry in report["files"]]
        self.assertLessEqual(ALWAYS | set(ABOUT) | {"nodes.json"}, set(names))
        self.assertEqual({entry["status"] for entry in report["files"]},
                         {"planned", "missing", "left-out"})
        self.assertEqual((report["dry_run"], report["changed"], report["sha256"]),
                         (True, False, None))
        self.assertEqual(os.listdir(folder), [])
        self.assertEqual([line for line in kms_audit.lines_of(kms_audit.admin_log(self.node))
                          if line not in before and line["type"] == "command"], [])

    def test_what_is_there_is_never_overwritten(self):
        out = os.path.join(self.folder(), "evidence.tar")
        pathlib.Path(out).write_bytes(b"precious")
        said = self.evidence(ERROR, "--out", out)
        self.assertIn("is there already", said)
        self.assertEqual(pathlib.Path(out).read_bytes(), b"precious")

    def test_a_directory_in_the_way_that_is_not_ours_is_left_alone(self):
        folder = pathlib.Path(self.folder())
        (folder / "evidence.tar.stage").mkdir(mode=0o700)
        (folder / "evidence.tar.stage/precious").write_bytes(b"x")
        said = self.evidence(ERROR, "--out", folder / "evidence.tar")
        self.assertIn("nothing that a run of ours left", said)
        self.assertTrue((folder / "evidence.tar.stage/precious").exists())

    def test_a_statement_that_can_not_be_had_is_an_error_before_anything_is_done(self):
        folder = pathlib.Path(self.folder())
        big = folder / "big.bin"
        with open(big, "wb") as out:
            out.truncate(17 * 1024 * 1024)
        for path, word in ((folder / "none.txt", "can't be opened"), (folder, "is no file"),
                           (big, "more than 16 MiB")):
            said = self.evidence(ERROR, "--out", folder / "evidence.tar", "--statement", path)
            self.assertIn(word, said)
        self.assertEqual(os.listdir(folder), ["big.bin"])

    def test_a_secret_is_no_statement(self):
        folder = pathlib.Path(self.folder())
        os.link(self.node.token.pin_file, folder / "pin.txt")
        (folder / "ring.txt").symlink_to(pathlib.Path(self.node.state_dir, "ring.json"))
        for name, word in (("pin.txt", "the PIN of a token"), ("ring.txt", "a file of state_dir")):
            said = self.evidence(ERROR, "--out", folder / "evidence.tar", "--statement",
                                 folder / name)
            self.assertIn(word, said)
        self.assertFalse((folder / "evidence.tar").exists())

    def test_an_archive_is_a_file(self):
        self.assertIn("not stdout", self.evidence(ERROR, "--out", "-"))

    def test_what_has_no_room_is_the_archive(self):
        folder = pathlib.Path(self.folder())
        (folder / "big.bin").write_bytes(bytes(1 << 20))

        def limit():  # as a full disk, for all that this process writes
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        done = subprocess.run(
            self.command("--out", folder / "evidence.tar", "--statement", folder / "big.bin"),
            env=self.node.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, preexec_fn=limit)
        self.assertEqual(done.returncode, ERROR)
        self.assertIn("operator/big.bin into %s/evidence.tar.stage" % folder, done.stderr)
        self.assertEqual(os.listdir(folder), ["big.bin"])

    def test_a_report_that_is_narrowed_says_so(self):
        report, archive = self.archive(OK, "--snapshot", self.snapshot, "--exempt", "events")
        self.assertEqual(report["narrowed"], ["verify-labelled.json", "verify-proven.json"])
        entry = archive.entries["verify-proven.json"]
        self.assertEqual((entry["status"], entry["reason"]), ("ok", "narrowed by --exempt=events"))
        self.assertTrue(entry["narrowed"])
        self.assertIn(b"narrowed by --exempt=events", archive.read("README.txt"))
        done = self.node.run("evidence", "--config", self.node.config_path, "--snapshot",
                             str(self.snapshot), "--exempt", "events", "--out",
                             os.path.join(self.folder(), "e.tar"))
        self.assertIn("\nverify-proven.json is narrowed by --exempt=events\n", done.stdout)

    def test_another_configuration_than_the_running_one_is_a_finding(self):
        self.addCleanup(lambda: self.node.configure(policy={}))
        self.node.configure(policy={"destroy_wait": "31d"})
        report, archive = self.archive(FINDINGS, "--snapshot", self.snapshot)
        self.assertIn("config.json", report["findings"])
        self.assertIn("restart it", archive.entries["config.json"]["reason"])
        checks = {check["check"]: check for check in archive.json("doctor.json")["checks"]}
        self.assertEqual(checks["instance"]["status"], "warn")

    def test_a_password_in_the_url_is_refused(self):
        done = self.node.run("evidence", "--out", "x", "--etcd", "https://me:hidden@127.0.0.1:1")
        self.assertEqual(done.returncode, ERROR)
        self.assertNotIn("hidden", done.stderr)

    def test_config_show_is_what_config_reference_lists(self):
        done = self.node.run("config", "show", "-o", "json", "--config", self.node.config_path)
        shown = json.loads(done.stdout)["fields"]
        table = self.node.run("config", "reference").stdout
        for line in table.splitlines()[2:]:
            field = line.split("`")[1]
            if "[]" not in field:
                self.assertTrue(any(name == field or name.startswith(field + "[")
                                    for name in shown), field)
        self.assertEqual(shown["tokens[0].sessions"], 4)
        text = self.node.run("config", "show", "--config", self.node.config_path).stdout
        self.assertIn("refresh = 1s\n", text)


class AuditExcerpt(EvidenceCase):
    def log_of(self, *files, **audit):
        """A node whose audit log is @files, (name, lines) each."""
        self.node = self.new_node()
        kms_audit.configure(self.node, **audit)
        os.makedirs(self.node.state_dir, 0o700)
        for name, lines in files:
            pathlib.Path(self.node.path("audit"), name).write_bytes(b"".join(lines))

    def listed(self, *flags):
        report = self.evidence(OK, "--dry-run", *flags)
        return [entry["file"] for entry in report["files"] if entry["file"].startswith("audit/log")]

    def chain(self):
        """Two files rotated away, and the one that is written; a day between any two."""
        chain = kms_audit.Chain()
        old = [chain.line(kms_audit.OPEN | {"ts": "2026-10-01T12:00:00.000Z"}),
               chain.line(kms_audit.USE | {"ts": "2026-10-02T12:00:00.000Z"})]
        middle = [chain.line(kms_audit.OPEN | {"ts": "2026-10-02T12:00:00.001Z",
                                               "previous_file": "log.serve.000000000002"}),
                  chain.line(kms_audit.USE | {"ts": "2026-10-03T12:00:00.000Z"})]
        live = [chain.line(kms_audit.OPEN | {"ts": "2026-10-03T12:00:00.001Z",
                                             "previous_file": "log.serve.000000000004"})]
        return (("log.serve.000000000002", old), ("log.serve.000000000004", middle),
                ("log.serve", live))

    def test_files_are_taken_whole_from_the_first_with_a_line_since_then(self):
        self.log_of(*self.chain())
        all_files = ["audit/log.serve.000000000002", "audit/log.serve.000000000004",
                     "audit/log.serve", "audit/log.admin"]
        self.assertEqual(self.listed("--since", "2026-10-01T00:00:00Z"), all_files)
        self.assertEqual(self.listed("--since", "2026-10-02T12:00:00Z"), all_files)
        self.assertEqual(self.listed("--since", "2026-10-02T12:00:01Z"), all_files[1:])

    def test_the_files_that_are_written_are_taken_however_old(self):
        self.log_of(*self.chain())
        self.assertEqual(self.listed("--since", "1h"), ["audit/log.serve", "audit/log.admin"])

    def test_since_takes_a_date_and_not_the_future(self):
        self.log_of(*self.chain())
        self.assertEqual(len(self.listed("--since", "2026-10-02")), 4)
        for wrong in ("2126-01-01T00:00:00Z", "2126-01-01", "2026-10-2", "2026-13-01"):
            self.evidence(ERROR, "--dry-run", "--since", wrong)

    def test_a_log_that_begins_after_since_is_a_finding(self):
        self.log_of(*self.chain()[1:])
        report, archive = self.archive(FINDINGS, "--since", "2026-10-01")
        self.assertIn("audit/log.serve.000000000004", report["findings"])
        entry = archive.entries["audit/log.serve.000000000004"]
        self.assertIn("the log begins at 2026-10-02T12:00:00.001Z", entry["reason"])
        self.assertEqual(archive.manifest["audit"], [
            {"writer": "serve", "from": "2026-10-02T12:00:00.001Z"},
            {"writer": "admin", "from": None}])
        self.assertIn(b'The audit log of "serve" is here from 2026-10-02T12:00:00.001Z on',
                      archive.read("README.txt"))
        report, archive = self.archive(FINDINGS, "--since", "2026-10-03")
        self.assertNotIn("audit/log.serve.000000000004", report["findings"])

    def test_a_log_that_was_taken_away_is_missing(self):
        self.log_of(*self.chain()[:2], ("log.admin.lock", []))
        report, _ = self.archive(FINDINGS, "--since", "2026-10-01")
        self.assertLessEqual({"audit/log.serve", "audit/log.admin"}, set(report["missing"]))

    def test_a_log_that_was_never_written_is_left_out(self):
        self.log_of()
        report, _ = self.archive(FINDINGS)
        self.assertLessEqual({"audit/log.serve", "audit/log.admin"}, set(report["left_out"]))

    def test_an_incomplete_last_line_is_cut_off_and_all_is_joined(self):
        files = self.chain()
        whole = b"".join(files[2][1])
        self.log_of(*files[:2], ("log.serve", [whole, b'{"chain":"half']))
        _, archive = self.archive(FINDINGS, "--since", "2026-10-01T00:00:00Z")
        self.assertEqual(archive.read("audit/log.serve"), whole)
        checked = archive.json("audit-verify.json")
        self.assertEqual([file["joined_to"] for file in checked["files"]],
                         [None, "audit/log.serve.000000000002", "audit/log.serve.000000000004"])
        self.assertTrue(checked["ok"])
        self.assertEqual(archive.entries["audit/log.admin"]["status"], "left-out")
        shown = archive.json("audit-show.json")["lines"]
        self.assertEqual(len(shown), 5)

    def test_a_changed_line_is_a_finding(self):
        files = self.chain()
        name, lines = files[0]
        self.log_of((name, [lines[0], lines[1].replace(b"Decrypt", b"Encrypt")]), *files[1:])
        report, archive = self.archive(FINDINGS, "--since", "2026-10-01T00:00:00Z")
        self.assertIn("audit-verify.json", report["findings"])
        self.assertFalse(archive.json("audit-verify.json")["ok"])

    def test_without_a_log_it_is_missing(self):
        self.node = self.new_node()
        os.makedirs(self.node.state_dir, 0o700)
        report, archive = self.archive(FINDINGS)
        self.assertLessEqual({"audit/prod.audit.pem", "audit-verify.json", "audit-show.json"},
                             set(report["missing"]))
        self.assertIn("audit.path", archive.entries["audit-verify.json"]["reason"])
        self.assertFalse(report["recorded"])

    def test_links_and_files_of_others_are_not_followed_for_root(self):
        secret = pathlib.Path(self.folder()) / "roots"
        secret.write_text("root's own\n")
        self.log_of(*self.chain())
        log = pathlib.Path(kms_audit.serve_log(self.node))
        os.chown(self.node.state_dir, SERVICE, SERVICE)
        log.unlink()
        log.symlink_to(secret)
        report, archive = self.archive(FINDINGS)
        self.assertIn("audit/log.serve", report["missing"])
        log.unlink()
        os.link(secret, log)
        report, archive = self.archive(FINDINGS)
        self.assertIn("belongs to uid 0", archive.entries["audit/log.serve"]["reason"])
        self.assertNotIn(b"root's own", pathlib.Path(archive.path).read_bytes())


class Trouble(EvidenceCase):
    def test_a_plugin_that_does_not_run_is_missing_with_its_reason(self):
        self.node = self.new_node().make_token()
        self.node.key_create()
        report, archive = self.archive(FINDINGS)
        self.assertLessEqual({"node.json", "tokens.json"}, set(report["missing"]))
        entry = archive.entries["node.json"]
        self.assertEqual((entry["exit_status"], entry["exit_meaning"]), (1, "an error"))
        self.assertIn(self.node.socket, entry["reason"])
        self.assertIn(self.node.socket, entry["stderr"][-1])
        self.assertNotIn("node.json", archive.names)
        self.assertIn("inventory.json", archive.names)

    def hanging_node(self):
        self.node = self.new_node().make_token()
        module = Misbehaviour(self.node)
        self.node.key_create()
        module.tell("C_FindObjectsInit hang always")
        return module

    def test_a_token_that_hangs_is_given_up_at_the_deadline(self):
        self.hanging_node()
        report, archive = self.archive(FINDINGS, "--timeout", "3s")
        self.assertIn("inventory.json", report["missing"])
        entry = archive.entries["inventory.json"]
        self.assertIn("wasn't done after 3 s", entry["reason"])
        self.assertEqual(entry["exit_meaning"], "killed at its deadline")
        self.assertGreaterEqual(entry["duration_ms"], 3000)
        self.assertIn("config.json", archive.names)

    @contextlib.contextmanager
    def in_the_middle(self, module, out):
        """A run whose first command hangs in the token.  A shell that started the tests in the
        background had SIGINT ignored, which evidence would respect."""
        with subprocess.Popen(self.command("--out", out), env=self.node.environment(),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                              ) as process:
            try:
                module.wait_hanging("C_FindObjectsInit")
                yield process
            finally:
                process.kill()

    def check_stopped_by(self, number):
        module = self.hanging_node()
        folder = self.folder()
        with self.in_the_middle(module, os.path.join(folder, "evidence.tar")) as process:
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out), (ERROR, ""))
        self.assertIn("stopped by", err)
        self.assertEqual(os.listdir(folder), [])

    def test_sigterm_ends_the_command_and_leaves_nothing(self):
        self.check_stopped_by(signal.SIGTERM)

    def test_sigint_ends_the_command_and_leaves_nothing(self):
        self.check_stopped_by(signal.SIGINT)

    def test_what_a_killed_run_left_is_removed_by_the_next(self):
        module = self.hanging_node()
        folder = self.folder()
        out = os.path.join(folder, "evidence.tar")
        with self.in_the_middle(module, out) as process:
            process.kill()
            process.communicate(timeout=60)
        self.assertEqual(os.listdir(folder), ["evidence.tar.stage"])
        module.tell()
        report = self.evidence(FINDINGS, "--out", out)
        self.assertEqual(os.listdir(folder), ["evidence.tar"])
        archive = Archive(out, os.path.join(self.folder(), "unpacked"))
        self.assertEqual(archive.entries["inventory.json"]["status"], "ok")
        self.assertEqual(report["sha256"], sha256(out))

    def test_two_runs_for_one_archive_do_not_meet(self):
        module = self.hanging_node()
        out = os.path.join(self.folder(), "evidence.tar")
        with self.in_the_middle(module, out):
            self.assertIn("another run", self.evidence(ERROR, "--out", out))

    def test_without_a_configuration_there_is_no_archive(self):
        self.node = self.new_node()
        self.node.write_config("ring: [")
        out = os.path.join(self.folder(), "evidence.tar")
        self.evidence(ERROR, "--out", out)
        self.assertFalse(os.path.exists(out))

    def test_root_reads_and_the_service_owns_the_audit_line(self):
        self.node = self.new_node().make_token()
        kms_audit.configure(self.node)
        os.makedirs(self.node.state_dir, 0o700)
        for path in (self.node.state_dir, self.node.path("audit"), self.node.path("audit")):
            os.chown(path, SERVICE, SERVICE)
        report, _ = self.archive(FINDINGS)
        self.assertTrue(report["recorded"])
        self.assertEqual(os.stat(kms_audit.admin_log(self.node)).st_uid, SERVICE)

