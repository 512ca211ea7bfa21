"""Vendored files are what their manifests say: nobody mends them by hand, and nothing lies there unnamed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools import vendor
from tools.subset import is_kept, subset


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A copy of what is shipped, to be damaged."""
    here = shutil.copytree(vendor.MANIFESTS[0].parent, tmp_path / "vendor")
    return here / "vendored.toml"


@pytest.mark.parametrize("manifest", vendor.MANIFESTS, ids=lambda path: path.parent.parent.name)
def test_every_file_is_the_vendored_one(manifest: Path) -> None:
    assert vendor.problems(manifest) == []


def test_a_changed_byte_is_found(manifest: Path) -> None:
    script = manifest.parent / "idiomorph/idiomorph.min.js"
    script.write_bytes(script.read_bytes().replace(b"morph", b"merge", 1))
    assert vendor.problems(manifest) == [f"{script} is not what was vendored"]


def test_a_missing_file_and_an_unnamed_one_are_found(manifest: Path) -> None:
    (manifest.parent / "icons/lock.svg").unlink()
    (manifest.parent / "extra.js").write_text("alert(1)")
    missing, unnamed = vendor.problems(manifest)
    assert "icons/lock.svg is missing" in missing
    assert unnamed == "extra.js is in no manifest"


@pytest.mark.parametrize("manifest", vendor.MANIFESTS, ids=lambda path: path.parent.parent.name)
def test_every_package_brings_its_licence(manifest: Path) -> None:
    """With its SPDX name in the manifest, and its words beside the files."""
    for package in vendor.read(manifest):
        assert package.licence
        assert "LICENSE" in {file.path for file in package.files}


def test_an_archive_that_is_not_the_expected_one_is_refused() -> None:
    package = vendor.read(vendor.MANIFESTS[0])[0]
    with pytest.raises(vendor.Wrong, match="the archive is sha512-"):
        vendor.unpack(b"something else", package)


def test_writing_a_manifest_changes_nothing() -> None:
    """So `--update` shows in the diff only what is new."""
    for manifest in vendor.MANIFESTS:
        assert vendor.as_toml(vendor.read(manifest)) == manifest.read_text()


def test_no_map_is_asked_for_that_is_not_there() -> None:
    """A browser with its tools open would ask for it, and say that it is missing."""
    for manifest in vendor.MANIFESTS:
        for path in [*manifest.parent.rglob("*.js"), *manifest.parent.rglob("*.css")]:
            assert b"sourceMappingURL" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("css", "kept"),
    [
        ("@charset 'UTF-8';body{margin:0}", "body{margin:0}"),
        (".btn{a:b}.navbar{c:d}", ".btn{a:b}"),
        (".btn,.navbar .btn,a{a:b}", ".btn,a{a:b}"),
        (".btn:not(.navbar){a:b}", ".btn:not(.navbar){a:b}"),
        (".btn-red,.text-blue-lt{a:b}", ""),
        ("@media print{.btn{a:b}.navbar{c:d}}", "@media print{.btn{a:b}}"),
        ("@media print{.navbar{c:d}}", ""),
        ("@keyframes spin{to{a:b}}", "@keyframes spin{to{a:b}}"),
        (".btn-a{--x:url('a,b}.c{')}", '.btn-a{--x:url("a,b}.c{")}'),
    ],
)
def test_only_families_that_we_use_are_kept(css: str, kept: str) -> None:
    assert subset(css) == kept + "\n"


def test_the_notice_stays_and_other_comments_go() -> None:
    assert subset("/*! Who */a{b:c}/* why */") == "/*! Who */\na{b:c}\n"


def test_a_family_is_taken_whole() -> None:
    assert is_kept("table-hover") and is_kept("form-control") and not is_kept("offcanvas")
