"""What picluster is made of, as CycloneDX: every distribution that `uv.lock` names for it, and the vendored web files.

uv writes down what is in the lock; added here is what no lock knows: ourselves, with version and licence, and what the pages
bring, from `vendored.toml`. There is no time in it and its serial number is a digest, so the same lock gives the same bytes.
"""

from __future__ import annotations

import base64
import json
import subprocess
import tomllib
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from picluster import __version__
from tools.vendor import MANIFESTS, Package, read

ROOT = Path(__file__).parent.parent
UV = ROOT / ".tools/bin/uv"
EXPORT = "export --quiet --frozen --offline --no-dev --all-extras --format cyclonedx1.5".split()
SHIPPED = MANIFESTS[0]


def bill() -> dict[str, Any]:
    """The whole document."""
    asked = [str(UV), *EXPORT]
    found: dict[str, Any] = json.loads(subprocess.check_output(asked, cwd=ROOT))
    ours = found["metadata"]["component"]
    web = [component(package) for package in read(SHIPPED)]
    found["components"] += web
    for one in found["dependencies"]:
        if one["ref"] == ours["bom-ref"]:
            one["dependsOn"] += [file["bom-ref"] for file in web]
    found["dependencies"] += [{"ref": file["bom-ref"]} for file in web]
    ours.update(_ourselves())
    del found["metadata"]["timestamp"], found["serialNumber"]
    digest = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(found, sort_keys=True))
    return {"bomFormat": found.pop("bomFormat"), **found, "serialNumber": digest.urn}


def _ourselves() -> dict[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        "version": __version__,
        "description": project["description"],
        "licenses": [{"expression": project["license"]}],
        "purl": f"pkg:pypi/{project['name']}@{__version__}",
    }


def component(package: Package) -> dict[str, Any]:
    """A package of which files are vendored; the digest is the whole package's, as its registry has it."""
    purl = f"pkg:npm/{quote(package.name, safe='/')}@{package.version}"
    digest = base64.b64decode(package.integrity.removeprefix("sha512-")).hex()
    files = [path.path for path in package.files if path.source]
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "licenses": [{"license": {"id": package.licence}}],
        "purl": purl,
        "hashes": [{"alg": "SHA-512", "content": digest}],
        "properties": [{"name": "picluster:vendored", "value": f"{package.folder}/{file}"} for file in files],
    }


def write(folder: Path) -> Path:
    made = folder / f"pi-cluster-service-{__version__}.cdx.json"
    made.write_text(json.dumps(bill(), indent=1) + "\n")
    return made
