# SPDX-License-Identifier: Apache-2.0
"""Go programs of the tests, built once and kept outside the tree."""

import hashlib
import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "hsm-kms"


def find_go():
    done = subprocess.run([HERE / "find-go"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout.strip()


def digest(go, folder):
    """Changes with the Go version and with every file of the folder."""
    version = subprocess.run([go, "version"], capture_output=True, check=True).stdout
    total = hashlib.sha256(version)
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md"):
        total.update(f"\0{path.relative_to(folder)}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def build(name, folder, command):
    """Returns the folder with the programs; command(go, target) gives what makes them there."""
    folder = pathlib.Path(folder)
    go = find_go()
    target = cache_dir() / "go" / f"{name}-{digest(go, folder)}"
    if target.is_dir():
        return target
    print(f"building {name} (minutes when Go's own cache is cold)", flush=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    env = dict(os.environ, PATH=f"{pathlib.Path(go).parent}:{os.environ['PATH']}",
               CGO_ENABLED="0", GOTOOLCHAIN="local")
    try:
        subprocess.run(command(go, unfinished), cwd=folder, env=env, check=True,
                       stdin=subprocess.DEVNULL)
        for old in target.parent.glob(f"{name}-*"):
            if old != unfinished:
                shutil.rmtree(old, ignore_errors=True)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target
