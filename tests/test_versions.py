"""The oldest versions that are allowed are those that `.ci/run` tests with."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
# In an environment of the oldest versions nothing reads these: other engines, type checks, runtimes of exports, docs.
NOT_TESTED = {
    "jax",
    "torch",
    "mypy",
    "types-PyYAML",
    "types-requests",
    "ruff",
    "tf2onnx",
    "onnxruntime",
    "ai-edge-litert",
}


def floors():
    """The lowest version of each library that setup.cfg names, but for the documentation's."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    lines = [config["options"]["install_requires"], *(extras[name] for name in extras if name != "docs")]
    return dict(re.findall(r"^([\w-]+)>=([\d.]+)$", "\n".join(lines), re.MULTILINE))


def pins():
    return dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "tests" / "oldest.txt").read_text(), re.MULTILINE))


def test_the_oldest_versions_allowed_are_tested():
    def version(text):
        return re.sub(r"(\.0)+$", "", text)

    allowed, tested = floors(), pins()
    assert len(allowed) > 15
    for name in allowed.keys() - NOT_TESTED:
        assert name in tested, f"{name} of setup.cfg has no line in tests/oldest.txt"
        assert version(tested[name]) == version(allowed[name]), name
