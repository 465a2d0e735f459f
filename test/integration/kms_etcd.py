# SPDX-License-Identifier: Apache-2.0
"""A real etcd on loopback, filled over its JSON gateway; what etcdctl and etcd_dump say of it."""

import base64
import datetime
import hashlib
import http.client
import ipaddress
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
from daemon import Daemon, free_ports, wait_until  # noqa: E402

HSM_KMS = pathlib.Path(os.environ.get("HSM_KMS", "")).resolve()
DUMP = HSM_KMS.parent / "../../test/integration/etcd_dump"
READY_S = 60
CALL_S = 60
TXN_MAX = 100  # etcd's own limit is 128


def b64(data):
    return base64.b64encode(data).decode()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Certificates:
    """A CA, and certificates of it for 127.0.0.1; as PEM files in a directory."""

    def __init__(self, directory, name="ca"):
        self.directory = pathlib.Path(directory)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = self.write(name, self.sign(self.name, self.key.public_key(), True))

    def sign(self, subject, public_key, is_ca):
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
                .public_key(public_key).serial_number(x509.random_serial_number())
                .not_valid_before(now - day).not_valid_after(now + day)
                .add_extension(x509.BasicConstraints(is_ca, None), True)
                .add_extension(x509.SubjectAlternativeName([local]), False)
                .sign(self.key, hashes.SHA256()))

    def write(self, name, certificate):
        path = self.directory / f"{name}.crt"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)

    def issue(self, name):
        """(certificate, key): paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        path = self.directory / f"{name}.key"
        path.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        return self.write(name, self.sign(subject, key.public_key(), False)), str(path)


class Etcd:
    """Remembers each write as (mod revision, key, value), value None for a deletion."""

    def __init__(self, directory, tls=None):
        for tool, package in (("etcd", "etcd-server"), ("etcdctl", "etcd-client")):
            if shutil.which(tool) is None:
                raise RuntimeError(f"{tool} is missing; run as root: apt-get install {package}")
        self.directory = pathlib.Path(directory)
        self.writes = []
        self.tls = tls
        self.port, peer_port = free_ports(2)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{peer_port}"
        command = [
            "etcd", "--name", "test", "--data-dir", self.directory / "etcd", "--log-level", "error",
            "--unsafe-no-fsync", "--listen-client-urls", self.url,
            "--advertise-client-urls", self.url, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"test={peer}"]
        if tls is not None:
            self.server, self.client = tls.issue("server"), tls.issue("client")
            command += ["--cert-file", self.server[0], "--key-file", self.server[1],
                        "--trusted-ca-file", tls.ca, "--client-cert-auth"]
        self.daemon = Daemon("etcd", command, self.directory)
        self.connection = None

    def __enter__(self):
        self.daemon.start()
        wait_until(self.is_healthy, "etcd is healthy", READY_S, alive=[self.daemon])
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        self.daemon.stop()

    @property
    def db(self):
        return self.directory / "etcd/member/snap/db"

    def connect(self):
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_S)
        context = ssl.create_default_context(cafile=self.tls.ca)
        context.load_cert_chain(*self.client)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=CALL_S, context=context)

    def is_healthy(self):
        connection = self.connect()
        try:
            connection.request("GET", "/health")
            return json.load(connection.getresponse()).get("health") == "true"
        except OSError:
            return False
        finally:
            connection.close()

    def call(self, path, request):
        if self.connection is None:
            self.connection = self.connect()
        self.connection.request("POST", path, json.dumps(request))
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: HTTP {answer.status}: {text.decode(errors='replace')}")
        return json.loads(text)

    def write(self, pairs):
        """Puts each (key, value), or deletes the key for None, one transaction for many of them."""
        for at in range(0, len(pairs), TXN_MAX):
            part = pairs[at:at + TXN_MAX]
            requests = [{"requestDeleteRange": {"key": b64(key)}} if value is None else
                        {"requestPut": {"key": b64(key), "value": b64(value)}}
                        for key, value in part]
            answer = self.call("/v3/kv/txn", {"success": requests})
            revision = int(answer["header"]["revision"])
            self.writes += [(revision, key, value) for key, value in part]
        return self

    def clear(self):
        """Leaves nothing, nor any history."""
        everything = {"key": b64(b"\0"), "range_end": b64(b"\0")}
        self.write([(b"cleared", b"")])
        revision = self.call("/v3/kv/deleterange", everything)["header"]["revision"]
        self.call("/v3/kv/compaction", {"revision": revision, "physical": True})
        self.writes = []

    def compact(self):
        revision = self.writes[-1][0]
        self.call("/v3/kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    def etcdctl(self, *words):
        command = ["etcdctl", "--endpoints", self.url]
        if self.tls is not None:
            command += ["--cacert", self.tls.ca, "--cert", self.client[0], "--key", self.client[1]]
        return subprocess.run(
            [*command, *map(str, words)], check=True, capture_output=True, timeout=CALL_S,
            env={**os.environ, "ETCDCTL_API": "3"}).stdout

    def get(self, prefix):
        """(header, lines as etcd_dump prints them) by etcdctl, sorted by key."""
        words = ["--prefix", prefix] if prefix else ["--from-key", ""]
        found = json.loads(self.etcdctl("get", "-w", "json", *words))
        lines = []
        for kv in found.get("kvs", []):
            value = base64.b64decode(kv.get("value", ""))
            lines.append("current %d %d %d %s %s" % (
                kv["mod_revision"], kv["create_revision"], kv["version"], sha256(value),
                base64.b64decode(kv["key"]).hex()))
        return found["header"], lines

    def history(self):
        """All that was ever written but what is current: {(state, mod revision, SHA-256, key)}"""
        newest = {key: revision for revision, key, _ in self.writes}
        return {("deleted" if value is None else "history", revision, sha256(value or b""),
                 key.hex())
                for revision, key, value in self.writes
                if value is None or revision != newest[key]}


class Dump:
    """What etcd_dump printed."""

    def __init__(self, text):
        lines = text.splitlines()
        states = ("current ", "history ", "deleted ")
        self.entries = [line for line in lines if line.startswith(states)]
        self.current = [line for line in self.entries if line.startswith("current ")]
        summary = [line.partition(" ") for line in lines if not line.startswith(states)]
        self.summary = {name: value for name, _, value in summary if name not in ("span", "paused")}
        spans = [value.partition(" ") for name, _, value in summary if name == "span"]
        self.spans = [(int(revision), bytes.fromhex(key)) for revision, _, key in spans]

    def history(self):
        found = set()
        for line in self.entries:
            state, mod, _, _, digest, key = line.split(" ")
            if state != "current":
                found.add((state, int(mod), digest, key))
        return found


def dump_process(source, *words, **env):
    return subprocess.Popen(
        [DUMP, str(source), *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, **env})


def dump(source, *words, **env):
    """A Dump; or the error's text if it failed."""
    with dump_process(source, *words, **env) as process:
        out, err = process.communicate("", timeout=CALL_S)
    return Dump(out) if process.returncode == 0 else f"exit {process.returncode}: {err}"
