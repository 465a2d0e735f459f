# SPDX-License-Identifier: Apache-2.0
"""A real etcd and a real kube-apiserver on loopback, and clients for both."""

import base64
import json
import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request

from daemon import Daemon, wait_until

TOKEN = "e2e-admin-token"
READY_S = 120
CALL_S = 30  # more than the 10 s that kube-apiserver may wait for the plugin

ENCRYPTION_CONFIG = """\
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: ["*.*"]
  providers:
  - kms: {{apiVersion: v2, name: {name}, endpoint: "{endpoint}", timeout: 3s}}
  - identity: {{}}
"""


class Etcd:
    def __init__(self, directory, client_port, peer_port):
        binary = shutil.which("etcd")
        if binary is None:
            raise RuntimeError("etcd is missing; run as root: apt-get install etcd-server")
        self.url = f"http://127.0.0.1:{client_port}"
        self.data = directory / "etcd"
        self.peer = peer = f"http://127.0.0.1:{peer_port}"
        self.daemon = Daemon("etcd", [
            binary, "--name", "e2e", "--data-dir", self.data, "--log-level", "warn",
            "--unsafe-no-fsync",  # this data lives for minutes
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"e2e={peer}"], directory)

    def start(self):
        self.daemon.start()
        wait_until(self.is_healthy, "etcd is healthy", READY_S, alive=[self.daemon])
        return self

    def is_healthy(self):
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=CALL_S) as answer:
                return json.load(answer).get("health") == "true"
        except OSError:
            return False

    def range(self, key, range_end=None):
        """{key: raw value} of one key, or of all keys from key to range_end."""
        request = {"key": base64.b64encode(key).decode()}
        if range_end is not None:
            request["range_end"] = base64.b64encode(range_end).decode()
        with urllib.request.urlopen(f"{self.url}/v3/kv/range", json.dumps(request).encode(),
                                    timeout=CALL_S) as answer:
            return {base64.b64decode(kv["key"]): base64.b64decode(kv.get("value", ""))
                    for kv in json.load(answer).get("kvs", [])}

    def get(self, key):
        return self.range(key.encode())[key.encode()]

    def registry(self):
        return self.range(b"/registry/", b"/registry0")

    def save(self, path):
        """What an operator's backup is."""
        run_etcdctl("etcdctl", "--endpoints", self.url, "snapshot", "save", path)

    def restore(self, path):
        """Stopped, and with all its data in the snapshot's place."""
        self.stop()
        shutil.rmtree(self.data)
        tool = "etcdutl" if shutil.which("etcdutl") else "etcdctl"  # etcd 3.6 has but the former
        run_etcdctl(tool, "snapshot", "restore", path, "--data-dir", self.data, "--name", "e2e",
                    "--initial-cluster", f"e2e={self.peer}",
                    "--initial-advertise-peer-urls", self.peer)

    def stop(self):
        return self.daemon.stop()


def run_etcdctl(*words):
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, env={**os.environ, "ETCDCTL_API": "3"},
                          timeout=READY_S)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")


class ApiServer:
    def __init__(self, binary, directory, etcd, port, provider, endpoint):
        self.url = f"https://127.0.0.1:{port}"
        # The certificate is one that kube-apiserver makes for itself at its first start.
        self.tls = ssl._create_unverified_context()
        self.directory = directory
        self.write_files(provider, endpoint)
        self.daemon = Daemon("kube-apiserver", [
            binary, f"--etcd-servers={etcd.url}", f"--secure-port={port}",
            "--bind-address=127.0.0.1", f"--cert-dir={directory}/certs",
            "--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC",
            f"--token-auth-file={directory}/tokens.csv",
            "--service-account-issuer=https://e2e.invalid",
            f"--service-account-key-file={directory}/sa.pub",
            f"--service-account-signing-key-file={directory}/sa.key",
            f"--encryption-provider-config={directory}/encryption.yaml",
            "--encryption-provider-config-automatic-reload=true",
            "--endpoint-reconciler-type=none", "--enable-priority-and-fairness=false",
            "--profiling=false", "--v=2"], directory)

    def write_files(self, provider, endpoint):
        for path, text in (("tokens.csv", f"{TOKEN},admin,admin,system:masters\n"),
                           ("encryption.yaml",
                            ENCRYPTION_CONFIG.format(name=provider, endpoint=endpoint))):
            (self.directory / path).write_text(text)
        key, public = self.directory / "sa.key", self.directory / "sa.pub"
        for command in (["openssl", "genrsa", "-out", key, "2048"],
                        ["openssl", "rsa", "-in", key, "-pubout", "-out", public]):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)

    def start(self):
        self.daemon.start()
        wait_until(self.is_ready, "kube-apiserver is ready", READY_S, 0.5, alive=[self.daemon])
        return self

    def is_ready(self):
        try:
            return self.call("GET", "/readyz") == (200, b"ok")
        except OSError:
            return False

    def call(self, method, path, body=None):
        """(HTTP status, body bytes); body is an object to send as JSON."""
        request = urllib.request.Request(self.url + path, method=method, headers={
            "Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
        if body is not None:
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=CALL_S, context=self.tls) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read()

    def must(self, method, path, body=None):
        status, answer = self.call(method, path, body)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: HTTP {status}: {answer.decode(errors='replace')}")
        return json.loads(answer)

    def stop(self):
        return self.daemon.stop()
