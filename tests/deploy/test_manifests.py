"""What is deployed is valid, and its parts agree with each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
VERSION = "1.32"
REQUIRED = ("CPT_DATABASE_PASSWORD", "CPT_BROKER_PASSWORD", "CPT_AGENT_TOKEN")
"""Secrets without which compose does nothing."""
LAST_ANSWERS = 10.0
"""Seconds that the API takes at most to stop, 3 of them for open requests."""
LAST_WORDS = 10.0
"""Seconds that a worker takes at most after its grace: it parts from the API and the broker."""


def documents(pattern: str) -> list[dict[str, Any]]:
    """All Kubernetes objects in the files of that name."""
    found = []
    for path in sorted(KUBERNETES.glob(pattern)):
        found += list(yaml.safe_load_all(path.read_text()))
    return [document for document in found if "kustomize" not in document["apiVersion"]]


OBJECTS = documents("*/*.yaml")
NATIVE = [each for each in OBJECTS if "keda" not in each["apiVersion"]]


def name_of(each: dict[str, Any]) -> str:
    return f"{each['kind']}-{each['metadata']['name']}"


def pods() -> list[tuple[str, dict[str, Any]]]:
    return [(name_of(each), each["spec"]["template"]) for each in NATIVE if "template" in each.get("spec", {})]


@pytest.mark.parametrize("document", NATIVE, ids=name_of)
def test_every_object_fits_the_schema_of_kubernetes(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_kedas_object_fits_its_schema() -> None:
    (found,) = [each for each in OBJECTS if each["kind"] == "ScaledObject"]
    read = ScaledObject.model_validate(found).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert read == found, "the models leave out what they do not know"


def test_a_misspelt_field_is_noticed() -> None:
    broken = json.loads(json.dumps(next(each for each in NATIVE if each["kind"] == "Deployment")))
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_every_file_is_listed_for_kustomize() -> None:
    for folder in (KUBERNETES / name for name in ("base", "gpu", "keda")):
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
        assert {*listed, "kustomization.yaml"} == {path.name for path in folder.iterdir()}


def test_kustomize_builds_it() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run(["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=True).stdout
    made = list(yaml.safe_load_all(built))
    assert len(made) == len(OBJECTS)
    images = {image for each in made for image in re.findall(r"image: (\S+)", yaml.safe_dump(each))}
    assert all(image.startswith("registry.example.org/cpt-service-") for image in images)


@pytest.mark.parametrize(("name", "pod"), pods())
def test_no_pod_runs_as_root_or_writes_its_own_files(name: str, pod: dict[str, Any]) -> None:
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert pod["spec"]["securityContext"]["runAsUser"] == 10001, "the images' user"
    for container in pod["spec"]["containers"]:
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"]
        assert not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"]["drop"] == ["ALL"]


def test_there_is_all_that_the_service_needs() -> None:
    kinds: dict[str, set[str]] = {}
    for each in OBJECTS:
        kinds.setdefault(each["kind"], set()).add(each["metadata"]["name"])
    deployments = {"cpt-api", "cpt-worker-cpu", "cpt-worker-cuda"}
    assert kinds["Deployment"] == kinds["PodDisruptionBudget"] == deployments
    assert kinds["Job"] == {"cpt-migrate"}
    assert kinds["HorizontalPodAutoscaler"] == {"cpt-api"}
    assert kinds["ScaledObject"] == {"cpt-worker-cpu"}
    devices = {
        name: {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}["CPT_DEVICE"]
        for name, pod in pods()
        if "worker" in name
    }
    assert devices == {"Deployment-cpt-worker-cpu": "cpu", "Deployment-cpt-worker-cuda": "cuda"}


def test_the_api_is_taken_out_of_service_before_it_is_told_to_stop() -> None:
    (api,) = [pod["spec"] for name, pod in pods() if name == "Deployment-cpt-api"]
    (container,) = api["containers"]
    leaving = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert leaving >= container["readinessProbe"]["periodSeconds"]
    assert api["terminationGracePeriodSeconds"] >= leaving + LAST_ANSWERS, "then open requests are answered"


def test_selectors_find_their_pods() -> None:
    labels = [pod["metadata"]["labels"].items() for _, pod in pods()]
    for each in NATIVE:
        if each["kind"] in ("Service", "PodDisruptionBudget", "Deployment"):
            selector = each["spec"]["selector"]
            wanted = selector.get("matchLabels", selector).items()
            assert any(wanted <= found for found in labels), name_of(each)
    targets = [each["spec"]["scaleTargetRef"]["name"] for each in OBJECTS if "scaleTargetRef" in each.get("spec", {})]
    assert {f"Deployment-{target}" for target in targets} <= {name for name, _ in pods()}


def test_workers_have_no_way_to_the_database() -> None:
    workers = [pod for name, pod in pods() if "worker" in name]
    assert len(workers) == 2
    for pod in workers:
        (container,) = pod["spec"]["containers"]
        assert [list(source) for source in container["envFrom"]] == [["configMapRef"]]
        assert "CPT_DATABASE_URL" not in {variable["name"] for variable in container["env"]}


def test_workers_are_killed_only_after_their_grace() -> None:
    for name, pod in pods():
        if "worker" in name:
            environment = {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
            assert pod["spec"]["terminationGracePeriodSeconds"] >= float(environment["CPT_GRACE_SECONDS"]) + LAST_WORDS
    worker = compose_file()["services"]["worker"]
    grace = float(worker["environment"]["CPT_GRACE_SECONDS"])
    assert float(worker["stop_grace_period"].removesuffix("s")) >= grace + LAST_WORDS


def compose_file(name: str = "docker-compose.yml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


def test_containers_are_limited_restarted_watched_and_have_no_rights_to_spare() -> None:
    for name, service in compose_file()["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        if name == "migrate":
            continue
        assert service["restart"] == "unless-stopped", name
        assert {"mem_limit", "pids_limit"} <= service.keys(), name
        assert "healthcheck" in service or "build" in service, name
    for role in ("api", "worker"):
        dockerfile = (ROOT / f"docker/{role}.Dockerfile").read_text()
        assert "\nHEALTHCHECK " in dockerfile
        assert "\nUSER cpt\n" in dockerfile
        assert "--mount" not in dockerfile, "BuildKit alone knows it"


def test_images_are_labelled_with_the_version_that_is_in_them() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for role in ("api", "worker"):
        assert f"\nARG VERSION={version}\n" in (ROOT / f"docker/{role}.Dockerfile").read_text()
    images = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["images"]
    assert {image["newTag"] for image in images} == {version}


@pytest.mark.parametrize("more", [None, "gpu", "secrets"])
def test_compose_takes_the_files(more: str | None) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed")
    files = ["docker-compose.yml", *([f"docker-compose.{more}.yml"] if more else [])]
    named = [part for file in files for part in ("-f", file)]
    command = [program, *named, "--profile", "monitoring", "config", "--quiet"]
    env = os.environ | dict.fromkeys(REQUIRED, "x" * 20)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_secret_is_asked_for_and_may_be_a_file() -> None:
    example = (ROOT / ".env.example").read_text()
    assert all(f"\n{name}=\n" in example for name in REQUIRED), "nothing is filled in"
    text = (ROOT / "docker-compose.yml").read_text()
    files = compose_file("docker-compose.secrets.yml")
    for name in REQUIRED:
        assert set(re.findall(rf"\${{{name}[^}}]*}}", text)) == {f"${{{name}:?set it in .env}}"}
        assert name in files["secrets"]
    given = {name: set(service["secrets"]) for name, service in files["services"].items()}
    for name, service in compose_file()["services"].items():
        taken = {*re.findall(r"(CPT_\w+_(?:PASSWORD|TOKEN))", yaml.safe_dump(service))}
        assert given.get(name, set()) == taken, name
    assert set(files["secrets"]) == set.union(*given.values())


def test_the_dashboard_and_the_configuration_of_prometheus_are_where_the_monitoring_profile_looks() -> None:
    services = compose_file()["services"]
    for name in ("prometheus", "grafana"):
        for volume in services[name]["volumes"]:
            if volume.startswith("./"):
                assert (ROOT / volume.split(":")[0]).exists(), volume
    dashboards = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/cpt-service.yml").read_text())
    assert any(dashboards["providers"][0]["options"]["path"] in volume for volume in services["grafana"]["volumes"])
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert [job["dns_sd_configs"][0]["names"] for job in jobs] == [["api"], ["worker"]]


def test_prometheus_takes_its_configuration() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    config = str(ROOT / "deploy/prometheus/prometheus.yml")
    done = subprocess.run(["promtool", "check", "config", "--syntax-only", config], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
