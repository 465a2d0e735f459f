# SPDX-License-Identifier: Apache-2.0
"""hsm-kms doctor on real tokens: what it finds, what it spends, and that it changes nothing."""

import json
import os
import subprocess
import sys
import unittest

from kms_case import Case, SharedCase
from kms_token import MODULE, spy_module

FINDINGS = 2
SERVICE = 65534
DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/deploy")
MANIFEST = """
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: kube-apiserver
    command: [kube-apiserver, --encryption-provider-config=%(enc)s,
      --encryption-provider-config-automatic-reload=true, "--etcd-servers=https://127.0.0.1:2379"]
    livenessProbe: {httpGet: {path: /livez}}
    volumeMounts:
    - {name: enc, mountPath: %(dir)s}
    - {name: socket, mountPath: %(run)s}
  volumes:
  - {name: enc, hostPath: {path: %(dir)s}}
  - {name: socket, hostPath: {path: %(run)s}}
"""


def examine(case, node, *flags, code=0):
    """{check: {status, reason, fix}} of a run that ends with @code."""
    done = node.run("doctor", "--config", node.config_path, "-o", "json", *flags)
    case.assertEqual(done.returncode, code, done.stdout + done.stderr)
    case.assertNotIn(node.token.pin, done.stdout + done.stderr)
    report = json.loads(done.stdout)
    case.assertEqual(report["schema"], "hsm-kms/doctor/v1")
    return {check["check"]: check for check in report["checks"]}


class Healthy(SharedCase):
    def examine(self, *flags, code=0):
        return examine(self, self.node, *flags, code=code)

    def test_a_serving_node_has_no_failure(self):
        checks = self.examine()
        for name in ("config", "module", "token", "pin-file", "pin-counter", "pin-accepted", "profile",
                     "kek-attributes", "duplicate-generations", "foreign-generations",
                     "other-rings", "pins", "activation", "key-age", "instance", "state-dir",
                     "directories", "socket-directory", "socket", "peer-rules"):
            self.assertEqual(checks[name]["status"], "ok", checks[name])

    def test_every_check_has_a_status_a_reason_and_unless_ok_a_fix(self):
        checks = self.examine()
        self.assertGreaterEqual(len(checks), 25)
        for check in checks.values():
            self.assertEqual(sorted(check), ["check", "fix", "reason", "status"])
            self.assertIn(check["status"], ("ok", "warn", "FAIL"))
            self.assertTrue(check["reason"])
            self.assertEqual(check["fix"] is None, check["status"] == "ok", check)

    def test_what_it_doesnt_cover_is_listed(self):
        done = self.node.run("doctor", "--config", self.node.config_path)
        for words in ("Velero", "audit log", "etcd", "persistent volumes", "databases"):
            self.assertIn(words, done.stdout.partition("not covered")[2])

    def test_the_text_has_what_the_json_has(self):
        done = self.node.run("doctor", "--config", self.node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name, check in self.examine().items():
            self.assertRegex(done.stdout, r"(?m)^%s +%s " % (check["status"], name))
        self.assertRegex(done.stdout, r"(?m)^\d+ ok, \d+ warn, 0 FAIL$")

    def test_the_list_of_checks_is_complete(self):
        done = self.node.run("doctor", "--list-checks")
        self.assertEqual(done.returncode, 0, done.stderr)
        listed = [line.split("`")[1] for line in done.stdout.splitlines()[2:]]
        self.assertEqual(listed, list(self.examine()))

    def test_nothing_on_the_token_changes(self):
        before = self.node.token.objects()
        self.examine()
        self.assertEqual(self.node.token.objects(), before)

    def test_a_max_age_that_is_no_duration_is_a_usage_error(self):
        done = self.node.run("doctor", "--max-age", "soon")
        self.assertEqual(done.returncode, 1)
        self.assertIn("duration", done.stderr)

    def test_the_login_may_destroy_the_kek_and_that_is_told(self):
        check = self.examine()["login-rights"]
        self.assertEqual(check["status"], "warn")
        self.assertIn("destroy 1", check["reason"])

    def test_kube_apiservers_files_are_looked_at(self):
        enc = self.node.path("enc/encryption.yaml")
        os.makedirs(os.path.dirname(enc), exist_ok=True)
        with open(os.path.join(DEPLOY, "encryption.yaml"), encoding="utf-8") as sample:
            text = sample.read().replace("/run/kmsplugin/hsm-kms.sock", self.node.socket)
        with open(enc, "w", encoding="utf-8") as out:
            out.write(text)
        manifest = self.node.path("kube-apiserver.yaml")
        with open(manifest, "w", encoding="utf-8") as out:
            out.write(MANIFEST % {"enc": enc, "dir": os.path.dirname(enc),
                                  "run": self.node.socket_dir})
        checks = self.examine("--encryption-config", enc, "--apiserver-manifest", manifest)
        for name, check in checks.items():
            if name.startswith(("encryption-", "apiserver-", "etcd-tls")):
                self.assertEqual(check["status"], "ok", check)

    def test_a_process_is_asked_what_files_it_sees(self):
        """The command line of a process that is called kube-apiserver, in our mount namespace."""
        with subprocess.Popen(
                ["kube-apiserver", "-c", "import sys; sys.stdin.read()",
                 "--encryption-provider-config=" + self.node.config_path],
                executable=sys.executable, stdin=subprocess.PIPE) as process:
            checks = self.examine("--apiserver-manifest", "/proc/%d/cmdline" % process.pid)
            other = self.examine("--apiserver-manifest", "/proc/self/cmdline", code=FINDINGS)
            process.stdin.close()
        for name in ("config", "config-mount", "socket-mount"):
            self.assertEqual(checks["apiserver-" + name]["status"], "ok", checks)
        self.assertEqual(checks["apiserver-liveness"]["status"], "warn")
        self.assertIn("isn't kube-apiserver's", other["apiserver-manifest"]["reason"])

    def test_kubeadms_configuration_is_compared_with_the_manifest(self):
        """What docs/deploy gives to kubeadm keeps encryption; a manifest by hand loses it."""
        run, enc = self.node.socket_dir, "/etc/kubernetes/hsm-kms"
        with open(os.path.join(DEPLOY, "kubeadm.yaml"), encoding="utf-8") as sample:
            text = sample.read().replace("/run/kmsplugin", run)
        kubeadm, manifest = self.node.path("kubeadm.yaml"), self.node.path("by-kubeadm.yaml")
        with open(kubeadm, "w", encoding="utf-8") as out:
            out.write(text)
        with open(manifest, "w", encoding="utf-8") as out:
            out.write(MANIFEST % {"enc": enc + "/encryption.yaml", "dir": enc, "run": run})
        flags = ("--apiserver-manifest", manifest, "--kubeadm-config", kubeadm)
        checks = self.examine(*flags)
        for name in checks:
            if name.startswith("kubeadm-"):
                self.assertEqual(checks[name]["status"], "ok", checks[name])
        with open(kubeadm, "w", encoding="utf-8") as out:
            out.write("apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n")
        checks = self.examine(*flags, code=FINDINGS)
        for name in ("flag", "socket-mount", "manifest"):
            self.assertEqual(checks["kubeadm-" + name]["status"], "FAIL", checks)

    def test_the_hosts_files_may_be_elsewhere(self):
        enc = self.node.path("host/etc/encryption.yaml")
        os.makedirs(os.path.dirname(enc), exist_ok=True)
        with open(enc, "w", encoding="utf-8") as out:
            out.write("kind: [\n")
        checks = self.examine("--host-root", self.node.path("host"), "--encryption-config",
                              "/etc/encryption.yaml", code=FINDINGS)
        self.assertIn(enc, checks["encryption-config"]["reason"])
        self.assertEqual(checks["encryption-name"]["status"], "warn")


class Broken(Case):
    def ready(self):
        node = self.new_node().make_token()
        node.key_create()
        return node

    def check(self, node, name, *flags, status="FAIL"):
        """The finding of a node that doesn't serve, so that `instance` fails in any case."""
        check = examine(self, node, *flags, code=FINDINGS)[name]
        self.assertEqual(check["status"], status, check)
        return check

    def test_a_configuration_that_cant_be_used_is_a_finding(self):
        node = self.new_node()
        node.write_config("ring: prod\nrings: 1\n")
        self.assertIn("config.yaml:2", self.check(node, "config")["reason"])
        self.check(node, "module", status="warn")

    def test_a_plugin_that_doesnt_run_is_a_finding(self):
        node = self.ready()
        self.assertIn(node.socket, self.check(node, "instance")["reason"])
        self.check(node, "socket")

    def test_a_library_that_isnt_there_is_told_by_the_loader(self):
        node = self.ready()
        node.config["tokens"][0]["module"] = "/nonexistent/libvendor.so"
        node.configure()
        self.assertIn("No such file", self.check(node, "module")["reason"])
        self.check(node, "pin-accepted", status="warn")

    def test_libraries_that_a_module_lacks_are_named(self):
        node = self.ready()
        needed = [node.path("lib%s.so" % name) for name in ("doctorone", "doctortwo")]
        source = node.path("empty.c")
        with open(source, "w", encoding="ascii") as out:
            out.write("int empty;\n")
        for library in needed:
            subprocess.run(["cc", "-shared", "-o", library, source], check=True)
        module = node.path("libvendor.so")
        subprocess.run(["cc", "-shared", "-o", module, source, "-Wl,--no-as-needed", "-L",
                        node.directory, "-ldoctorone", "-ldoctortwo"], check=True)
        for library in needed:
            os.unlink(library)
        node.config["tokens"][0]["module"] = module
        node.configure()
        self.assertIn("missing: libdoctorone.so, libdoctortwo.so",
                      self.check(node, "module")["reason"])

    def test_a_token_that_isnt_there_or_isnt_alone_is_told(self):
        node = self.ready()
        node.token.make_another(node.token.label)
        self.assertIn("serial", self.check(node, "token")["reason"])
        node.config["tokens"][0]["uri"] = "pkcs11:token=absent"
        node.configure()
        self.assertIn(node.token.label, self.check(node, "token")["reason"])

    def test_a_pin_file_for_all_to_read_is_told(self):
        node = self.ready()
        node.token.write_pin(node.token.pin, mode=0o444)
        self.assertIn("0444", self.check(node, "pin-file")["reason"])
        self.check(node, "pin-accepted")

    def test_a_key_of_another_ring_is_a_warning_and_isnt_used(self):
        node = self.ready()
        other = self.new_node(token=node.token, ring="stage")
        other.key_create()
        check = self.check(node, "other-rings", status="warn")
        self.assertIn("'stage'", check["reason"])

    def test_duplicates_and_foreign_keys_are_told(self):
        node = self.ready()
        label, = node.token.labels()
        node.token.generate(label, "0badcafe")
        node.token.import_key("prod.v2@20260101T000000Z", "0badcaff")
        self.assertIn("2 keys of generation 1", self.check(node, "duplicate-generations")["reason"])
        self.assertIn("generation 2", self.check(node, "foreign-generations")["reason"])

    def test_another_key_of_the_same_number_on_a_second_token_is_told(self):
        node = self.ready()
        label, = node.token.labels()
        first = dict(node.config["tokens"][0], name="one")
        node.configure(tokens=[first, dict(first, name="two", uri="pkcs11:token=spare")])
        node.token.make_another("spare")
        node.token.label = "spare"
        node.token.generate(label, "0badcafe")
        self.assertRegex(self.check(node, "foreign-generations")["reason"],
                         "generation 1 is the key [0-9a-f]{16} on one and [0-9a-f]{16} on two")
        self.check(node, "duplicate-generations", status="ok")

    def test_a_kek_in_the_place_of_another_is_told(self):
        node = self.ready().up()
        node.stop()
        label, = node.token.labels()
        node.token.delete(label, node.token.list_ids()[label])
        node.token.generate(label, "0badcafe")
        self.assertIn("another fingerprint", self.check(node, "pins")["reason"])

    def test_a_disabled_kek_says_what_a_quiet_time_proves(self):
        node = self.ready()
        node.token.generate("prod.v2@20260101T000000Z", "02")
        node.up().wait_generation(2)
        node.stop()
        done = node.run("key", "disable", "1", "--config", node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("quiet days prove nothing, since kube-apiserver serves the seeds",
                      self.check(node, "disabled-keys", status="warn")["reason"])
        self.check(node, "foreign-generations", status="ok")

    def test_a_kek_that_is_gone_is_told(self):
        node = self.ready().up()
        node.stop()
        label, = node.token.labels()
        node.token.delete(label, node.token.list_ids()[label])
        self.assertIn("generation 1", self.check(node, "pins")["reason"])
        self.check(node, "activation")

    def test_a_damaged_memory_is_told(self):
        node = self.ready().up()
        node.stop()
        with open(node.ring_json, "w", encoding="ascii") as out:
            out.write("{")
        self.assertIn("ring.json", self.check(node, "pins")["reason"])

    def test_the_audit_log_is_looked_at_as_the_service_and_by_the_plugins_word(self):
        node = self.ready()
        logs = node.path("audit")
        os.mkdir(logs, 0o700)
        node.configure(audit={"path": os.path.join(logs, "log")})
        node.up()
        checks = examine(self, node)
        self.assertRegex(checks["audit-log"]["reason"], r"log\.serve: \d+ lines, the last ")
        self.assertEqual(checks["audit-log"]["status"], "ok")
        node.configure(audit={"path": os.path.join(logs, "gone/log")})
        self.assertIn("can't write to", self.check(node, "audit-log")["reason"])

    def test_a_node_without_an_audit_log_is_a_warning(self):
        self.assertIn("none is configured",
                      self.check(self.ready(), "audit-log", status="warn")["reason"])

    def test_a_node_that_never_served_is_a_warning(self):
        node = self.ready()
        self.check(node, "pins", status="warn")
        self.check(node, "activation", status="warn")

    def test_a_recorded_backup_is_found(self):
        node = self.new_node().make_token()
        os.mkdir(node.state_dir, 0o700)
        done = node.run("key", "prepare", "--config", node.config_path, "-o", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        identity = json.loads(done.stdout)["label"].rpartition(".")[2]
        done = node.run("key", "commit", identity, "--config", node.config_path, "--backup-ref",
                        "safe 7")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(node, "backup", status="ok")
        node.token.generate("prod.v2@20260101T000000Z", "02")
        self.assertIn("generation 2", self.check(node, "backup", status="warn")["reason"])

    def test_an_old_key_is_a_warning_and_beyond_max_age_fails(self):
        node = self.new_node().make_token()
        node.token.generate("prod.v1@20200101T000000Z", "01")
        node.up().stop()
        self.assertIn("90 are allowed", self.check(node, "key-age", status="warn")["reason"])
        self.check(node, "key-age", "--max-age", "365d")
        node.configure(policy={"max_age": "365d"})
        self.assertIn("365 are allowed by policy.max_age", self.check(node, "key-age")["reason"])
        self.check(node, "key-age", "--max-age", "36500d", status="ok")

    def test_root_becomes_the_plugins_account_for_the_token(self):
        node = self.ready()
        os.mkdir(node.state_dir, 0o700)
        for path in (node.state_dir, node.token.pin_file, *self.files_of(node.token.tokens)):
            os.chown(path, SERVICE, SERVICE)
        os.chmod(node.token.directory, 0o711)
        os.chmod(node.token.conf, 0o644)
        self.assertIn("uid %d" % SERVICE, self.check(node, "pin-file", status="ok")["reason"])
        self.check(node, "pin-accepted", status="ok")
        self.check(node, "kek-attributes", status="ok")
        os.chown(node.token.pin_file, 0, 0)
        self.check(node, "pin-file")
        self.check(node, "pin-accepted")

    def files_of(self, top):
        yield top
        for directory, directories, files in os.walk(top):
            yield from (os.path.join(directory, name) for name in directories + files)

    def test_a_second_token_that_is_away_is_told_by_name(self):
        node = self.ready()
        first = dict(node.config["tokens"][0], name="one")
        node.configure(tokens=[first, dict(first, name="two", uri="pkcs11:token=absent")])
        self.assertIn("two: ", self.check(node, "token")["reason"])
        self.check(node, "pin-accepted", status="ok")


class Attempts(Case):
    """A spy counts the logins."""

    def setUp(self):
        super().setUp()
        self.node = self.new_node().make_token()
        self.node.key_create()
        os.mkdir(self.node.state_dir, 0o700)
        self.calls = self.node.path("spy.log")
        self.node.env = {"PKCS11SPY": MODULE, "PKCS11SPY_OUTPUT": self.calls}
        self.node.config["tokens"][0]["module"] = spy_module()
        self.node.configure()

    def logins(self):
        with open(self.calls, encoding="utf-8", errors="replace") as lines:
            return sum(": C_Login" in line for line in lines)

    def pin_check(self):
        return examine(self, self.node, code=FINDINGS)["pin-accepted"]

    def test_a_wrong_pin_spends_one_attempt_over_all_runs(self):
        self.node.token.write_pin("wrong")
        self.assertEqual(self.pin_check()["status"], "FAIL")
        self.assertEqual(self.logins(), 1)
        self.assertEqual(self.pin_check()["status"], "warn")
        self.assertEqual(self.logins(), 1)

    def test_no_attempt_is_spent_while_the_counter_is_low(self):
        self.node.token.write_pin("wrong")
        self.pin_check()
        self.node.token.write_pin(self.node.token.pin)
        checks = examine(self, self.node, code=FINDINGS)
        self.assertEqual(checks["pin-counter"]["status"], "warn")
        self.assertEqual(checks["pin-accepted"]["status"], "warn")
        self.assertIn("not tried", checks["pin-accepted"]["reason"])
        self.assertEqual(checks["profile"]["status"], "warn")
        self.assertEqual(self.logins(), 1)

    def test_a_good_pin_is_accepted(self):
        self.assertEqual(self.pin_check()["status"], "ok")


if __name__ == "__main__":
    unittest.main()
