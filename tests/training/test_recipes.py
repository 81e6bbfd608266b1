"""Recipes: the papers' numbers, what takes precedence over what, and settings from files."""

import dataclasses
import json

import pytest
import yaml

from keras_sd import applications, data
from keras_sd.training import RECIPES, TrainConfig, overrides, recipes, resolve
from keras_sd.training.learning_rates import learning_rates

CIFAR_IMAGES, CIFAR_HELD_OUT = 50_000, 5_000


def test_each_data_set_has_a_recipe():
    assert set(data.DATASETS) <= set(recipes.BY_DATA)
    for name, recipe in recipes.BY_DATA.items():
        assert resolve(name) == dataclasses.replace(RECIPES[recipe].adapted({"data": name}), data=name)


@pytest.mark.parametrize("row", RECIPES.values(), ids=RECIPES)
def test_a_row_holds_together(row):
    assert RECIPES[row.config.recipe] is row
    assert row.command == f"keras-sd train --recipe {row.name}"
    assert row.source
    assert row.config.model in (*applications.MODELS, "ResNet")
    assert resolve(recipe=row.name) == row.adapted({})
    for variant in row.variants:
        assert dataclasses.replace(row.config, **variant.changes) != row.config
    small = resolve(recipe=row.name, is_smoke=True)
    assert (small.epochs, small.steps_per_epoch, small.batch_size) == (2, 2, 8)
    assert small == dataclasses.replace(row.adapted({}), epochs=2, steps_per_epoch=2, batch_size=8)


def rates(name, total_steps, steps):
    """Learning rates of a recipe by 1-based step, as papers count."""
    schedule = learning_rates(resolve(recipe=name), total_steps)
    return [round(float(schedule(step)), 6) for step in steps]


def test_he2016_trains_64000_steps():
    config = resolve(recipe="he2016_cifar")
    total = config.epochs * ((CIFAR_IMAGES - CIFAR_HELD_OUT) // config.batch_size)
    assert abs(total - 64_000) < 351  # an epoch
    assert rates("he2016_cifar", 64_000, (400, 31_999, 32_000, 47_999, 48_000)) == [0.1, 0.1, 0.01, 0.01, 0.001]
    assert (config.momentum, config.nesterov, config.l2, config.survival_probability) == (0.9, False, 1e-4, 1)
    assert resolve(recipe="he2016_cifar").warmup_steps == 400
    assert resolve(recipe="he2016_cifar", model="ResNet20").warmup_steps == 0


def test_huang2016_cifar():
    config = resolve("cifar10")
    assert (config.recipe, config.model, config.epochs, config.batch_size) == ("huang2016_cifar", "ResNet110", 500, 128)
    assert (config.learning_rate, config.momentum, config.nesterov, config.l2) == (0.1, 0.9, True, 1e-4)
    assert (config.survival_probability, config.survival_schedule) == (0.5, "linear")
    assert rates("huang2016_cifar", 1000, (499, 500, 749, 750)) == [0.1, 0.01, 0.01, 0.001]
    assert config.warmup_steps == 400  # He et al. 2016, section 4.2: about 400 iterations
    published = RECIPES["huang2016_cifar"].published_for
    assert published(config).percent == 5.25
    assert published(dataclasses.replace(config, survival_probability=1.0)).percent == 6.41
    assert published(dataclasses.replace(config, model="ResNet56")) is None


def test_huang2016_svhn():
    config = resolve(recipe="huang2016_svhn")
    assert applications.ResNet.__name__ == config.model
    assert config.model_arguments == {"depth": 152}
    assert rates("huang2016_svhn", 500, (299, 300, 349, 350)) == [0.1, 0.01, 0.01, 0.001]  # of 50 epochs 30 and 35
    assert RECIPES["huang2016_svhn"].published_for(config).percent == 1.75
    deeper = resolve(recipe="huang2016_svhn", model_arguments={"depth": 110})
    assert RECIPES["huang2016_svhn"].published_for(deeper) is None


def test_huang2017_cifar():
    config = resolve(recipe="huang2017_densenet_cifar")
    assert (config.epochs, config.batch_size, config.learning_rate, config.l2) == (300, 64, 0.1, 1e-4)
    assert (config.milestones, config.momentum, config.nesterov) == ((0.5, 0.75), 0.9, True)
    assert config.model_arguments == {}
    plain = resolve(recipe="huang2017_densenet_cifar", augmentation=())
    assert plain.model_arguments == {"dropout_rate": 0.2}
    svhn = resolve("svhn_cropped", recipe="huang2017_densenet_cifar")
    assert (svhn.epochs, svhn.augmentation, svhn.model_arguments) == (40, (), {"dropout_rate": 0.2})


def test_huang2017_imagenet():
    config = resolve(recipe="huang2017_imagenet")
    assert (config.epochs, config.batch_size) == (90, 256)
    assert rates("huang2017_imagenet", 900, (299, 300, 599, 600)) == [0.1, 0.01, 0.01, 0.001]


def test_torchvisions_second():
    config = resolve(recipe="resnet_imagenet_modern")
    assert (config.epochs, config.batch_size, config.learning_rate, config.l2) == (600, 1024, 0.5, 2e-5)
    assert (config.label_smoothing, config.mixup, config.cutmix, config.image_size) == (0.1, 0.2, 1.0, 176)
    assert not config.decay_norm_and_bias
    # Half a cosine behind five epochs of warm-up; ten steps an epoch here.
    first, peak, middle, last = rates("resnet_imagenet_modern", 6000, (0, 50, 50 + 2975, 5999))
    assert (first, peak, middle) == (0.005, 0.5, 0.25)
    assert last < 1e-6


def test_rsb_a3():
    config = resolve(recipe="rsb_a3")
    assert (config.optimizer, config.epochs, config.batch_size) == ("lamb", 100, 2048)
    assert (config.learning_rate, config.l2, config.image_size) == (8e-3, 0.02, 160)
    assert (config.mixup, config.cutmix, config.label_smoothing) == (0.1, 1.0, 0.0)


def test_what_is_asked_for_takes_the_place_of_the_recipe():
    config = resolve("digits", epochs=3, seed=None, survival_schedule=(0.9, 0.8))
    assert config == dataclasses.replace(RECIPES["digits"].config, epochs=3, survival_schedule=(0.9, 0.8))


def test_precedence():
    values = {"epochs": 7, "batch_size": 16, "seed": 5}
    config = resolve("cifar10", "he2016_cifar", values=values, epochs=9)
    assert (config.epochs, config.batch_size, config.seed, config.momentum) == (9, 16, 5, 0.9)
    assert resolve("cifar10", is_smoke=True, settings={"epochs": 7}).epochs == 7
    assert resolve("cifar10", is_smoke=True, epochs=7).epochs == 7
    assert resolve("cifar10", is_smoke=True, values={"epochs": 7}).epochs == 2
    assert resolve("cifar10", values={"epochs": 7, "seed": 5}, settings={"seed": 6}).seed == 6
    assert resolve("cifar10", settings={"seed": 5, "recipe": "fast_cifar"}, seed=6).recipe == "fast_cifar"
    assert resolve(values={"data": "cifar10"}).recipe == "huang2016_cifar"
    assert resolve(values={"recipe": "he2016_cifar"}).recipe == "he2016_cifar"
    assert resolve(recipe="fast_cifar", values={"recipe": "he2016_cifar"}).recipe == "fast_cifar"
    assert resolve().recipe == "digits"
    # The recipe is the one for the model and data in the end, wherever they come from.
    assert resolve(recipe="he2016_cifar", values={"model": "ResNet20"}).warmup_steps == 0
    assert resolve("svhn_cropped", recipe="huang2017_densenet_cifar", epochs=2).epochs == 2


def test_arguments_of_the_model_add_up():
    values = {"model_arguments.growth_rate": 24}
    config = resolve(recipe="huang2017_densenet_cifar", augmentation=(), values=values)
    assert config.model_arguments == {"dropout_rate": 0.2, "growth_rate": 24}
    config = resolve(values=values | {"model_arguments.epsilon": 1.0}, settings={"model_arguments.epsilon": 2.0})
    assert config.model_arguments == {"growth_rate": 24, "epsilon": 2.0}
    config = resolve(is_smoke=True, values=values, settings={"model_arguments": {"epsilon": 2.0}})
    assert config.model_arguments == {"epsilon": 2.0}


@pytest.mark.parametrize("name", RECIPES)
def test_the_smoke_form_of_a_file_with_all_settings_is_small(name):
    config = resolve(recipe=name, model="ResNet20", seed=7)
    small = resolve(is_smoke=True, values=dataclasses.asdict(config))
    assert small == dataclasses.replace(config, epochs=2, steps_per_epoch=2, batch_size=8)


def test_a_recipe_of_which_nothing_would_be_used_is_refused():
    values = dataclasses.asdict(resolve(recipe="he2016_cifar"))
    assert resolve(recipe="he2016_cifar", values=values) == resolve(recipe="he2016_cifar")
    with pytest.raises(ValueError, match=r"`recipe` must be 'he2016_cifar' with settings that have every field\. Rec"):
        resolve(recipe="rsb_a3", values=values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "digit"}, r"`data` must be a known name, such as digits"),
        ({"recipe": "huang2016_cifra"}, r"`recipe` must be a known name, such as huang2016_cifar"),
        ({"data": "npz:cats.npz"}, r"`recipe` must be named for the data 'npz:cats.npz'"),
        ({"recipe": ""}, r"`recipe` must be one of"),
        ({"values": {"recipe": ""}}, r"`recipe` must be one of"),
        ({"data": ""}, r"`data` must be one of"),
        ({"values": {"epoch": 3}}, r"`setting` must be a known name, such as epochs"),
        ({"momentums": 3}, r"`setting` must be a known name, such as momentum"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(arguments, message):
    with pytest.raises(ValueError, match=message):
        resolve(**arguments)


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("l2=5e-4", "l2", 5e-4),
        ("learning_rate=1", "learning_rate", 1.0),
        ("nesterov=false", "nesterov", False),
        ("data_dir=null", "data_dir", None),
        ("policy = mixed_bfloat16", "policy", "mixed_bfloat16"),
        ("survival_schedule=uniform", "survival_schedule", "uniform"),
        ("survival_schedule=0.9,0.8", "survival_schedule", (0.9, 0.8)),
        ("milestones=[0.3, 0.6]", "milestones", (0.3, 0.6)),
        ("milestones=0.5", "milestones", (0.5,)),
        ("augmentation=[]", "augmentation", ()),
        ("augmentation=shift_flip,rand_augment", "augmentation", ("shift_flip", "rand_augment")),
        ("ema_momentum=0.999", "ema_momentum", 0.999),
        ("ema_momentum=null", "ema_momentum", None),
        ("model_arguments={filters: [4, 8, 16]}", "model_arguments", {"filters": [4, 8, 16]}),
        ("model_arguments.epsilon=1e-5", "model_arguments.epsilon", 1e-5),
    ],
)
def test_settings_have_the_types_of_their_fields(setting, name, value):
    (found,) = overrides.parse(setting).items()
    assert found == (name, value)
    assert type(found[1]) is type(value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "`set` must be KEY=VALUE"),
        ("epoch=3", "`setting` must be a known name, such as epochs"),
        ("epochs=[", "with a valid YAML value"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        overrides.parse(setting)


@pytest.mark.parametrize(
    "setting", ["epochs=3.5", "epochs=many", "epochs=true", "nesterov=1", "l2=[1]", "milestones=a"]
)
def test_what_has_another_type_is_refused_by_the_field(setting):
    values = overrides.parse(setting)
    with pytest.raises(ValueError, match=f"`{setting.split('=')[0]}` must be"):
        resolve(values=values)


def test_files(tmp_path):
    (tmp_path / "a.yaml").write_text("recipe: he2016_cifar\nl2: 5e-4\nsurvival_schedule: [0.9, 0.8]\n")
    assert overrides.read(tmp_path / "a.yaml") == {
        "recipe": "he2016_cifar",
        "l2": 5e-4,
        "survival_schedule": (0.9, 0.8),
    }
    (tmp_path / "b.json").write_text('{"l2": 1e-05, "model_arguments": {"epsilon": 1e-05}}')
    assert overrides.read(tmp_path / "b.json") == {"l2": 1e-5, "model_arguments": {"epsilon": 1e-5}}


@pytest.mark.parametrize("row", RECIPES.values(), ids=RECIPES)
def test_the_record_of_a_run_gives_its_configuration_again(row, tmp_path):
    config = resolve(recipe=row.name, seed=7, augmentation=())
    for name, write in (("config.json", json.dumps), ("config.yaml", yaml.safe_dump)):
        record = {"config": json.loads(json.dumps(dataclasses.asdict(config))), "dataset": {}}
        (tmp_path / name).write_text(write(record))
        assert resolve(values=overrides.read(tmp_path / name)) == config
        assert resolve(values=overrides.read(tmp_path / name), epochs=3) == dataclasses.replace(config, epochs=3)


@pytest.mark.parametrize(("text", "message"), [("[1, 2]", "a file with a mapping"), ("{", "a YAML or JSON file")])
def test_files_of_something_else_are_refused(text, message, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        overrides.read(tmp_path / "a.yaml")


def test_all_fields_have_a_kind():
    assert set(overrides._KINDS) == {field.name for field in dataclasses.fields(TrainConfig)}
