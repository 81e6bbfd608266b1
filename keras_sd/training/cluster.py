"""Address, number and index of the processes of a job, from the environment variables of SLURM or Kubernetes."""

import re
from collections.abc import Mapping

from keras_sd.utils.checks import refusal

# `srun` sets these for the processes it starts; the job script is not one of them and lacks the first two.
_SLURM = ("SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_ID")
# Kubernetes sets the index; a process cannot find out the others, so the job file sets the rest.
_KUBERNETES = ("KERAS_SD_COORDINATOR", "KERAS_SD_NUM_PROCESSES")
_FIRST_PORT, _PORTS = 10_000, 20_000  # below the ports that Linux assigns to outgoing connections


def detect(variables: Mapping[str, str]) -> tuple[str, int, int]:
    """Return the address of process 0, the number of processes and the index of this one.

    Args:
        variables: The environment variables.

    Raises:
        ValueError: A variable is missing, or is not a number where one is needed.
    """
    if "SLURM_JOB_ID" in variables:
        _check_set(variables, _SLURM, "SLURM", "start the command with srun")
        # Steps of one job, or jobs that share a host, must not use the same port.
        port = _FIRST_PORT + (_number(variables, "SLURM_JOB_ID") + _number(variables, "SLURM_STEP_ID")) % _PORTS
        address = f"{first_host(variables['SLURM_STEP_NODELIST'])}:{port}"
        return address, _number(variables, "SLURM_STEP_NUM_TASKS"), _number(variables, "SLURM_PROCID")
    if "JOB_COMPLETION_INDEX" in variables:
        _check_set(variables, _KUBERNETES, "an indexed Kubernetes Job", "set them in the job file")
        address = variables["KERAS_SD_COORDINATOR"]
        return address, _number(variables, "KERAS_SD_NUM_PROCESSES"), _number(variables, "JOB_COMPLETION_INDEX")
    allowed = "HOST:PORT where neither SLURM (SLURM_JOB_ID) nor a Kubernetes Job (JOB_COMPLETION_INDEX) is found"
    raise refusal("coordinator", allowed, "auto")


def first_host(hosts: str) -> str:
    """Return the first host of a list as SLURM writes it: node003 of "node[003-007,009],gpu1"."""
    match = re.match(r"(?:[^,\[]|\[[^\]]*\])*", hosts)
    assert match is not None  # it matches any text
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", match[0])


def _check_set(variables, names, where, remedy):
    missing = [name for name in names if not variables.get(name)]
    if missing:
        allowed = f"HOST:PORT in {where} without {', '.join(missing)} ({remedy})"
        raise refusal("coordinator", allowed, "auto")


def _number(variables, name):
    if not re.fullmatch(r"\d+", variables[name]):
        raise refusal(name, "a number", variables[name])
    return int(variables[name])
