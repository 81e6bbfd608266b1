"""Address, number and index of processes come from the variables of SLURM and Kubernetes."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from helpers import only_jax

from keras_sd import cli
from keras_sd.training import cluster, devices

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NODELIST": "node[003-007,009],gpu1",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_PROCID": "3",
}
KUBERNETES = {
    "JOB_COMPLETION_INDEX": "1",
    "KERAS_SD_COORDINATOR": "train-0.train:1234",
    "KERAS_SD_NUM_PROCESSES": "2",
}


def test_slurm():
    assert cluster.detect(SLURM) == ("node003:14713", 7, 3)


def test_ports_of_large_job_numbers_are_valid():
    address, *_ = cluster.detect({**SLURM, "SLURM_JOB_ID": "4294967294"})
    assert 10_000 <= int(address.rpartition(":")[2]) < 30_000


def test_kubernetes():
    assert cluster.detect(KUBERNETES) == ("train-0.train:1234", 2, 1)


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("alone", "alone"),
        ("a,b", "a"),
        ("gpu-[8,10-12]", "gpu-8"),
        ("rack[1-2]n[04-05].example,b", "rack1n04.example"),
        ("n[1-2]-ib", "n1-ib"),
    ],
)
def test_first_host(hosts, first):
    assert cluster.first_host(hosts) == first


@pytest.mark.parametrize("name", [name for name in SLURM if name != "SLURM_JOB_ID"])
def test_a_missing_variable_of_slurm_is_named(name):
    variables = {key: value for key, value in SLURM.items() if key != name}
    with pytest.raises(ValueError, match=rf"`coordinator` .* SLURM without {name} \(start the command with srun\)"):
        cluster.detect(variables)


@pytest.mark.parametrize("name", ["KERAS_SD_COORDINATOR", "KERAS_SD_NUM_PROCESSES"])
def test_a_missing_variable_of_kubernetes_is_named(name):
    with pytest.raises(ValueError, match=rf"`coordinator` .* Kubernetes Job without {name} \(set them in the job file"):
        cluster.detect({**KUBERNETES, name: ""})


def test_a_variable_that_is_no_number():
    with pytest.raises(ValueError, match="`KERAS_SD_NUM_PROCESSES` must be a number"):
        cluster.detect({**KUBERNETES, "KERAS_SD_NUM_PROCESSES": "two"})


def test_no_scheduler():
    with pytest.raises(ValueError, match=r"`coordinator` must be HOST:PORT where neither SLURM"):
        cluster.detect({"PATH": "/bin"})


@pytest.fixture
def in_kubernetes(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)


def test_numbers_are_not_given_twice(in_kubernetes):
    with pytest.raises(ValueError, match="`num_processes` must be None with coordinator 'auto'"):
        devices.choose(coordinator="auto", num_processes=2)


@only_jax
def test_auto_connects_as_the_variables_say(in_kubernetes, monkeypatch):
    connected = []
    monkeypatch.setattr(devices.backend, "connect", lambda *arguments: connected.append(arguments))
    chosen = devices.choose(coordinator="auto", timeout=5)
    assert connected == [("train-0.train:1234", 2, 1, 5)]
    assert (chosen.processes, chosen.process) == (2, 1)


PAGE = Path(__file__).parents[2] / "docs" / "distribute.md"


def check_command(program, train, *options):
    assert (program, train) == ("keras-sd", "train")
    given = typer.main.get_command(cli.app).commands["train"].make_context("train", list(options)).params
    assert (given["coordinator"], given["resume"]) == ("auto", True)


def test_the_job_file_of_kubernetes():
    file = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    service, job = yaml.safe_load_all(file)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {row["name"]: row["value"] for row in container["env"]}
    address, count, _ = cluster.detect({**variables, "JOB_COMPLETION_INDEX": "0"})
    assert address.partition(":")[0] == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == count
    check_command(*container["command"], *container["args"])


def test_the_job_file_of_slurm():
    file = re.search(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    (command,) = re.findall("^srun --kill-on-bad-exit=0 (.*)", file, re.MULTILINE)
    check_command(*shlex.split(command))
