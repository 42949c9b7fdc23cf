"""Compose file and Kubernetes manifests: true to their schemas, and to what the program does.

The manifests are what kustomize itself builds; Kubernetes' objects are judged by its strict schemas, KEDA's by the
types of its own definitions, the compose file by the compose specification's schema.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.errors import SettingsError
from app.jobs.definitions import QUEUES, policies
from app.settings import Settings, load_settings
from tests.support.compose import MissingVariableError, environments, has_compose, shown_by_compose
from tests.support.dockerfile import read_dockerfile

CLONE = Path(__file__).resolve().parents[2]
COMPOSE = CLONE / "compose.yaml"
KUSTOMIZE = CLONE / "deploy" / "kustomize"
WORKERS = ("supplier-worker", "family-worker", "image-worker")
QUEUE_OF = dict(zip(WORKERS, QUEUES, strict=True))
OVERLAYS = pytest.mark.parametrize("folder", ["base", "example"])
Object = dict[str, Any]
Load = Callable[[dict[str, str]], Settings]
FIRST_START = {
    "PROMIDATA_BASE_URL": "https://promi-dl.de/Profiles/Live/guid",
    "API_KEYS": "me:admin:secret-of-16-chars",
    "POSTGRES_PASSWORD": "postgres",
    "REDIS_PASSWORD": "redis",
    "S3_SECRET_ACCESS_KEY": "s3",
}
"""What README.md puts into `.env`."""
OWN, OF_R2, CDN = "https://s3.example", "https://r2.example", "https://cdn.example"
PUBLIC_URLS: list[tuple[dict[str, str], str | None]] = [
    ({}, "http://localhost:9000"),
    ({"PICTURES_PORT": "9100"}, "http://localhost:9100"),
    ({"S3_PUBLIC_URL": "", "S3_ENDPOINT_URL": "", "R2_ENDPOINT": ""}, "http://localhost:9000"),
    ({"S3_PUBLIC_URL": CDN}, CDN),
    ({"R2_PUBLIC_URL": CDN}, CDN),
    ({"S3_ENDPOINT_URL": OWN, "S3_BUCKET": "mine"}, None),
    ({"S3_ENDPOINT_URL": OWN, "S3_PUBLIC_URL": ""}, None),
    ({"R2_ENDPOINT": OF_R2, "R2_BUCKET_NAME": "mine"}, None),
    ({"S3_ENDPOINT_URL": OWN, "R2_ENDPOINT": OF_R2}, None),
    ({"S3_ENDPOINT_URL": OWN, "S3_PUBLIC_URL": CDN}, CDN),
    ({"R2_ENDPOINT": OF_R2, "R2_PUBLIC_URL": CDN}, CDN),
]
"""What an operator sets of the store, and where Compose lets pictures be given out; None is presigned."""


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Loads the settings from these variables alone."""
    monkeypatch.chdir(tmp_path)

    def loaded(given: dict[str, str]) -> Settings:
        for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
            monkeypatch.delenv(name)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return loaded


def _tool(name: str, *arguments: str) -> str:
    """A program of this environment; its output. It must exit with 0."""
    ended = subprocess.run(
        [str(Path(sys.executable).with_name(name)), *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@cache
def _objects(folder: str) -> list[Object]:
    """What kustomize builds of base or overlay, with the overlay's secrets as its example has them."""
    return list(yaml.safe_load_all(_built(folder)))


@cache
def _built(folder: str) -> str:
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as place:
        copied = Path(place) / "kustomize"
        shutil.copytree(KUSTOMIZE, copied)
        shutil.copy(copied / "example" / "secrets.env.example", copied / "example" / "secrets.env")
        return _tool("kubectl", "kustomize", str(copied / folder))


def _of_kind(folder: str, kind: str) -> dict[str, Object]:
    return {found["metadata"]["name"]: found for found in _objects(folder) if found["kind"] == kind}


def _pods(folder: str) -> dict[str, Object]:
    """Each pod's spec by the name of what makes it."""
    makers = {**_of_kind(folder, "Deployment"), **_of_kind(folder, "Job")}
    return {name: maker["spec"]["template"]["spec"] for name, maker in makers.items()}


def _is_keda(found: Object) -> bool:
    return str(found["apiVersion"]).startswith("keda.sh/")


@OVERLAYS
def test_each_object_keeps_to_the_strict_schema_of_kubernetes(folder: str, tmp_path: Path) -> None:
    own = [found for found in _objects(folder) if not _is_keda(found)]
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(own))
    assert len(own) >= 17
    _tool("kubernetes-validate", "--strict", "--no-warn", str(file))


@OVERLAYS
def test_each_scaler_keeps_to_kedas_definitions_and_says_nothing_beyond(folder: str) -> None:
    from cloudcoil.models.keda import v1alpha1  # noqa: PLC0415  a megabyte of models

    scalers = [found for found in _objects(folder) if _is_keda(found)]
    assert len(scalers) == 4
    for scaler in scalers:
        read = getattr(v1alpha1, scaler["kind"]).model_validate(scaler)
        assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == scaler


def test_the_compose_file_keeps_to_the_specification() -> None:
    _tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE))


@pytest.mark.parametrize("wrong", ["command: [a]\n    comand: [b]", "depends_on: {x: {condition: service_well}}"])
def test_what_the_specification_does_not_know_is_refused(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "compose.yaml").write_text(f"services:\n  api:\n    image: a\n    {wrong}\n")
    with pytest.raises(AssertionError):
        _tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(tmp_path / "compose.yaml"))


def test_a_field_that_kubernetes_does_not_know_is_refused(tmp_path: Path) -> None:
    (deployment, *_) = [dict(found) for found in _objects("base") if found["kind"] == "Deployment"]
    (tmp_path / "objects.yaml").write_text(yaml.safe_dump({**deployment, "spec": {**deployment["spec"], "replica": 2}}))
    with pytest.raises(AssertionError):
        _tool("kubernetes-validate", "--strict", str(tmp_path / "objects.yaml"))


@OVERLAYS
def test_every_pod_runs_without_rights_on_a_read_only_file_system(folder: str) -> None:
    pods = _pods(folder)
    assert set(pods) == {"api", "migrate", *WORKERS}
    user = int(read_dockerfile(CLONE / "Dockerfile")[-1].last("USER").value.partition(":")[0])
    for pod in pods.values():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == user
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]["memory"]
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]


@OVERLAYS
def test_nobody_is_killed_within_the_grace_period(folder: str) -> None:
    grace_s = float(_of_kind(folder, "ConfigMap")["promidata-sync"]["data"]["SHUTDOWN_GRACE_S"])
    pods = _pods(folder)
    pause_s = float(pods["api"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pods["api"]["terminationGracePeriodSeconds"] > grace_s + pause_s
    assert all(pods[name]["terminationGracePeriodSeconds"] > grace_s for name in WORKERS)


@OVERLAYS
def test_workers_are_asked_for_their_pulse_and_the_api_over_http(folder: str) -> None:
    pods = _pods(folder)
    for name in WORKERS:
        probe = pods[name]["containers"][0]["livenessProbe"]
        assert probe["exec"]["command"] == ["promidata-health"]
    api = pods["api"]["containers"][0]
    assert api["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert api["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "livenessProbe" not in pods["migrate"]["containers"][0]


@OVERLAYS
def test_every_setting_of_the_manifests_is_one_of_the_program(folder: str) -> None:
    known = {line.lstrip("# ").partition("=")[0] for line in (CLONE / ".env.example").read_text().splitlines()}
    known |= {"REDIS_ADDRESS", "REDIS_USERNAME", "REDIS_PASSWORD"}  # KEDA's
    given = set(_of_kind(folder, "ConfigMap")["promidata-sync"]["data"])
    secrets = (KUSTOMIZE / "example" / "secrets.env.example").read_text().splitlines()
    given |= {line.partition("=")[0] for line in secrets if not line.startswith("#")}
    assert given - known == set()


@OVERLAYS
def test_each_worker_is_scaled_by_the_key_that_its_queue_has_in_redis(folder: str) -> None:
    prefix = _of_kind(folder, "ConfigMap")["promidata-sync"]["data"].get("REDIS_PREFIX", "")
    scalers = _of_kind(folder, "ScaledObject")
    assert set(scalers) == set(WORKERS)
    for name, scaler in scalers.items():
        (trigger,) = scaler["spec"]["triggers"]
        assert trigger["metadata"]["listName"] == prefix + QUEUE_OF[name]
        assert scaler["spec"]["minReplicaCount"] == 1, "chores need a worker"
        assert "replicas" not in _of_kind(folder, "Deployment")[name]["spec"]


def test_the_most_image_slots_are_the_requests_that_an_origin_gets() -> None:
    data = _of_kind("base", "ConfigMap")["promidata-sync"]["data"]
    settings = Settings(_env_file=None)
    most = _of_kind("base", "ScaledObject")["image-worker"]["spec"]["maxReplicaCount"]
    assert most * policies(settings)["image-upload"].slots == int(data["ORIGIN_MAX_CONCURRENCY"])


@OVERLAYS
def test_budgets_and_policies_select_pods_that_there_are(folder: str) -> None:
    labels = [
        maker["spec"]["template"]["metadata"]["labels"]
        for kind in ("Deployment", "Job")
        for maker in _of_kind(folder, kind).values()
    ]
    budgets = _of_kind(folder, "PodDisruptionBudget")
    assert set(budgets) == {"api", *WORKERS}
    selectors = [budget["spec"]["selector"]["matchLabels"] for budget in budgets.values()]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in _of_kind(folder, "NetworkPolicy").values()]
    selectors.append(_of_kind(folder, "Service")["api"]["spec"]["selector"])
    for selector in selectors:
        assert any(selector.items() <= label.items() for label in labels), selector


@OVERLAYS
def test_nothing_goes_in_or_out_but_what_is_allowed(folder: str) -> None:
    policies_by_name = {name: found["spec"] for name, found in _of_kind(folder, "NetworkPolicy").items()}
    denying = policies_by_name["promidata-sync-default-deny"]
    assert denying["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in denying
    assert "egress" not in denying
    api, workers = [found for found in policies_by_name.values() if "ingress" in found]
    assert api["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "api"
    assert {name for (match,) in [workers["podSelector"]["matchExpressions"]] for name in match["values"]} == set(
        WORKERS
    )
    (rule,) = workers["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "metrics"}]
    assert [found["namespaceSelector"]["matchLabels"] for found in rule["from"]] == [
        {"kubernetes.io/metadata.name": "monitoring"}
    ]


@OVERLAYS
def test_each_pod_reaches_the_usual_ports_of_what_it_talks_to_and_no_others(folder: str) -> None:
    names_and_database = {53, 5432, 6432}
    redis, web, traces = {6379, 6380}, {80, 443}, {4318}
    for pod in ("api", *WORKERS):
        assert _ports_out(folder, pod) == names_and_database | redis | web | traces
    assert _ports_out(folder, "migrate") == names_and_database


def _ports_out(folder: str, pod: str) -> set[int]:
    """The ports that the policies which select a pod let it connect to."""
    policies_of_it = [
        found["spec"] for found in _of_kind(folder, "NetworkPolicy").values() if _selects(found["spec"], pod)
    ]
    rules = [rule for policy in policies_of_it for rule in policy.get("egress", ())]
    return {int(port["port"]) for rule in rules for port in rule["ports"]}


def _selects(policy: Object, pod: str) -> bool:
    """Whether a policy is about the pods of this name; all of ours are part of promidata-sync."""
    selector = policy["podSelector"]
    labels = {"app.kubernetes.io/name": pod, "app.kubernetes.io/part-of": "promidata-sync"}
    listed = {
        "In": lambda match: labels[match["key"]] in match["values"],
        "NotIn": lambda match: labels[match["key"]] not in match["values"],
    }
    expressions = selector.get("matchExpressions", ())
    return selector["matchLabels"].items() <= labels.items() and all(
        listed[match["operator"]](match) for match in expressions
    )


def test_workers_are_scraped_where_they_listen_on_kubernetes_and_in_compose() -> None:
    data = _of_kind("base", "ConfigMap")["promidata-sync"]["data"]
    for name, found in _of_kind("base", "Deployment").items():
        if name in WORKERS:
            template = found["spec"]["template"]
            assert template["metadata"]["annotations"]["prometheus.io/port"] == data["METRICS_PORT"]
            (port,) = template["spec"]["containers"][0]["ports"]
            assert port == {"name": "metrics", "containerPort": int(data["METRICS_PORT"])}
    scraping = yaml.safe_load((CLONE / "deploy/prometheus/prometheus.yaml").read_text())["scrape_configs"]
    (workers,) = [job["dns_sd_configs"][0] for job in scraping if job["job_name"] == "promidata-workers"]
    assert set(workers["names"]) == set(WORKERS)
    assert {str(workers["port"])} == {_services()[name]["environment"]["METRICS_PORT"] for name in WORKERS}


def test_the_overlay_puts_the_api_below_a_prefix_on_both_sides() -> None:
    (rule,) = _of_kind("example", "Ingress")["api"]["spec"]["rules"]
    data = _of_kind("example", "ConfigMap")["promidata-sync"]["data"]
    assert rule["http"]["paths"][0]["path"] == data["ROOT_PATH"]
    assert {found["metadata"].get("namespace") for found in _objects("example")} == {"catalogue"}
    assert all("namespace" not in found["metadata"] for found in _objects("base"))
    images = {pod["containers"][0]["image"] for pod in _pods("example").values()}
    assert images == {"registry.example.com/promidata-sync:0.1.0"}


def _services() -> dict[str, Object]:
    services: dict[str, Object] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def test_compose_starts_the_rest_when_the_schema_is_there() -> None:
    services = _services()
    for name in ("api", *WORKERS):
        waits = services[name]["depends_on"]
        assert waits["migrate"]["condition"] == "service_completed_successfully"
        for server in ("postgres", "valkey", "s3"):
            assert waits[server]["condition"] == "service_healthy"
            assert services[server]["healthcheck"]["test"]
    assert services["migrate"]["restart"] == "no"


def test_compose_gives_each_process_time_to_hand_its_work_back() -> None:
    for name in ("api", *WORKERS):
        service = _services()[name]
        assert float(service["stop_grace_period"].removesuffix("s")) > float(service["environment"]["SHUTDOWN_GRACE_S"])


def test_compose_has_no_secret_and_says_which_is_missing(load: Load) -> None:
    environments(COMPOSE, FIRST_START)
    for name in set(FIRST_START) - {"S3_SECRET_ACCESS_KEY"}:
        with pytest.raises(MissingVariableError, match=rf"^{name}: put .{{10}}"):
            environments(COMPOSE, {**FIRST_START, name: ""})
    with pytest.raises(SettingsError, match="S3_BUCKET is set, so S3_SECRET_ACCESS_KEY is needed too"):
        load(environments(COMPOSE, {**FIRST_START, "S3_SECRET_ACCESS_KEY": ""})["migrate"])


def test_compose_starts_with_what_the_readme_puts_into_env() -> None:
    (written,) = re.findall(r"cat > \.env <<END\n(.*?)END\n", (CLONE / "README.md").read_text(), re.DOTALL)
    assert {line.partition("=")[0] for line in written.splitlines()} == set(FIRST_START)


@pytest.mark.parametrize(("given", "public"), PUBLIC_URLS)
def test_compose_gives_out_pictures_of_its_own_store_at_localhost_and_of_no_other(
    load: Load, given: dict[str, str], public: str | None
) -> None:
    for name in ("api", "migrate", *WORKERS):
        settings = load(environments(COMPOSE, FIRST_START | given)[name])
        assert settings.s3_public_url == public
        own = given.get("S3_ENDPOINT_URL") or given.get("R2_ENDPOINT")
        assert settings.s3_endpoint_url == (own or "http://s3:9000")


@pytest.mark.skipif(not has_compose(), reason="Docker Compose is not installed")
@pytest.mark.parametrize("given", [{}, *(given for given, _ in PUBLIC_URLS)])
def test_compose_itself_reads_its_file_as_these_tests_do(tmp_path: Path, given: dict[str, str]) -> None:
    """Without an engine: it only shows what it would start."""
    shutil.copy(COMPOSE, tmp_path)
    shutil.copytree(CLONE / "deploy" / "compose", tmp_path / "deploy" / "compose")
    variables = FIRST_START | given
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    read = shown_by_compose(tmp_path)
    assert read == {name: found for name, found in environments(COMPOSE, variables).items() if name in read}
    assert {"api", "migrate", "s3", *WORKERS} <= set(read)


def test_compose_runs_everything_read_only_and_offers_it_to_this_machine_alone() -> None:
    for name, service in _services().items():
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert not re.search(r":latest$|^[^:]+$", service["image"]), name
