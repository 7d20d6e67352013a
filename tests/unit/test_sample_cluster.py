"""The samples of a cluster, read like Compose, Kubernetes and Dask's own command line would read them."""

from __future__ import annotations

import json
from typing import Any

import yaml
from distributed.cli import dask_scheduler, dask_worker

from migrator.config.settings import read_configuration
from migrator.jobs.nightly.spread import require_fit
from tests.support.program import ROOT
from tests.unit.test_sample_nights import understood

FOLDER = ROOT / "sample_configs" / "cluster"
CONFIGURATION = read_configuration(FOLDER / "redmine.toml")
ADDRESS = CONFIGURATION.dask


def understood_by_dask(words: list[str]) -> dict[str, Any]:
    """What Dask takes these words for; nothing is run."""
    main = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[words[0]]
    return main.make_context(words[0], words[1:]).params


def of_kind(kind: str) -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    return [document for document in documents if document["kind"] == kind]


def test_the_cluster_of_compose_is_the_one_of_its_configuration():
    document = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    services = document["services"]
    scheduler = understood_by_dask(services["scheduler"]["command"])
    assert f"tcp://scheduler:{scheduler['port']}" == ADDRESS
    assert understood_by_dask(services["worker"]["command"])["scheduler"] == ADDRESS
    assert understood(services["migrator"]["command"]) == "nightly"
    assert {service["image"] for service in services.values()} == {"migrator-cluster"}
    assert all((service["read_only"], service["cap_drop"]) == (True, ["ALL"]) for service in services.values())
    assert [name for name, service in services.items() if "env_file" in service] == ["migrator"], "secrets"


def test_the_nights_of_compose_have_their_secrets_on_the_workers():
    services = yaml.safe_load((FOLDER / "nights.yaml").read_text())["services"]
    assert f"tcp://scheduler:{understood_by_dask(services['scheduler']['command'])['port']}" == ADDRESS
    worker = understood_by_dask(services["worker"]["command"])
    assert (worker["scheduler"], worker["nthreads"]) == (ADDRESS, 1)
    assert understood(services["migrator"]["command"]) == "nightly"
    assert services["migrator"]["command"][-2:] == ["--on", "dask"]
    assert [name for name, service in services.items() if "env_file" in service] == ["worker"], "secrets"
    [volume] = services["worker"]["volumes"]
    assert f"{CONFIGURATION.archive}".startswith(f"{volume.partition(':')[2]}/")
    require_fit(CONFIGURATION)


def test_the_cluster_of_kubernetes_is_the_one_of_its_configuration():
    scheduler, worker = of_kind("Deployment")
    [service], [job], [policy] = of_kind("Service"), of_kind("CronJob"), of_kind("NetworkPolicy")
    pods = [each["spec"]["template"] for each in (scheduler, worker, job["spec"]["jobTemplate"])]
    containers = [pod["spec"]["containers"][0] for pod in pods]
    assert f"tcp://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}" == ADDRESS
    assert service["spec"]["selector"].items() <= pods[0]["metadata"]["labels"].items()
    assert f":{understood_by_dask(containers[0]['args'])['port']}" in ADDRESS
    assert understood_by_dask(containers[1]["args"])["scheduler"] == ADDRESS
    assert understood(containers[2]["args"]) == "nightly"
    [friend] = policy["spec"]["ingress"][0]["from"]
    assert all(friend["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items() for pod in pods)
    assert len({container["image"] for container in containers}) == 1
    assert ["envFrom" in container for container in containers] == [False, False, True], "secrets"


def test_every_pod_of_the_cluster_can_do_little_else():
    jobs = [each["spec"]["jobTemplate"] for each in of_kind("CronJob")]
    for pod in [each["spec"]["template"]["spec"] for each in (*of_kind("Deployment"), *jobs)]:
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["serviceAccountName"] == of_kind("ServiceAccount")[0]["metadata"]["name"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


def test_the_catalog_of_the_cluster_lies_on_the_volume():
    [job], [claim] = of_kind("CronJob"), of_kind("PersistentVolumeClaim")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [volume] = [each["name"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
    [path] = [each["mountPath"] for each in pod["containers"][0]["volumeMounts"] if each["name"] == volume]
    assert f"{CONFIGURATION.archive}".startswith(f"{path}/")
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_the_rule_of_the_bucket_clears_the_parts_of_the_sample_archive():
    """In the shape of S3's PutBucketLifecycleConfiguration; it deletes no object."""
    [rule] = json.loads((FOLDER.parent / "bucket-lifecycle.json").read_text())["Rules"]
    assert rule.keys() == {"ID", "Status", "Filter", "AbortIncompleteMultipartUpload"}
    assert (rule["Status"], rule["AbortIncompleteMultipartUpload"]) == ("Enabled", {"DaysAfterInitiation": 1})
    archive = read_configuration(FOLDER.parent / "redmine-to-bucket.toml").settings.archive
    assert archive.partition("://")[2].partition("/")[2] + "/" == rule["Filter"]["Prefix"]
