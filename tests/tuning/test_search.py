"""Whole searches of tiny networks, and what they leave."""

import csv
import re

import keras_tuner
import pytest
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_sd import training, tuning
from keras_sd.training import overrides
from keras_sd.tuning import report


def search(digits, config, path, *, tuner="random", trials=3, model=None, epochs=2, **arguments):
    model = model or tuning.StochasticDenseNet(digits, config=config, depth=7, growth_rate=(2, 4), bottleneck=False)
    return tuning.Search(model, tuner, trials=trials, epochs=epochs, directory=path, log=lambda line: None, **arguments)


@pytest.mark.slow
def test_a_search_leaves_a_report_and_settings_of_the_best(digits, config, tmp_path):
    found = search(digits, config, tmp_path, trials=2)
    found.search()
    run = found.train_best(1)
    page = tuning.write_report(found, run).read_text()
    rows = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [row["status"] for row in rows] == ["completed"] * 2
    best = min(rows, key=lambda row: float(row["score"]))
    assert f"Trial {best['trial']}" in page
    for file in re.findall(r"\((\S+\.png)\)", page):
        assert (tmp_path / file).stat().st_size > 1000
    for name in ("error-survival_probability", "error-growth_rate", "parallel", "pareto", "curves"):
        assert f"({name}.png)" in page
    settings = training.resolve(values=overrides.read(tmp_path / "best.yaml"))
    assert settings == found.best_config()
    assert settings.model_arguments["growth_rate"] == int(best["growth_rate"])
    folder, results = run
    assert results["status"] == "complete"
    assert f"{results['test_accuracy']:.4f}" in page
    assert training.TrainConfig.from_dict(folder.read(folder.config)["config"]) == found.best_config(1)
    # Called again, nothing is trained again.
    assert search(digits, config, tmp_path, trials=2).train_best(1)[1] == results


def test_equal_trials_stand_in_one_order(digits, config, tmp_path):
    found = search(digits, config, tmp_path)
    for trial_id in ("2", "0", "1"):  # as files are read, in any order
        trial = Trial(keras_tuner.HyperParameters(), trial_id, TrialStatus.COMPLETED)
        trial.score = 0.5
        found.oracle.trials[trial_id] = trial
    assert [trial.trial_id for trial in found.completed()] == ["0", "1", "2"]


@pytest.mark.slow
def test_the_score_of_a_trial_is_that_of_its_best_epoch(digits, config, tmp_path):
    found = search(digits, config, tmp_path, trials=1)
    found.search()
    (trial,) = found.completed()
    with (tmp_path / f"trial_{trial.trial_id}" / "history.csv").open() as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    assert trial.score == pytest.approx(1 - max(accuracies), abs=1e-6)
    model = found.load_model(trial)
    accuracy = training.evaluate(model, digits, "validation", steps=2)["accuracy"]
    assert accuracy == pytest.approx(max(accuracies), abs=1e-6)


@pytest.mark.slow
def test_a_trial_that_was_trained_when_the_process_died_is_not_trained_again(digits, config, tmp_path, monkeypatch):
    found = search(digits, config, tmp_path, trials=1)
    monkeypatch.setattr(found.oracle, "update_trial", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        found.search()
    again = search(digits, config, tmp_path, trials=1)
    monkeypatch.setattr(again.hypermodel, "fit", None)
    again.search()
    assert len(again.completed()) == 1


@pytest.mark.large  # six trainings; the rounds themselves are tested without training
def test_hyperband_goes_on_with_the_weights_of_the_round_before(digits, config, tmp_path):
    found = search(digits, config, tmp_path, tuner="hyperband", trials=None, epochs=3)
    train, begun = found.hypermodel.fit, []

    def fit(hp, model, **arguments):
        source = hp.values.get("tuner/trial_id")
        begun.append((source, arguments["initial_epoch"], arguments["epochs"]))
        if source is not None:
            before = {w.path: w.numpy() for w in found.load_model(found.oracle.trials[source]).weights}
            assert all((w.numpy() == before[w.path]).all() for w in model.weights if "seed" not in w.path)
        return train(hp, model, **arguments)

    found.hypermodel.fit = fit
    found.search()
    # Of three trials of one epoch the best goes on to the third; two of three epochs follow.
    assert sorted(entry[1:] for entry in begun) == [(0, 1)] * 3 + [(0, 3)] * 2 + [(1, 3)]
    (second,) = [source for source, _, _ in begun if source is not None]
    rows = tuning.trial_rows(found)
    assert [row["started_from"] for row in rows if row["started_from"]] == [second]
    assert second == min((row for row in rows if row["epochs"] == 1), key=lambda row: row["score"])["trial"]


@pytest.mark.slow
def test_a_warm_start_takes_the_weights_of_the_same_architecture(digits, config, tmp_path):
    model = tuning.StochasticDenseNet(digits, config=config, depth=7, growth_rate=2, bottleneck=False)
    found = search(digits, config, tmp_path, model=model, trials=2, warm_start=True)
    found.search()
    first, second = tuning.trial_rows(found)
    assert first["started_from"] is None
    assert second["started_from"] == first["trial"]


def test_the_pareto_front_has_what_no_other_beats_in_both():
    rows = [{"cost": c, "val_error": e} for c, e in [(1, 0.5), (2, 0.3), (3, 0.4), (4, 0.1), (2, 0.6), (4, 0.2)]]
    assert [(row["cost"], row["val_error"]) for row in report.pareto(rows, "cost")] == [(1, 0.5), (2, 0.3), (4, 0.1)]


def test_a_search_without_a_score_has_nothing_to_report(digits, config, tmp_path):
    with pytest.raises(ValueError, match="no trial of the search has a score"):
        tuning.write_report(search(digits, config, tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tuner": "bayes"}, "`tuner` must be a known name, such as bayesian"),
        ({"trials": 0}, "`trials` must be a whole number"),
        ({"trials": None}, "`trials` must be a number with the tuner"),
        ({"patience": 0}, "`patience` must be a whole number"),
    ],
)
def test_bad_arguments_are_refused(digits, config, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        search(digits, config, tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
