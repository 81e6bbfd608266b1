"""Killed at any moment, no search loses a finished trial, or trains one twice."""

import collections
import itertools
import os

import pytest
from fake_search import TRIALS, FakeSearch, accepts, lines

from keras_sd.tuning import oracles

KINDS = sorted(oracles.ORACLES)


class Killed(BaseException):
    """The process is gone: from then on nothing is written any more."""


@pytest.fixture
def kill_at(monkeypatch):
    """`kill_at(n)` lets only the first n files be written whole; the next one is half there when the end comes."""

    def arm(moment=10**6):
        counter = itertools.count()

        def write(file, content):
            if (number := next(counter)) >= moment:
                if number == moment:
                    file.with_name(f"{file.name}.tmp").write_bytes(content[: len(content) // 2])
                raise Killed
            whole = file.with_name(f"{file.name}.whole")  # as `write_atomically`, without waiting for the disk
            whole.write_bytes(content)
            os.replace(whole, file)

        monkeypatch.setattr(oracles, "write_atomically", write)
        return counter

    return arm


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_search_ends_as_it_would_have_whenever_it_is_killed(kind, tmp_path, kill_at):
    written = kill_at()
    whole = FakeSearch(tmp_path / "whole", kind)
    whole.search()
    moments = next(written)
    assert len(whole.oracle.end_order) == TRIALS == len(whole.oracle.trials)
    assert moments > 2 * TRIALS
    for moment in range(moments):
        path = tmp_path / f"{moment}"
        kill_at(moment)
        with pytest.raises(Killed):
            FakeSearch(path, kind).search()
        trained_before = [trial_id for _, trial_id, _ in lines(path / "trained.txt")]
        kill_at()
        search = FakeSearch(path, kind)
        finished = set(search.oracle.end_order)
        search.search()
        check(search, path, moment)
        # All but the last trial that was trained before the end had been reported: they are not trained again.
        assert set(trained_before[:-1]) <= finished
        # The very same trials as without a kill: oracles go on with their own draws.
        if kind != "bayesian":
            assert values(search) == values(whole), f"killed at write {moment}"


def check(search, path, moment):
    """What must hold of every search that is over."""
    trained = collections.Counter(trial_id for _, trial_id, _ in lines(path / "trained.txt"))
    assert sorted(search.oracle.end_order) == sorted(search.oracle.trials), f"killed at write {moment}"
    assert len(search.oracle.end_order) == TRIALS
    assert all(trial.status == "COMPLETED" and trial.score for trial in search.oracle.trials.values())
    assert all(accepts(trial.hyperparameters.values) for trial in search.oracle.trials.values())
    # Trained again is at most the one whose result never reached the disk.
    assert sum(trained.values()) <= TRIALS + 1, f"killed at write {moment}: {trained}"


def values(search):
    return {trial_id: trial.hyperparameters.values for trial_id, trial in search.oracle.trials.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_survives_two_kills_and_no_trial_is_tried_twice(kind, tmp_path, kill_at):
    for moment in (7, 9):
        kill_at(moment)
        with pytest.raises(Killed):
            FakeSearch(tmp_path, kind).search()
    kill_at()
    search = FakeSearch(tmp_path, kind)
    search.search()
    assert len(search.oracle.end_order) == TRIALS
    tried = {str(sorted((n, v) for n, v in t.items() if "epoch" not in n)) for t in values(search).values()}
    assert len(tried) == TRIALS


def test_a_search_that_is_over_does_nothing(tmp_path):
    FakeSearch(tmp_path, "random").search()
    FakeSearch(tmp_path, "random").search()
    assert len(lines(tmp_path / "trained.txt")) == TRIALS


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["random", "grid", "bayesian"])
def test_values_outside_of_the_budget_are_never_handed_out_and_take_no_trial(kind, tmp_path):
    search = FakeSearch(tmp_path, kind)
    search.oracle.max_trials = 14
    search.search()
    growth_rates = {trial.hyperparameters.values["growth_rate"] for trial in search.oracle.trials.values()}
    assert {8, 12} <= growth_rates <= {8, 12, 16}  # a grid may end before it comes to 16
    assert len(search.oracle.trials) == 14


def test_a_grid_has_every_combination_once(tmp_path):
    search = FakeSearch(tmp_path, "grid")
    search.oracle.max_trials = None
    search.search()
    found = [tuple(sorted(t.items())) for t in values(search).values()]
    assert len(found) == len(set(found)) == 3 * 2 * 5
    assert {t["survival_probability"] for t in values(search).values()} == {0.3, 0.475, 0.65, 0.825, 1.0}


@pytest.mark.large
def test_bayesian_optimization_finds_better_values_than_chance(tmp_path):
    best = {}
    for kind in ("random", "bayesian"):
        search = FakeSearch(tmp_path / kind, kind)
        search.oracle.max_trials = 24
        search.search()
        best[kind] = search.oracle.get_best_trials(1)[0].score
    assert best["bayesian"] < 0.0805  # the optimum is 0.08
    assert best["bayesian"] <= best["random"]


def test_a_trial_of_a_silent_worker_is_given_to_another(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(oracles.time, "monotonic", lambda: now[0])
    oracle = FakeSearch(tmp_path, "random", lease=10.0).oracle
    lost, alive = oracle.create_trial("a"), oracle.create_trial("b")
    now[0] = 9.0
    oracle.get_trial(alive.trial_id)
    now[0] = 12.0
    again = oracle.create_trial("c")
    assert again.trial_id == lost.trial_id
    assert oracle.create_trial("b").trial_id == alive.trial_id
    # The first worker was only slow: its result counts, and the other's is no second one.
    for _ in range(2):
        oracle.update_trial(lost.trial_id, {"score": 0.5})
        lost.status = "COMPLETED"
        oracle.end_trial(lost)
    assert oracle.end_order == [lost.trial_id]


def test_workers_wait_while_a_trial_may_still_come_back(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(oracles.time, "monotonic", lambda: now[0])
    oracle = FakeSearch(tmp_path, "random", lease=10.0).oracle
    oracle.max_trials = 1
    trial = oracle.create_trial("a")
    assert oracle.create_trial("b").status == "IDLE"
    now[0] = 11.0
    assert oracle.create_trial("b").trial_id == trial.trial_id


def test_a_search_ends_after_three_failures_and_can_go_on(tmp_path, monkeypatch):
    search = FakeSearch(tmp_path, "random")

    def fail(trial):
        raise ValueError("no memory left")

    monkeypatch.setattr(search, "run_trial", fail)
    with pytest.raises(RuntimeError, match=r"the last 3 trials failed.*no memory left"):
        search.search()
    again = FakeSearch(tmp_path, "random")
    again.search()
    statuses = collections.Counter(trial.status for trial in again.oracle.trials.values())
    assert statuses == {"FAILED": 3, "COMPLETED": TRIALS - 3}
