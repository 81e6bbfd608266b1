"""Studies in their quick form through the command, what they keep, and the sums that they do themselves."""

import csv
import dataclasses
import importlib
import json
import re

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from keras_sd import analysis, applications, studies, training
from keras_sd.cli import app
from keras_sd.studies import (
    depth_study,
    efficiency_study,
    outcome,
    perceptron_study,
    regularization_study,
    truncate_study,
)
from keras_sd.studies.lab import Laboratory, Network, four
from keras_sd.studies.result_cache import Cache, weights_digest
from keras_sd.utils import plotting


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One directory for all studies of this file, which take over each other's trained networks."""
    return tmp_path_factory.mktemp("studies")


def invoke(*arguments):
    return CliRunner().invoke(app, ["study", *map(str, arguments)])


def read(out, name):
    record = json.loads((out / f"{name}.json").read_text())
    with (out / f"{name}.csv").open(newline="") as file:
        return record, list(csv.DictReader(file))


def as_small_as_can_be(monkeypatch, module):
    """Networks that a study trains are the shallowest of their kinds, whatever their labels say; equal ones are one."""
    config, train = Laboratory.config, Laboratory.train

    def shallow(lab, network, *arguments):
        if "depth" in network.arguments:
            depth = 10 if network.model == "DenseNet" else 8
            network = dataclasses.replace(network, arguments={**network.arguments, "depth": depth})
        return config(lab, network, *arguments)

    def train_once(lab, network, *arguments, **settings):
        trained = train(lab, dataclasses.replace(network, label=network.model), *arguments, **settings)
        return dataclasses.replace(trained, label=network.label)

    monkeypatch.setattr(Laboratory, "config", shallow)
    monkeypatch.setattr(Laboratory, "train", train_once)
    monkeypatch.setattr(Laboratory, "slow_start", {})  # equal networks of several studies are trained once
    if hasattr(module, "four"):
        monkeypatch.setattr(module, "four", lambda depth, dense_depth, *changes: four(8, 10, *changes))


SMALLEST = {"epochs": 1, "images": 60, "training_images": 70, "draws": 2, "seeds": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", [pytest.param(SMALLEST, id="smallest"), pytest.param({}, id="quick", marks=pytest.mark.large)]
)
@pytest.mark.parametrize(
    ("name", "columns"),
    [
        # First, since it records gradients while it trains: the other studies reuse its networks.
        ("gradients", {"network", "epoch", "block", "gradient", "signal", "similarity"}),
        ("lesion", {"network", "kind", "number", "error"}),
        ("ensemble", {"network", "kind", "number", "error", "calibration_error", "fraction", "gradient"}),
        ("truncate", {"network", "blocks", "flops", "error"}),
        ("features", {"block", "source", "target", "weight"}),
        ("depth", {"network", "depth", "training_error", "test_error"}),
        ("speed", {"survival_probability", "expected_saving", "measured_saving"}),
        ("regularization", {"images", "survival_probability", "seed", "training_loss", "test_error"}),
        ("efficiency", {"model", "parameters", "flops", "error"}),
        ("perceptron", {"year", "network", "test_error", "xor_right"}),
    ],
)
def test_the_quick_form_of_each_study(shared, name, columns, size, monkeypatch):
    module = importlib.import_module(f"keras_sd.studies.{name}_study")
    if size:
        as_small_as_can_be(monkeypatch, module)
    options = studies.STUDIES[name].options
    sizes = [f"--{option.replace('_', '-')}={value}" for option, value in size.items() if option in options]
    result = invoke(name, "--out", shared, "--quick", *sizes)
    assert result.exit_code == 0, result.output
    record, rows = read(shared, name)
    assert columns <= set(rows[0])
    assert record["claim"] == studies.STUDIES[name].claim
    assert record["finding"] in result.output
    assert record["holds"] is None
    assert "verdict: too small to judge" in result.output
    assert "it holds" not in result.output
    assert "not hold" not in result.output
    assert (shared / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for row in rows:
        for column in ("error", "test_error", "calibration_error"):
            assert not row.get(column) or 0 <= float(row[column]) <= 100


@pytest.mark.parametrize(("name", "holds"), [("truncate", True), ("gradients", False), ("speed", None)])
def test_only_a_run_of_full_size_has_a_verdict(tmp_path, monkeypatch, name, holds):
    def found(lab):
        return outcome.Outcome([{"a": 1}], plotting.panels(1, 1, "")[0], "something", holds, {})

    monkeypatch.setattr(importlib.import_module(f"keras_sd.studies.{name}_study"), "run", found)
    quick = invoke(name, "--quick", "--out", tmp_path)
    assert "verdict: too small to judge" in quick.output
    assert not re.search("it (does not )?hold", quick.output)
    assert read(tmp_path, name)[0]["holds"] is None
    full = invoke(name, "--out", tmp_path)
    verdict = {True: "it holds", False: "it does not hold", None: "inconclusive"}[holds]
    assert f"verdict: {verdict}" in full.output
    assert f"criterion: {studies.STUDIES[name].criterion}" in full.output
    assert read(tmp_path, name)[0]["holds"] is holds


NAN = float("nan")


@pytest.mark.parametrize(
    ("numbers", "holds"),
    [
        ({"residual 20": {"error": 1.0, "errors": outcome.Spread(1.0, None, 1)}}, False),
        ({"residual 20": {"error": NAN}}, None),
        ({"residual 20": {"errors": outcome.Spread(NAN, NAN, 3)}}, None),
        ({"losses": [1.0, (2.0, NAN)]}, None),
    ],
)
def test_a_diverged_network_gives_no_verdict(tmp_path, monkeypatch, numbers, holds):
    def found(lab):
        return outcome.Outcome([{"a": 1}], plotting.panels(1, 1, "")[0], "something", False, numbers)

    monkeypatch.setattr(importlib.import_module("keras_sd.studies.depth_study"), "run", found)
    assert studies.run("depth", studies.Options(tmp_path))[0].holds is holds


def test_criteria_are_demands():
    assert all(" must " in study.criterion for study in studies.STUDIES.values())


@pytest.mark.parametrize(("error", "holds"), [(20.0, True), (49.0, True), (78.9, False)])
def test_a_truncated_network_that_is_mostly_wrong_does_not_answer_well(error, holds):
    constant = {"error": 10.0, "error_with_half": 90.0}
    wrong = {"error": 10.0, "error_with_half": 60.0}
    right = {"error": 11.0, "error_with_half": error}
    found = {"ResNet56": constant, "ResNet56, p 0.5": wrong, "ResNet56, p 0.5 uniform": right}
    assert truncate_study._holds(found) is holds
    assert truncate_study._holds(dict(reversed(found.items()))) is holds  # whatever the order of `--run`
    assert truncate_study._holds({"ResNet56": constant}) is None
    assert truncate_study._holds({"ResNet56, p 0.5": wrong}) is None


@pytest.mark.parametrize(
    ("half", "holds"),
    [((40.0, 42.0, 44.0), True), ((46.0, 48.0, 50.0), False), ((40.0, 44.0, 58.0), False), ((1.0,), None)],
)
def test_a_lower_error_must_be_beyond_what_seeds_differ_by(half, holds):
    """Constant depth has a mean of 48.5 and a deviation of 1.5, by hand."""
    errors = {1.0: (47.0, 48.5, 50.0), 0.5: half}
    rows = [{"images": "plain", "survival_probability": p, "test_error": e} for p, of_p in errors.items() for e in of_p]
    numbers = regularization_study.summary(rows)
    assert numbers["plain"]["1"] == outcome.Spread(48.5, 1.5, 3)
    assert str(numbers["plain"]["1"]) == "48.5 ± 1.5 %"
    assert regularization_study._holds(numbers) is holds


@pytest.mark.parametrize("wrong", [{"epochs": True}, {"draws": 2.0}, {"images": float("nan")}, {"seed": 10**30}])
def test_options_of_the_wrong_kind_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be an integer"):
        studies.Options(tmp_path, **wrong)


@pytest.mark.parametrize("given", [{"runs": ("runs/one",)}, {"model": "ResNet20", "weights": "cifar10"}])
@pytest.mark.parametrize("setting", [{"epochs": 5}, {"policy": "mixed_bfloat16"}])
def test_settings_of_trainings_are_refused_where_nothing_is_trained(tmp_path, given, setting):
    studies.Options(tmp_path, **given)
    studies.Options(tmp_path, **setting)
    with pytest.raises(ValueError, match=f"`{next(iter(setting))}` must be left out"):
        studies.Options(tmp_path, **given, **setting)


NETWORK = Network("tiny", "ResNet", {"blocks": (1, 1), "filters": (4, 8), "stem_filters": 4}, 0.5)


@pytest.fixture
def lab(tmp_path):
    return Laboratory(studies.Options(tmp_path), say=lambda line: None)


@pytest.mark.slow
def test_trained_networks_are_taken_over_and_others_are_not(lab, monkeypatch):
    trained = lab.train(NETWORK, 1)
    assert 0 <= trained.test_error <= 100
    assert len(trained.history()) == 1

    def refuse(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train", refuse)
    assert lab.train(NETWORK, 1).folder.path == trained.folder.path
    for other, epochs in ((NETWORK, 2), (Network("tiny", "ResNet", NETWORK.arguments, 0.6), 1)):
        with pytest.raises(AssertionError, match="again"):
            lab.train(other, epochs)


@pytest.mark.slow
def test_a_run_is_analysed_in_place_of_networks_of_its_own(lab, tmp_path):
    folder = lab.train(NETWORK, 1).folder
    result = invoke("lesion", "--out", tmp_path / "out", "--run", folder, "--images", 50, "--draws", 1)
    assert result.exit_code == 0, result.output
    _, rows = read(tmp_path / "out", "lesion")
    assert not (tmp_path / "out" / "runs").exists()
    assert [row["what"] for row in rows if row["kind"] == "delete"] == ["stage1_block1", "stage2_block1"]
    subject = _subject(folder)
    x, y = subject.examples("test", 50)
    expected = 100 * (subject.model.predict(x, verbose=0).argmax(1) != y).mean()
    assert float(rows[0]["error"]) == pytest.approx(expected)
    record = folder.read(folder.config)
    mean, std = record["dataset"]["mean"][0] + 2, record["dataset"]["std"][0] / 4  # as of a set that has changed since
    record["dataset"] |= {"mean": [mean], "std": [std]}
    folder.write(folder.config, record)
    other, _ = _subject(folder).examples("test", 50)
    np.testing.assert_allclose(other, 4 * x - 2 / std, rtol=1e-4, atol=1e-4)


def _subject(folder):
    return next(Laboratory(studies.Options(folder.path, runs=(str(folder),)), say=lambda line: None).subjects([], 1))


@pytest.mark.large
@pytest.mark.weights
@pytest.mark.cifar10
def test_published_weights_are_analysed_on_their_own_images(resnet20_file, cifar10_dir, tmp_path):
    named = ["--model", "ResNet20", "--weights", resnet20_file, "--data", "cifar10", "--data-dir", cifar10_dir]
    result = invoke("lesion", "--out", tmp_path, *named, "--images", 200, "--draws", 1)
    assert result.exit_code == 0, result.output
    _, rows = read(tmp_path, "lesion")
    assert 10 < float(rows[0]["error"]) < 28  # 18.97 on all images: other pixels have another mean
    assert sum(row["kind"] == "delete" for row in rows) == 9


@pytest.mark.slow
def test_a_network_has_the_same_digest_in_each_process(tmp_path, monkeypatch):
    """Keras's configurations hold addresses of objects that layers share, which chance may make equal."""
    applications.ResNet(depth=14, weights=None).save(tmp_path / "model.keras")
    first, second = (keras.saving.load_model(tmp_path / "model.keras") for _ in range(2))
    to_json = type(second).to_json
    elsewhere, count = re.subn(r'("shared_object_id": )\d+', r"\g<1>1", second.to_json())
    assert count > 0
    monkeypatch.setattr(type(second), "to_json", lambda model: elsewhere if model is second else to_json(model))
    assert weights_digest(first) == weights_digest(second)
    second.layers[-1].bias.assign_add(np.full(10, 1e-6))
    assert weights_digest(first) != weights_digest(second)


def test_pieces_are_kept_by_what_determines_them(tmp_path):
    cache, calls = Cache(tmp_path), []

    def compute():
        calls.append(1)
        return {"rows": (1, 2)}

    assert cache.get("piece", [1, "a"], compute) == {"rows": [1, 2]}
    assert cache.get("piece", [1, "a"], compute) == {"rows": [1, 2]}
    assert len(calls) == 1
    cache.get("piece", [2, "a"], compute)
    cache.get("other", [1, "a"], compute)
    assert len(calls) == 3

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get("piece", [3], fail)
    cache.get("piece", [3], compute)
    assert len(calls) == 4


def test_a_densenet_is_compared_with_the_resnets_that_it_equals():
    rows = [
        {"family": "ResNet", "model": "A", "parameters": 100, "flops": 10, "error": 5.0},
        {"family": "ResNet", "model": "B", "parameters": 200, "flops": 20, "error": 3.0},
        {"family": "DenseNet", "model": "C", "parameters": 50, "flops": 8, "error": 4.0},
        {"family": "DenseNet", "model": "D", "parameters": 90, "flops": 9, "error": 3.5},
    ]
    assert efficiency_study.comparisons(rows) == {"A": {"densenet": "C", "parameters": 0.5, "flops": 0.8}}


def test_densenets_are_compared_with_resnets_of_equal_cost():
    rows = [
        {"family": family, "model": model, "parameters": parameters, "flops": flops, "error": error}
        for family, model, parameters, flops, errors in (
            ("ResNet", "A", 100, 40, (5.0, 7.0)),
            ("ResNet", "B", 300, 90, (4.0, 4.0)),
            ("DenseNet", "C", 110, 100, (3.0, 5.0)),
        )
        for error in errors
    ]
    measured = efficiency_study.averages(rows)
    assert [row["error"] for row in measured] == [6.0, 4.0, 4.0]
    found = efficiency_study.equally_large(measured)
    assert {cost: (one["resnet"], one["ratio"]) for cost, one in found["C"].items()} == {
        "parameters": ("A", pytest.approx(100 / 110)),
        "flops": ("B", 0.9),
    }
    assert found["C"]["parameters"]["errors"] == outcome.Spread(6.0, pytest.approx(2**0.5), 2)


def test_networks_beyond_the_budget_are_not_trained(tmp_path):
    """He et al. 2016, table 6: 0.27M parameters for 20 layers, 0.66M for 44, 0.85M for 56."""

    def kept(budget):
        lab = Laboratory(studies.Options(tmp_path, budget_params=budget))
        return [network.arguments["depth"] for network in efficiency_study._affordable(networks, lab)]

    depths = ("ResNet", 20), ("ResNet", 44), ("ResNet", 56), ("DenseNet", 22)
    networks = [Network("", family, {"depth": depth}) for family, depth in depths]
    assert kept(None) == [20, 44, 56, 22]
    assert kept(7e5) == [20, 44, 22]
    assert kept(3e5) == [20, 22]
    with pytest.raises(ValueError, match=r"`budget_params` must be at least 269,\d{3}, for a network of each family"):
        kept(1e5)


def test_one_seed_has_no_interval():
    assert outcome.spread([5.0]) == outcome.Spread(5.0, None, 1)
    assert str(outcome.spread([5.0])) == "5.0 %"
    assert outcome.over(range(1)) == "one seed"
    assert outcome.error_bars([outcome.spread([5.0])]) is None
    found = outcome.error_bars([outcome.spread([5.0, 7.0]), outcome.spread([5.0])])
    assert found == pytest.approx([2**0.5, NAN], nan_ok=True)


def test_curves_are_averaged_up_to_the_first_that_ends():
    histories = [[{"loss": 3.0}, {"loss": 1.0}], [{"loss": 5.0}]]
    assert outcome.mean_curve(histories, lambda row: row["loss"]) == ([1], [4.0])


@pytest.mark.parametrize(
    ("errors", "xor", "holds"),
    [
        ((9.0, 3.0, 1.0), ([2, 3], [4, 4], [4, 4]), True),
        ((9.0, 3.0, 1.0), ([2, 3], [4, 3], [4, 4]), False),
        ((9.0, 3.0, 1.0), ([2, 4], [4, 4], [4, 4]), False),
        ((9.0, 1.0, 3.0), ([2, 3], [4, 4], [4, 4]), False),
    ],
)
def test_each_seed_must_get_the_points_of_xor_right(errors, xor, holds):
    found = [{"test_error": outcome.spread([e]), "xor_right": right} for e, right in zip(errors, xor)]
    assert perceptron_study._holds(found) is holds


@pytest.mark.parametrize(("stochastic", "holds"), [(2.0, True), (4.0, False)])
def test_errors_by_depth_are_judged_by_their_means(stochastic, holds):
    errors = {"plain 20": 1.0, "plain 56": 30.0, "residual 20": 2.0, "residual 110": 2.0, "stochastic 110": stochastic}
    columns = ("training_error", "test_error")
    rows = [{"network": label, **dict.fromkeys(columns, e + d)} for label, e in errors.items() for d in (-1, 1)]
    numbers = outcome.summed_up(rows, depth_study._summary)
    assert depth_study._holds(numbers, 20, 56, 110) is holds


def test_published_points_are_of_models_of_the_zoo_and_have_sources():
    assert {p.model for p in analysis.IMAGENET} <= set(applications.MODELS)
    assert all(p.source.startswith("[") and 20 < p.percent < 31 for p in analysis.IMAGENET)
    # The same protocol as in the table of models, where that has one crop.
    for point in analysis.IMAGENET:
        published = applications.find(point.model).error
        if "1 crop" in published.data and "table 3" in point.source:
            assert published.percent == point.percent


@pytest.mark.parametrize(("model", "arguments"), [("Perceptron", {}), ("MLP", {"widths": (32,)})])
def test_xor_takes_a_hidden_layer(model, arguments):
    right = perceptron_study.xor(Network("", model, arguments))
    assert right == 4 if model == "MLP" else right < 4  # no line parts the points: 3 at most


def test_rows_with_different_columns_make_one_table(tmp_path):
    figure, _ = plotting.panels(1, 1, "")
    result = outcome.Outcome([{"a": 1}, {"b": 2}], figure, "found", None, {}, {"two": ([{"c": 3}], figure)})
    files = outcome.write(result, studies.Study("one", "claim", "criterion", ()), {"out": tmp_path})
    assert [f.name for f in files] == ["one.csv", "one.png", "two.csv", "two.png", "one.json"]
    assert (tmp_path / "one.csv").read_text().split() == ["a,b", "1,", ",2"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["lesions"], "lesion"),
        (["speed", "--run", "somewhere"], "runs"),
        (["lesion", "--seeds", "3"], "depth, regularization, efficiency, perceptron do"),
        (["regularization", "--images", "1000"], "images"),
        (["lesion", "--model", "ResNet20"], "weights"),
        (["lesion", "--run", "nowhere"], "nowhere"),
        (["depth", "--epochs", "0"], "epochs"),
        (["efficiency", "--budget-params", "0"], "budget_params"),
        (["depth", "--budget-params", "1e6"], "budget_params"),
        (["depth", "--data", "digit"], "digits"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, named):
    result = invoke(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert named in result.output
    assert "Traceback" not in result.output


def test_without_a_name_studies_are_listed():
    output = invoke().output
    assert all(name in output for name in studies.STUDIES)
