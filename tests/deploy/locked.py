"""What our distribution needs with given extras, as `uv.lock` has it."""

from __future__ import annotations

import tomllib
from pathlib import Path

LOCK = Path(__file__).parents[2] / "uv.lock"


def locked(*extras: str) -> dict[str, list[str]]:
    """Name of each distribution, and the addresses of its wheels."""
    lock = {package["name"]: package for package in tomllib.loads(LOCK.read_text())["package"]}
    found: dict[str, list[str]] = {}
    wanted = [("pi-cluster-service", frozenset(extras))]
    while wanted:
        name, chosen = wanted.pop()
        package = lock[name]
        optional = package.get("optional-dependencies", {})
        for need in [
            *package.get("dependencies", ()),
            *(need for extra in chosen for need in optional.get(extra, ())),
        ]:
            if need["name"] not in found or need.get("extra"):
                found[need["name"]] = [wheel["url"] for wheel in lock[need["name"]].get("wheels", ())]
                wanted.append((need["name"], frozenset(need.get("extra", ()))))
    return found
