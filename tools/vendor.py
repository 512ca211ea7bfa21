"""Vendored files are what the manifest beside them says, to the byte, and those the registry's, by its integrity hash.

    python -m tools.vendor --check    are the files here those of the manifests? (offline; a test runs it)
    python -m tools.vendor            fetch the packages, verify them, write exactly the files that are listed
    python -m tools.vendor --update   take what the registry has for the versions as the truth; rewrites the manifests

To add a file: a line without `sha256` in `vendored.toml`, then `--update`. To take a newer version: its number, then
`--update`; what changed is then in the diff.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import os
import ssl
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2

from tools.subset import subset

ROOT = Path(__file__).parent.parent
MANIFESTS = (
    ROOT / "src/picluster/server/pages/static/vendor/vendored.toml",
    ROOT / "tests/browser/vendor/vendored.toml",
)
"""What is shipped, and what only tests use."""

SUBSET = "subset"
"""The name of the one change that a manifest may ask for: see `tools/subset.py`."""

HEAD = "# What is vendored here, and from where. `python -m tools.vendor` writes, checks and explains it.\n"


@dataclass(frozen=True)
class File:
    """One file here. `source` is its path in the package; empty for a licence text that the package lacks."""

    path: str
    source: str
    sha256: str
    made: str = ""

    def bytes_of(self, package: dict[str, bytes]) -> bytes:
        """What it is in the unpacked package."""
        content = package[self.source]
        return subset(content.decode()).encode() if self.made == SUBSET else content


@dataclass(frozen=True)
class Package:
    """One package of the registry. `integrity` is the registry's, of the whole archive."""

    name: str
    version: str
    licence: str
    integrity: str
    folder: str
    files: tuple[File, ...]


class Wrong(Exception):
    """A file, an archive or a setting is not what it has to be."""


def read(manifest: Path) -> list[Package]:
    """The packages of a manifest, in its order."""
    return [_package(entry) for entry in tomllib.loads(manifest.read_text())["package"]]


def _package(entry: dict[str, object]) -> Package:
    files = entry.pop("files")
    assert isinstance(files, dict)
    listed = (
        File(path, it.get("from", ""), it.get("sha256", ""), it.get("made", "")) for path, it in files.items()
    )
    return Package(files=tuple(listed), **{"integrity": "", **entry})  # type: ignore[arg-type]


def problems(manifest: Path) -> list[str]:
    """One sentence for each file that is missing, changed, or in no manifest."""
    folder, found = manifest.parent, []
    known = {manifest.name}
    for package in read(manifest):
        for file in package.files:
            path = f"{package.folder}/{file.path}"
            known.add(path)
            found += _problem(folder / path, file)
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found + [f"{path} is in no manifest" for path in sorted(here - known)]


def _problem(path: Path, file: File) -> list[str]:
    if not path.is_file():
        return [f"{path} is missing"]
    if sha256(path.read_bytes()) != file.sha256:
        return [f"{path} is not what was vendored"]
    return []


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(manifest: Path, registry: Registry, *, update: bool) -> None:
    """Fetch all packages and write their files. Nothing is written of a package that is not the expected one."""
    packages = [_write(manifest.parent, package, registry, update) for package in read(manifest)]
    if update:
        manifest.write_text(as_toml(packages))


def _write(folder: Path, package: Package, registry: Registry, update: bool) -> Package:
    if update:
        package = replace(package, integrity=registry.integrity(package))
    unpacked = unpack(registry.archive(package), package)
    contents = {file: _content(file, folder / package.folder, unpacked, update) for file in package.files}
    for file, content in contents.items():
        path = folder / package.folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return replace(package, files=tuple(replace(file, sha256=sha256(it)) for file, it in contents.items()))


def _content(file: File, folder: Path, unpacked: dict[str, bytes], update: bool) -> bytes:
    if file.source and file.source not in unpacked:
        raise Wrong(f"{file.path}: the package has no {file.source}")
    content = file.bytes_of(unpacked) if file.source else (folder / file.path).read_bytes()
    if not update and sha256(content) != file.sha256:
        raise Wrong(f"{file.path}: what the package gives is not what the manifest says")
    return content


def unpack(archive: bytes, package: Package) -> dict[str, bytes]:
    """The files of the archive, by their paths in the package. Raises `Wrong` if it is not the expected one."""
    if sri(archive) != package.integrity:
        raise Wrong(
            f"{package.name} {package.version}: the archive is {sri(archive)}, not {package.integrity}"
        )
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = [member for member in tar if member.isfile()]
        return {member.name.partition("/")[2]: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def sri(archive: bytes) -> str:
    """Subresource integrity, as the registry writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()


class Registry:
    """An npm registry: archives, and what it says of their integrity."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._http = httpx2.Client(verify=ssl.create_default_context(), timeout=60, follow_redirects=True)

    def integrity(self, package: Package) -> str:
        answer = self._get(f"{package.name}/{package.version}").json()
        return str(answer["dist"]["integrity"])

    def archive(self, package: Package) -> bytes:
        short = package.name.rpartition("/")[2]
        return bytes(self._get(f"{package.name}/-/{short}-{package.version}.tgz").content)

    def _get(self, path: str) -> httpx2.Response:
        answer = self._http.get(f"{self._address}/{path}")
        if answer.status_code != 200:
            raise Wrong(f"the registry answered {answer.status_code} for {path}")
        return answer


def configured_registry() -> str:
    """The one that npm is set up with here."""
    told = os.environ.get("NPM_CONFIG_REGISTRY")
    if told:
        return told
    try:
        return subprocess.check_output(["npm", "config", "get", "registry"], text=True).strip()
    except OSError:
        raise Wrong("no registry: say --registry URL, or set NPM_CONFIG_REGISTRY") from None


def as_toml(packages: list[Package]) -> str:
    return HEAD + "".join(_toml(package) for package in packages)


def _toml(package: Package) -> str:
    names = ("name", "version", "licence", "integrity", "folder")
    fields = "".join(f'{name} = "{getattr(package, name)}"\n' for name in names)
    files = "".join(f'"{file.path}" = {{ {", ".join(_toml_of(file))} }}\n' for file in package.files)
    return f"\n[[package]]\n{fields}[package.files]\n{files}"


def _toml_of(file: File) -> Iterator[str]:
    if file.source:
        yield f'from = "{file.source}"'
    if file.made:
        yield f'made = "{file.made}"'
    yield f'sha256 = "{file.sha256}"'


def sizes(manifest: Path) -> Iterator[str]:
    """Each file but licences and icons, plain and compressed."""
    for path in sorted(manifest.parent.rglob("*.*")):
        if path.suffix in (".css", ".js", ".woff2"):
            content = path.read_bytes()
            yield f"{len(content):8,} {len(gzip.compress(content, 9)):8,}  {path.relative_to(manifest.parent)}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.vendor", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="only compare the files with the manifests, offline"
    )
    parser.add_argument(
        "--update", action="store_true", help="believe the registry, and write the manifests anew"
    )
    parser.add_argument("--registry", metavar="URL", help="default: what npm is set up with")
    options = parser.parse_args(arguments)
    try:
        if not options.check:
            registry = Registry(options.registry or configured_registry())
            for manifest in MANIFESTS:
                write(manifest, registry, update=options.update)
        found = [problem for manifest in MANIFESTS for problem in problems(manifest)]
    except Wrong as wrong:
        found = [str(wrong)]
    print(*(found or (line for manifest in MANIFESTS for line in sizes(manifest))), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
