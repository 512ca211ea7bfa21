"""The templates are what their tools take, and hold what the service needs of them; each check is shown to fail."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from pycep import BicepParser
from ruamel.yaml import YAML

from deploy import healthy
from picluster.server.settings import Settings, variables
from picluster.store.postgres import CONNECTION, parameters
from tests.deploy.locked import locked
from tests.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
USER = 10001

SETTINGS = {name for names in variables(Settings).values() for name in names}


def yaml(path: str | Path) -> Any:
    return YAML(typ="safe").load((DEPLOY / path).read_text())


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / name, *map(str, arguments)], capture_output=True, text=True)


# The image


def hadolint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    return tool("hadolint", "--no-color", dockerfile)


def test_the_dockerfile_is_clean(tmp_path: Path) -> None:
    found = hadolint(DEPLOY / "Dockerfile")
    assert (found.returncode, found.stdout) == (0, "")
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.replace('"$@"', "$@"))
    assert "SC2068" in hadolint(worse).stdout


def test_the_image_is_nobodys_root() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert f"\nUSER {USER}:{USER}\n" in last
    assert "RUN" not in last.partition("\nUSER")[2]


def test_the_image_learns_what_it_is_built_for() -> None:
    """A default in the stage would be taken before what BuildKit knows, and 32-bit ARM be built as if it had all wheels."""
    assert "\nARG TARGETARCH\n" in DOCKERFILE
    used = re.findall(r"\$\{TARGETARCH.*?\" in .*?\)", DOCKERFILE)
    assert used == ['${TARGETARCH:-$(dpkg --print-architecture)}" in arm | armhf)'] * 2


def test_the_image_is_built_with_the_uv_that_the_makefile_has() -> None:
    (ours,) = re.findall(r"^UV_VERSION := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"\nARG UV_VERSION={ours}\n" in DOCKERFILE


def test_all_that_is_copied_into_the_builder_is_let_in() -> None:
    ignore = (ROOT / ".dockerignore").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert names and all(f"\n!{name}\n" in ignore and (ROOT / name).exists() for name in names)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_nothing_has_to_be_compiled_for_the_image(machine: str) -> None:
    """Else it would need a compiler, as it does for 32-bit ARM: the lock has a wheel of everything for its Python."""
    (version,) = re.findall(r"^ARG BASE=python:3\.(\d+)-slim", DOCKERFILE, re.MULTILINE)
    fits = re.compile(rf"-(py\d\S*|cp3{version}|cp3\d+-abi3)-(\S*manylinux\S*{machine}|any)|-none-any")
    packages = locked("server", "postgres")
    assert len(packages) > 30
    assert [
        name for name, wheels in packages.items() if not any(fits.search(wheel) for wheel in wheels)
    ] == []


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "http://127.0.0.1:1337/healthz"),
        ({"PORT": "80"}, "http://127.0.0.1:80/healthz"),
        ({"PORT": "80", "PICLUSTER_PORT": "81"}, "http://127.0.0.1:81/healthz"),
        ({"PICLUSTER_HOST": "0.0.0.0"}, "http://127.0.0.1:1337/healthz"),
        ({"PICLUSTER_HOST": "10.0.0.9"}, "http://10.0.0.9:1337/healthz"),
        ({"PICLUSTER_HOST": "fd00::9"}, "http://[fd00::9]:1337/healthz"),
        ({"PICLUSTER_TLS_CERT": "/cert.pem"}, "https://127.0.0.1:1337/healthz"),
    ],
)
def test_the_health_check_asks_where_the_service_listens(environ: dict[str, str], address: str) -> None:
    assert healthy.address(environ) == address


# Compose, Kubernetes


def test_compose_is_compose(tmp_path: Path) -> None:
    ours, worse = DEPLOY / "compose.yaml", tmp_path / "worse.yaml"
    worse.write_text(ours.read_text().replace("read_only: true", "readonly: true"))
    found = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", ours, worse)
    assert str(ours) not in found.stdout
    assert f"{worse}::$.services" in found.stdout and "readonly" in found.stdout


def test_the_replicas_of_compose_are_behind_its_proxy() -> None:
    """Nobody else reaches them, so that they may believe what it says of who asks."""
    services = yaml("compose.yaml")["services"]
    replicas = services["proxy"]["environment"]["PICLUSTER_REPLICAS"].replace(":1337", "").split()
    assert replicas == services["proxy"]["depends_on"] == ["replica-1", "replica-2"]
    for name in replicas:
        replica = services[name]
        assert "ports" not in replica and replica["read_only"] and replica["cap_drop"] == ["ALL"]
        assert set(replica["environment"]) <= SETTINGS | {"PGPASSWORD"}
    assert set(services["pool"]["environment"]) <= SETTINGS


def test_all_settings_in_the_file_beside_compose_reach_the_service() -> None:
    """The file holds words for compose itself, too: none of them is one that the service would take for its own."""
    text = (DEPLOY / "compose.yaml").read_text()
    services = yaml("compose.yaml")["services"]
    for name in ("pool", "replica-1", "replica-2"):
        assert services[name]["env_file"] == [{"path": ".env", "required": False}]
        assert services[name]["environment"]["PICLUSTER_PORT"] == "1337", "inside, whatever the file says"
    own = set(re.findall(r"\$\{(\w+):-", text)) - SETTINGS
    assert own == {"POSTGRES_PASSWORD", "PROXY_SITE", "PUBLISH"}
    assert "\n/deploy/.env\n" in (ROOT / ".gitignore").read_text()


def test_the_port_of_a_proxy_with_a_name_can_be_published() -> None:
    """With a host name Caddy listens at 443, so the port inside is to be said, too."""
    services = yaml("compose.yaml")["services"]
    for name in ("pool", "proxy"):
        assert services[name]["ports"] == ["${PUBLISH:-1337:1337}"]
    assert services["proxy"]["environment"]["PICLUSTER_SITE"] == "${PROXY_SITE:-:1337}"


def test_the_database_of_compose_has_any_password() -> None:
    """One with / and @ would be cut up in a URL, so libpq gets it beside the URL, as it is."""
    services = yaml("compose.yaml")["services"]
    told = services["replica-1"]["environment"]
    assert parameters(told["PICLUSTER_DATABASE_URL"]) == {
        **CONNECTION,
        "user": "picluster",
        "host": "postgres",
        "dbname": "picluster",
    }
    assert told["PGPASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"]


def test_a_password_beside_the_url_is_the_one_that_is_used(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = urlsplit(postgres_server.url())
    with psycopg.connect(url.geturl(), autocommit=True) as server:
        server.execute("CREATE ROLE odd LOGIN PASSWORD 'p/a@s:s%w ?#'")
    told = parameters(f"postgresql://odd@{url.hostname}:{url.port}/postgres")
    monkeypatch.setenv("PGPASSWORD", "p/a@s:s%w ?#")
    psycopg.connect(**told).close()
    monkeypatch.setenv("PGPASSWORD", "p")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(**told)


def test_compose_builds_its_image_once() -> None:
    """What is started together builds it in one place: two at once would both write it, and one is refused."""
    services = yaml("compose.yaml")["services"]
    assert {name for name, one in services.items() if one["image"] == "picluster"} == {
        "pool",
        "replica-1",
        "replica-2",
    }
    for started in (["pool"], ["proxy", *services["proxy"]["depends_on"]]):
        builders = [name for name in started if "build" in services[name]]
        assert len(builders) == 1
        theirs = [services[name] for name in started if services[name]["image"] == "picluster"]
        assert all("build" in one or one["pull_policy"] == "never" for one in theirs)


def test_only_the_replicas_need_what_is_theirs() -> None:
    """`up pool` starts one container, and asks for no password."""
    services = yaml("compose.yaml")["services"]
    assert [name for name, service in services.items() if "profiles" not in service] == ["pool"]
    assert "database" not in str(services["pool"]).lower()


@pytest.mark.skipif(not shutil.which("caddy"), reason="needs the Debian package caddy")
def test_the_proxy_takes_its_file(tmp_path: Path) -> None:
    def adapt(text: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "Caddyfile"
        file.write_text(text)
        return subprocess.run(
            ["caddy", "adapt", "--validate", "--config", file], capture_output=True, text=True
        )

    ours = (DEPLOY / "Caddyfile").read_text()
    assert adapt(ours).returncode == 0
    assert adapt(ours.replace("lb_policy", "lb_police")).returncode != 0


def test_kubernetes_runs_what_the_image_is() -> None:
    """The user, the read-only root, the places to write to, and the checks that the service answers."""
    pod = yaml("kubernetes/statefulset.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["fsGroup"]) == (USER, USER)
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}
    probes = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")]
    assert probes == ["/healthz", "/healthz", "/readyz"]
    assert pod["enableServiceLinks"] is False


def test_the_kustomization_names_what_is_there() -> None:
    base = yaml("kubernetes/kustomization.yaml")
    assert set(base["resources"]) == {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} - {
        "kustomization.yaml"
    }
    workload, service = (yaml(f"kubernetes/{name}") for name in base["resources"])
    assert service["spec"]["selector"] == workload["spec"]["selector"]["matchLabels"]
    assert workload["spec"]["template"]["metadata"]["labels"] == workload["spec"]["selector"]["matchLabels"]


OVERLAY = re.search(r"^```yaml\n(resources:\n.+?)^```", (ROOT / "docs/hosting.md").read_text(), re.M | re.S)


def test_the_overlay_of_the_page_names_what_the_base_has() -> None:
    """kustomize passes over an image that is called otherwise, without a word: one that the base has renamed, too."""
    assert OVERLAY
    overlay, base = YAML(typ="safe").load(OVERLAY[1]), yaml("kubernetes/kustomization.yaml")
    (container,) = yaml("kubernetes/statefulset.yaml")["spec"]["template"]["spec"]["containers"]
    assert [image["name"] for image in overlay["images"]] == [container["image"]]
    assert "images" not in base
    assert [one["name"] for one in overlay["secretGenerator"]] == [
        source["secretRef"]["name"] for source in container["envFrom"]
    ]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl, for the kustomize in it")
def test_kustomize_makes_of_it_a_pool_with_your_image_and_secrets(tmp_path: Path) -> None:
    assert OVERLAY
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "picluster/deploy/kubernetes")
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/kustomization.yaml").write_text(OVERLAY[1])
    (tmp_path / "lab/secret.env").write_text("RPI_APIKEY=secret\n")
    made = subprocess.run(["kubectl", "kustomize", tmp_path / "lab"], capture_output=True, text=True)
    assert (made.returncode, made.stderr) == (0, "")
    kinds = {one["kind"]: one for one in YAML(typ="safe").load_all(made.stdout)}
    assert set(kinds) == {"StatefulSet", "Service", "Secret"}
    (container,) = kinds["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/lab/picluster:0.1.0"
    assert container["envFrom"][0]["secretRef"]["name"] == kinds["Secret"]["metadata"]["name"]


# Azure: no compiler of Bicep is to be had here, but a parser is, and the rest is held by hand.

BICEP = sorted(DEPLOY.rglob("*.bicep"))
PLACES = ["app-service", "container-apps"]


def bicep(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = BicepParser().parse(text=path.read_text())
    return parsed


@pytest.mark.parametrize("path", BICEP, ids=lambda path: f"{path.parent.parent.name}-{path.name}")
def test_bicep_can_be_read_and_refers_to_what_it_has(path: Path) -> None:
    """Every parameter and variable is used, and every secret is marked as one."""
    parsed, text = bicep(path), path.read_text()
    for kind in ("parameters", "variables"):
        for name in parsed.get(kind, {}):
            assert len(re.findall(rf"\b{name}\b", text)) > 1, name
    for name in parsed["parameters"]:
        secret = re.search(rf"@secure\(\)\n(?:@.*\n)*param {name} ", text) is not None
        assert secret == bool(re.search("password|adminToken|sharedKey", name, re.IGNORECASE)), name


@pytest.mark.parametrize("path", [path for path in BICEP if "\nmodule " in path.read_text()], ids=str)
def test_modules_get_what_they_ask_for(path: Path) -> None:
    """No parameter too many, and none missing that has no default."""
    text = path.read_text()
    modules = re.findall(r"^module (\w+) '(.+)' = \{", text, re.MULTILINE)
    assert len(modules) == text.count("\nmodule ")
    for name, file in modules:
        module = (path.parent / file).read_text()
        given = re.search(rf"^module {name} .*?params: \{{\n(.*?)\n  \}}", text, re.MULTILINE | re.DOTALL)
        assert given
        passed = set(re.findall(r"^    (\w+):", given[1], re.MULTILINE))
        known = dict(re.findall(r"^param (\w+) \w+( =)?", module, re.MULTILINE))
        assert passed <= set(known)
        assert {parameter for parameter, default in known.items() if not default} <= passed
        outputs = set(re.findall(rf"\b{name}\.outputs\.(\w+)", text))
        assert outputs <= set(re.findall(r"^output (\w+)", module, re.MULTILINE))


@pytest.mark.parametrize("place", PLACES)
def test_azd_fills_in_the_parameters(place: str) -> None:
    folder = DEPLOY / "azure" / place
    given = json.loads((folder / "infra/main.parameters.json").read_text())["parameters"]
    assert set(given) == set(bicep(folder / "infra/main.bicep")["parameters"])
    project = yaml(f"azure/{place}/azure.yaml")
    (service,) = project["services"]
    pool = (folder / "infra/pool.bicep").read_text()
    assert f"'azd-service-name': '{service}'" in pool
    assert (folder / project["services"][service]["project"]).is_dir()


@pytest.mark.parametrize("place", PLACES)
def test_azure_sets_what_the_service_knows(place: str) -> None:
    """A misspelt setting would be ignored there, where nobody sees it."""
    text = (DEPLOY / f"azure/{place}/infra/pool.bicep").read_text()
    named = set(re.findall(r"\b((?:PICLUSTER|RPI)_[A-Z_]+)\b", text))
    assert {"PICLUSTER_DATABASE_URL", "PICLUSTER_ADMIN_TOKEN", "RPI_APIKEY"} <= named <= SETTINGS
    assert "PGPASSWORD" in text, "the URL is without it, since outputs of a deployment are kept"


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_the_password_that_the_page_makes_is_one_that_azure_takes() -> None:
    """A Flexible Server wants 8 to 128 characters of three of four kinds."""
    page = (ROOT / "docs/hosting.md").read_text()
    (word,) = re.findall(r"azd env set PICLUSTER_DATABASE_PASSWORD (\S.*?\")(?:  |$)", page, re.MULTILINE)
    made = subprocess.run(
        ["sh", "-c", f"printf %s {word}"], capture_output=True, text=True, check=True
    ).stdout
    kinds = [kind for kind in ("[A-Z]", "[a-z]", "[0-9]", "[^A-Za-z0-9]") if re.search(kind, made)]
    assert len(kinds) >= 3 and 16 <= len(made) <= 128


def test_the_script_that_fills_the_upload_is_clean() -> None:
    script = DEPLOY / "azure/app-service/fill.sh"
    assert tool("shellcheck", script).stdout == ""
    hook = yaml("azure/app-service/azure.yaml")["services"]["pool"]["hooks"]["prepackage"]["run"]
    assert (script.parent / "app" / hook).resolve() == script


def test_app_service_starts_it_where_it_is_expected_and_never_sleeps() -> None:
    text = (DEPLOY / "azure/app-service/infra/pool.bicep").read_text()
    assert "appCommandLine: 'python -m picluster serve --host 0.0.0.0 --port $PORT'" in text
    assert "alwaysOn: true" in text and "healthCheckPath: '/healthz'" in text


def test_container_apps_looks_where_the_image_listens() -> None:
    text = (DEPLOY / "azure/container-apps/infra/pool.bicep").read_text()
    assert "EXPOSE 1337" in DOCKERFILE
    assert set(re.findall(r"[pP]ort: (\d+)", text)) == {"1337"}
    assert "minReplicas: replicas" in text
