"""Each public layer has an example in its docstring that prints what it says."""

import doctest

import keras
import pytest

import keras_sd
from keras_sd import layers


@pytest.mark.parametrize("name", layers.__all__)
def test_the_example_of_a_docstring_holds(name):
    names = {"keras": keras, "keras_sd": keras_sd}
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(layers, name), name, globs=names)
    assert test.examples
    report = []
    assert doctest.DocTestRunner().run(test, out=report.append).failed == 0, "".join(report)
