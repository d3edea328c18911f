#!/usr/bin/env python3
"""An image that is the same whenever it is built from the same files.

    docker save IMAGE | image.py flatten EPOCH NAME OUT.tar    one layer, nothing of when or where it was built
    image.py files OUT.tar                                     a line for each file: to see what differs

`docker build` without BuildKit stamps layers, their files and the history with the time of the build. What a container sees are
the files: they are merged into one layer, in the order of their names, each with the time EPOCH; lists that
only the package manager's runs leave behind go. The result is an archive for `docker load`, also an OCI layout's blobs by hash.
"""

import copy
import gzip
import hashlib
import io
import json
import sys
import tarfile
import tempfile
from datetime import datetime, timezone

# Written by dpkg, apt and ldconfig at each run with its time in it; nothing reads them.
OF_THE_BUILD = (
    "var/cache/apt/", "var/cache/debconf/", "var/cache/ldconfig/aux-cache", "var/lib/apt/lists/", "var/lib/dpkg/status-old",
    "var/log/alternatives.log", "var/log/apt/", "var/log/dpkg.log", "var/log/bootstrap.log", "etc/passwd-", "etc/group-",
    "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "tmp/", "run/",
)


def main() -> int:
    match sys.argv[1:]:
        case ["flatten", epoch, name, out]:
            flatten(int(epoch), name, out)
        case ["files", archive]:
            files(archive)
        case _:
            sys.stderr.write(__doc__)
            return 2
    return 0


def flatten(epoch: int, name: str, out: str) -> None:
    with tempfile.TemporaryFile() as saved:
        while block := sys.stdin.buffer.read(1 << 20):
            saved.write(block)
        saved.seek(0)
        with tarfile.open(fileobj=saved) as image, tempfile.TemporaryFile() as layer:
            manifest = json.load(image.extractfile("manifest.json"))[0]
            diff_id = merge([image.extractfile(path) for path in manifest["Layers"]], epoch, layer)
            config = settings(json.load(image.extractfile(manifest["Config"])), epoch, diff_id)
            archive(config, layer, epoch, name, out)


def merge(layers: list, epoch: int, to) -> str:
    """The files of all layers as one tar, sorted; its SHA-256."""
    seen: dict[str, tuple] = {}
    # From the upper layers down: what is seen first hides what lies below.
    hidden: set[str] = set()
    opaque: set[str] = set()
    for layer in reversed(layers):
        tar = tarfile.open(fileobj=plain(layer))
        below, shut = set(), set()
        for member in tar:
            path = clean(member.name)
            folder, _, base = path.rpartition("/")
            if base == ".wh..wh..opq":
                shut.add(folder)
            elif base.startswith(".wh."):
                below.add(f"{folder}/{base[4:]}".lstrip("/"))
            elif path and path not in seen and not is_hidden(path, hidden, opaque) and not of_the_build(path, member):
                seen[path] = (tar, member)
        hidden |= below
        opaque |= shut
    with tarfile.open(fileobj=to, mode="w", format=tarfile.PAX_FORMAT) as merged:
        first: dict[tuple, str] = {}
        for path in sorted(seen):
            put(merged, path, *seen[path], epoch, first)
    return digest(to)


def put(merged, path: str, tar, member, epoch: int, first: dict) -> None:
    """One file; of hard links the first in order is the file, and the others point to it."""
    target = tar.getmember(member.linkname) if member.islnk() else member
    info = copy.copy(target)
    info.name = path
    # That of a cached layer is the day it was first built on.
    info.mtime = epoch
    info.uname = info.gname = ""
    # Attributes (capabilities) stay, times of higher precision go.
    info.pax_headers = {key: value for key, value in target.pax_headers.items() if key.startswith("SCHILY.xattr")}
    known = first.setdefault((id(tar), target.offset_data, target.name), path)
    if target.isreg() and known != path:
        info.type, info.linkname, info.size = tarfile.LNKTYPE, known, 0
    merged.addfile(info, tar.extractfile(target) if info.isreg() else None)


def clean(name: str) -> str:
    return name.removeprefix("./").strip("/")


def plain(layer):
    """A layer as a tar that can be read at any place."""
    data = layer.read()
    return io.BytesIO(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


def is_hidden(path: str, hidden: set, opaque: set) -> bool:
    parents = [path[:at] for at, c in enumerate(path) if c == "/"]
    return path in hidden or any(parent in hidden or parent in opaque for parent in parents)


def of_the_build(path: str, member) -> bool:
    return not member.isdir() and path.startswith(OF_THE_BUILD)


def settings(config: dict, epoch: int, diff_id: str) -> dict:
    """What `docker run` needs to know, and no history."""
    created = datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = ("Env", "Entrypoint", "Cmd", "WorkingDir", "User", "ExposedPorts", "Labels", "StopSignal", "Healthcheck", "Volumes")
    inner = {key: config["config"][key] for key in kept if config["config"].get(key)}
    return {
        "architecture": config["architecture"], "os": config["os"], "created": created, "config": inner,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        "history": [{"created": created, "created_by": "scripts/release.sh"}],
    }


def archive(config: dict, layer, epoch: int, name: str, out: str) -> None:
    text = compact(config)
    blob = hashlib.sha256(text).hexdigest()
    diff_id = config["rootfs"]["diff_ids"][0].removeprefix("sha256:")
    manifest = [{"Config": f"{blob}.json", "RepoTags": [name], "Layers": [f"{diff_id}.tar"]}]
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, f"{blob}.json", io.BytesIO(text), len(text), epoch)
        size = layer.seek(0, 2)
        layer.seek(0)
        add(tar, f"{diff_id}.tar", layer, size, epoch)
        text = compact(manifest)
        add(tar, "manifest.json", io.BytesIO(text), len(text), epoch)


def add(tar, name: str, data, size: int, epoch: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, epoch, 0o644
    tar.addfile(member, data)


def compact(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(file) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def files(archive_path: str) -> None:
    with tarfile.open(archive_path) as image:
        layer = json.load(image.extractfile("manifest.json"))[0]["Layers"][0]
        with tarfile.open(fileobj=image.extractfile(layer)) as tar:
            for member in tar:
                data = tar.extractfile(member) if member.isreg() else None
                content = hashlib.sha256(data.read()).hexdigest() if data else member.linkname
                print(member.name, oct(member.mode), member.uid, member.gid, member.mtime, content)


if __name__ == "__main__":
    sys.exit(main())
