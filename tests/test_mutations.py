"""The tests notice when the code is broken: each mutation of the core is found by the tests that are named with it.

`python tests/test_mutations.py` prints the table; `pytest -m mutation` asserts it. Both take some minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
TREES = ("keras_sd", "applications", "benchmarks", "tests", "docs")


class Mutation(NamedTuple):
    """One place of the code, broken.

    Attributes:
        what: What the broken code does.
        file: Path below the root.
        before, after: Text that occurs once in the file, and what takes its place.
        tests: Paths of tests, one of which must fail.
    """

    what: str
    file: str
    before: str
    after: str
    tests: str


MUTATIONS = (
    Mutation(
        "gates open with 1 - p",
        "keras_sd/layers/gates.py",
        'seed=seed) < ops.convert_to_tensor(probabilities, "float32")',
        'seed=seed) > ops.convert_to_tensor(probabilities, "float32")',
        "tests/layers/test_gates.py",
    ),
    Mutation(
        "equal seeds give equal gates in all layers",
        "keras_sd/layers/gates.py",
        'zlib.crc32(f"{seed}/{name}".encode())',
        'zlib.crc32(f"{seed}".encode())',
        "tests/layers/test_stochastic_depth.py",
    ),
    Mutation(
        "a systematic draw forgets its random order",
        "keras_sd/layers/gates.py",
        "drawn = ops.take(order, places)",
        "drawn = places",
        "tests/layers/test_gates.py",
    ),
    Mutation(
        "branches are not weighed in inference",
        "keras_sd/layers/blocks.py",
        'return self.survival_probabilities if self.scaling == "inference" else (1.0,) * self.num_blocks',
        "return (1.0,) * self.num_blocks",
        "tests/layers/test_stochastic_depth.py",
    ),
    Mutation(
        "survivors are multiplied by p in place of divided",
        "keras_sd/layers/blocks.py",
        "return tuple(1.0 / p for p in self.survival_probabilities)",
        "return tuple(1.0 * p for p in self.survival_probabilities)",
        "tests/layers/test_stochastic_depth.py",
    ),
    Mutation(
        "the schedule reaches its last rate one block early",
        "keras_sd/schedules.py",
        "for block in range(1, depth + 1))",
        "for block in range(depth))",
        "tests/test_schedules.py",
    ),
    Mutation(
        "a dropped block is computed",
        "keras_sd/backend/tensorflow/gates.py",
        "return tf.cond(is_open, compute, otherwise)",
        "return choose(is_open, compute, otherwise())",
        "tests/layers/test_stochastic_depth.py",
    ),
    Mutation(
        "a stack forgets the statistics of its blocks",
        "keras_sd/layers/stack.py",
        "self._weights_of[name].assign(value)\n        return outputs",
        "pass\n        return outputs",
        "tests/layers/test_stack_equality.py",
    ),
    Mutation(
        "blocks dropped before the first survivor do not apply their activation",
        "keras_sd/layers/stack.py",
        "return ops.cond(first, lambda: inputs, lambda: self.activation(inputs))",
        "return inputs",
        "tests/layers/test_stack_equality.py",
    ),
    Mutation(
        "the unbiased variance is kept",
        "keras_sd/backend/tensorflow/loops.py",
        "variance = variance * ((n - 1) / n)",
        "variance = variance * 1.0",
        "tests/layers/test_normalization.py",
    ),
    Mutation(
        "option A pads in front of the channels",
        "keras_sd/layers/shortcut.py",
        "widths[self._channel_axis] = (before, missing - before)",
        "widths[self._channel_axis] = (missing - before, before)",
        "tests/layers/test_shortcut.py",
    ),
    Mutation(
        "the dense gradient forgets the deviations",
        "keras_sd/backend/tensorflow/dense.py",
        "scales *= tf.gather(forward.statistics[2], features)",
        "scales *= 1.0",
        "tests/layers/test_dense.py",
    ),
    Mutation(
        "a dense block does not weigh its layers in inference",
        "keras_sd/layers/dense.py",
        "return None, weights",
        "return None, self.survivor_gates()",
        "tests/layers/test_dense.py",
    ),
    Mutation(
        "a checkpoint restores no optimizer",
        "keras_sd/training/checkpoint.py",
        'arrays: Mapping[str, list[np.ndarray]], groups: Sequence[str] = ("model", "optimizer")\n',
        'arrays: Mapping[str, list[np.ndarray]], groups: Sequence[str] = ("model",)\n',
        "tests/training/test_resume.py tests/training/test_checkpoint.py",
    ),
    Mutation(
        "a torn checkpoint is taken for a whole one",
        "keras_sd/training/checkpoint.py",
        "if hashlib.sha256(payload).digest() != content[-_DIGEST_SIZE:]:",
        "if False:",
        "tests/training/test_checkpoint.py",
    ),
    Mutation(
        "a file with another hash is used",
        "keras_sd/weights/cache.py",
        "if not hmac.compare_digest(found[: len(wanted)], wanted):",
        "if False:",
        "tests/weights/test_cache.py",
    ),
    Mutation(
        "blocks of PyTorch files are counted from one",
        "keras_sd/weights/layouts.py",
        "{int(found[2]) - 1}",
        "{int(found[2])}",
        "tests/weights/test_loading.py",
    ),
    Mutation(
        "every epoch has the same order",
        "keras_sd/data/dataset.py",
        "references = self._order(tf.stack([tf.cast(seed, tf.int64), epoch]), is_wanted)",
        "references = self._order(tf.stack([tf.cast(seed, tf.int64), epoch * 0]), is_wanted)",
        "tests/data/test_streaming.py tests/data/test_dataset.py",
    ),
    Mutation(
        "the held-out part depends on nothing that was asked for",
        "keras_sd/data/dataset.py",
        "return np.setdiff1d(np.arange(len(labels)), held_out), held_out",
        "return np.arange(len(labels)), held_out",
        "tests/data/test_dataset.py",
    ),
    Mutation(
        "folding forgets the means of normalizations",
        "keras_sd/models/fold.py",
        "return [kernel * by_kernel, (bias - mean) * scale + beta]",
        "return [kernel * by_kernel, bias * scale + beta]",
        "tests/test_inference.py",
    ),
    Mutation(
        "lesions leave the block in",
        "keras_sd/analysis/lesion.py",
        "gates[index] = 0",
        "gates[index] = 1",
        "tests/analysis/test_blocks.py",
    ),
)


def mutated(text, mutation):
    assert text.count(mutation.before) == 1, f"{mutation.file} has changed: {mutation.before!r} must occur once"
    return text.replace(mutation.before, mutation.after)


def is_noticed(mutation):
    """Run the tests of a mutation on a copy of the tree; return whether one fails, and the name of the first."""
    with tempfile.TemporaryDirectory() as folder:
        for tree in TREES:
            shutil.copytree(ROOT / tree, Path(folder) / tree, symlinks=True, ignore=shutil.ignore_patterns("*.pyc"))
        for file in ("setup.cfg", "keras_sd_command.py", "README.md"):
            shutil.copy(ROOT / file, folder)
        file = Path(folder) / mutation.file
        file.write_text(mutated(file.read_text(), mutation))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not large", "--tb=no", "-p", "no:cacheprovider"]
        environment = {**os.environ, "PYTHONPATH": folder}  # before the package that is installed
        process = subprocess.run(
            [*command, *mutation.tests.split()], cwd=folder, env=environment, capture_output=True, text=True
        )
    failed = [line for line in process.stdout.splitlines() if line.startswith("FAILED")]
    return process.returncode == 1, failed[0].split(" - ")[0].removeprefix("FAILED ") if failed else ""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_each_mutation_is_one_of_the_code_as_it_is(mutation):
    mutated((ROOT / mutation.file).read_text(), mutation)


@pytest.mark.mutation
@pytest.mark.skipif("'mutation' not in config.getoption('-m')", reason="takes minutes; run by `pytest -m mutation`")
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_each_mutation_is_noticed(mutation):
    noticed, _ = is_noticed(mutation)
    assert noticed


if __name__ == "__main__":
    print("| what is broken | file | the test that fails |\n|---|---|---|")
    for one in MUTATIONS:
        noticed, test = is_noticed(one)
        print(f"| {one.what} | `{one.file}` | {f'`{test}`' if noticed else 'NONE'} |", flush=True)
