"""Checkpoints: whole or refused, the last few kept, and no disk so full that it stops a run."""

import resource
import threading

import keras
import ml_dtypes
import numpy as np
import pytest

from keras_sd.training import checkpoint as checkpoints
from keras_sd.training.callbacks import BestWeights
from keras_sd.training.checkpoint import Checkpoint, Checkpoints, capture, decode, encode, restore


def state(step, size=3):
    arrays = {
        "model": [np.arange(size, dtype="float32") + step, np.array([7, step], "uint32")],
        "optimizer": [np.array(step), np.full((2, 2), 1 / 3, "float16"), np.array([1 / 3], ml_dtypes.bfloat16)],
        "metrics": [],
    }
    return Checkpoint(step, {"seconds": 1 / 3, "best_accuracy": float("-inf"), "history": "a,b\r\n"}, arrays)


def test_a_checkpoint_comes_back_to_the_last_bit():
    before, after = state(5), decode(encode(state(5)))
    assert (after.step, after.record) == (before.step, before.record)
    assert after.arrays.keys() == before.arrays.keys()
    for group, arrays in before.arrays.items():
        assert [a.tobytes() for a in after.arrays[group]] == [a.tobytes() for a in arrays]
        assert [a.shape for a in after.arrays[group]] == [a.shape for a in arrays]


def test_it_is_an_npz_for_other_tools(tmp_path):
    (tmp_path / "a.npz").write_bytes(encode(state(5)))
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["model/0"], [5, 6, 7])


def test_what_is_torn_or_changed_anywhere_is_refused():
    content = encode(state(5))
    generator = np.random.default_rng(0)
    for place in generator.integers(len(content), size=300):
        torn = content[:place]
        flipped = content[:place] + bytes([content[place] ^ 1 << generator.integers(8)]) + content[place + 1 :]
        for bad in (torn, flipped, content + b"x"):
            with pytest.raises(ValueError, match="torn or corrupt: its checksum is wrong"):
                decode(bad)


def test_the_last_few_are_kept(tmp_path):
    folder = Checkpoints(tmp_path / "checkpoints", keep=3)
    assert folder.newest() is None
    for step in (8, 9, 10, 11, 100):
        folder.save(state(step))
    assert folder.newest().step == 100
    names = sorted(file.name for file in (tmp_path / "checkpoints").iterdir())
    assert names == [f"step-{step:010d}.npz" for step in (10, 11, 100)]
    with pytest.raises(ValueError, match="`keep` must be an integer of at least 1"):
        Checkpoints(tmp_path / "others", keep=0)
    assert not (tmp_path / "others").exists()


def test_writing_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    go_on = threading.Event()
    write = checkpoints.write_atomically
    monkeypatch.setattr(checkpoints, "write_atomically", lambda *arguments: go_on.wait(10) and write(*arguments))
    folder = Checkpoints(tmp_path / "checkpoints")
    folder.save(state(1))
    assert not list(folder.path.iterdir())
    go_on.set()
    assert folder.newest().step == 1


@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: c[:9] + b"?" + c[10:]])
def test_a_damaged_newest_gives_way_to_the_one_before(tmp_path, damage, caplog):
    folder = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        folder.save(state(step))
    folder.wait()
    newest = folder.path / "step-0000000002.npz"
    newest.write_bytes(damage(newest.read_bytes()))
    (folder.path / "step-0000000003.npz.tmp").write_bytes(b"half")  # of a process that was killed
    again = Checkpoints(tmp_path / "checkpoints")
    assert again.newest().step == 1
    assert "step-0000000002.npz is skipped: it is torn or corrupt" in caplog.text
    assert [file.name for file in folder.path.iterdir()] == ["step-0000000001.npz"]


def test_a_file_that_cannot_be_written_whole_leaves_the_one_before(tmp_path, caplog):
    """The kernel itself refuses: no file may become longer than 64 KiB."""
    folder = Checkpoints(tmp_path / "checkpoints", keep=1)
    folder.save(state(1))
    folder.wait()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        folder.save(state(2, size=10**5))
        folder.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "checkpoint of step 2 is not saved, training goes on" in caplog.text
    assert [file.name for file in folder.path.iterdir()] == ["step-0000000001.npz"]
    folder.save(state(3))
    assert folder.newest().step == 3


def test_best_weights_on_a_full_disk_are_kept_for_later(tmp_path, caplog):
    """As above; h5py itself would end the process."""
    model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(400, use_bias=False)])
    best = BestWeights(tmp_path / "best.weights.h5")
    best.set_model(model)
    best.on_epoch_end(0, {"loss": 1.0, "val_accuracy": 0.1})
    before, limit = best.path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    model.set_weights([np.ones((100, 400))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limit[1]))
    try:
        best.on_epoch_end(1, {"loss": 1.0, "val_accuracy": 0.2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "best.weights.h5 is not saved, training goes on" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == [best.path.name]
    assert best.path.read_bytes() == before
    model.set_weights([np.zeros((100, 400))])
    best.flush(model)
    assert (model.get_weights()[0] == 0).all()
    model.load_weights(best.path)
    assert (model.get_weights()[0] == 1).all()


def trained(policy="float32", units=2):
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(units, "softmax")]
    )
    model.compile(keras.optimizers.SGD(0.1, 0.9, use_ema=True), "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return model


def step(model):
    model.reset_metrics()  # which older Kerases leave to `fit`
    return model.train_on_batch(np.ones((4, 3)), np.zeros(4))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "bfloat16"])
def test_a_model_goes_on_as_if_it_had_not_stopped(policy):
    """Its dropout, momentum, average and loss scale are where they were, through a file."""
    first, second = trained(policy), trained(policy)
    for _ in range(3):
        step(first)
    content = encode(Checkpoint(3, {}, capture(first)))
    step(first)
    restore(second, decode(content).arrays)
    step(second)
    groups = zip(capture(first).values(), capture(second).values())
    assert [[a.tobytes() for a in one] == [a.tobytes() for a in other] for one, other in groups] == [True] * 3
    assert len(capture(first)["optimizer"]) > 5
    for _ in range(9):  # steps whose scaled gradients overflow change nothing
        step(second)
    assert first.get_weights()[0].tobytes() != second.get_weights()[0].tobytes()


def test_captured_arrays_stay_as_they_are():
    model = trained()
    taken = capture(model)
    before = [a.copy() for a in taken["model"]]
    step(model)
    for array, value in zip(taken["model"], before):
        np.testing.assert_array_equal(array, value)


def test_arrays_of_another_model_are_refused():
    model, other = trained(), trained(units=3)
    before = model.get_weights()
    with pytest.raises(ValueError, match="checkpoint has other variables than this model: model differs"):
        restore(model, capture(other))
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


@pytest.mark.parametrize("group", ["model", "optimizer"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_not_finite_is_seen(group, dtype):
    good = state(1)
    assert good.is_finite()
    for value in (np.nan, np.inf):
        bad = np.array([1, value]).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        assert not Checkpoint(1, {}, {**good.arrays, group: [bad]}).is_finite()
