"""`serialize`, `deserialize` and `get`, against what the real systems wrote and made of ours."""

import copy
import json
from pathlib import Path

import pytest

import fastrms
from fastrms import RMSprop

FOLDER = Path(__file__).parent / "serialized"
DIALECTS = {"k3": "keras-3", "tf212": "tf-keras-2.11"}
RECORDED = {system: json.loads((FOLDER / f"{system}.json").read_text()) for system in DIALECTS}
WRITTEN = [(s, i) for s, content in RECORDED.items() for i in range(len(content["written"]))]
READ = [(s, i) for s, content in RECORDED.items() for i in range(len(content["read"]))]


def without(form, *keys):
    """A serialized form without some keys of its configuration."""
    result = copy.deepcopy(form)
    for key in keys:
        result["config"].pop(key, None)
    return result


@pytest.mark.parametrize(("system", "number"), WRITTEN)
def test_what_the_system_wrote_builds_the_same_optimizer(system, number):
    case = RECORDED[system]["written"][number]
    optimizer = fastrms.deserialize(case["form"])
    assert optimizer.dialect == DIALECTS[system]
    ours = json.loads(json.dumps(fastrms.serialize(optimizer)))
    assert ours == without(case["form"], "jit_compile")
    options = {k: v for k, v in case["kwargs"].items() if k != "learning_rate"}
    for name, value in options.items():
        assert getattr(optimizer, name) == value


@pytest.mark.parametrize(("system", "number"), READ)
def test_the_system_built_the_same_optimizer_from_ours(system, number):
    case = RECORDED[system]["read"][number]
    ours = json.loads(json.dumps(fastrms.serialize(fastrms.deserialize(case["form"]))))
    assert ours == case["form"]
    theirs = {k: v for k, v in case["config"].items() if k not in ("jit_compile",)}
    assert ours["config"] == theirs


@pytest.mark.parametrize("dialect", list(fastrms.DIALECTS))
def test_every_dialect_round_trips(dialect):
    optimizer = RMSprop(learning_rate=0.5, dialect=dialect)
    again = fastrms.deserialize(json.loads(json.dumps(fastrms.serialize(optimizer))))
    assert again.dialect == dialect
    assert again.get_config() == optimizer.get_config()


def test_the_torch_backends_form_is_read():
    config = RMSprop(rho=0.5).get_config()
    form = {
        "module": "keras.src.backend.torch.optimizers.torch_rmsprop",
        "class_name": "RMSprop",
        "config": config,
        "registered_name": "RMSprop",
    }
    assert fastrms.deserialize(form).rho == 0.5


def test_a_configuration_that_several_systems_write_needs_its_dialect():
    config = {"lr": 0.5, "rho": 0.9, "decay": 0.0, "epsilon": 1e-7}
    with pytest.raises(fastrms.ArgumentError, match=r"keras-2\.2.*add the key 'dialect'"):
        RMSprop.from_config(config)
    assert RMSprop.from_config({**config, "dialect": "keras-2.2"}).dialect == "keras-2.2"


@pytest.mark.parametrize("marks", [{}, {"is_legacy_optimizer": False}], ids=["one", "both"])
def test_the_engine_of_the_writer_is_not_asked_for_here(marks):
    config = RMSprop(dialect="tf-keras-2.11").get_config()
    del config["dialect"]
    read = RMSprop.from_config({**config, **marks, "jit_compile": False})
    assert (read.dialect, read.jit_compile) == ("tf-keras-2.11", True)
    for ours in ({"rho": 0.5}, RMSprop().get_config()):
        assert RMSprop.from_config({**ours, "jit_compile": False}).jit_compile is False


def test_a_configuration_that_one_system_writes_tells_its_dialect():
    config = RMSprop(dialect="tf-keras-v2", momentum=0.5).get_config()
    del config["dialect"]
    assert RMSprop.from_config(config).dialect == "tf-keras-v2"
    assert RMSprop.from_config({"rho": 0.5}).dialect == "keras-3"


def test_get_takes_names_forms_and_instances():
    optimizer = RMSprop()
    assert fastrms.get(optimizer) is optimizer
    assert fastrms.get(None) is None
    assert fastrms.get("RMSprop").dialect == "keras-3"
    assert fastrms.get({"class_name": "rmsprop", "config": {"rho": 0.5}}).rho == 0.5


class Own(RMSprop):
    """A user's optimizer."""


def test_a_users_class_is_found_or_named():
    form = fastrms.serialize(Own(rho=0.25, name="mine"))
    assert form["class_name"] == form["registered_name"] == "Own"
    assert type(fastrms.deserialize(form)) is Own
    elsewhere = {**form, "module": "elsewhere"}
    assert type(fastrms.deserialize(elsewhere, {"Own": Own})) is Own
    with pytest.raises(fastrms.ArgumentError, match="custom_objects=dict"):
        fastrms.deserialize(elsewhere)


@pytest.mark.parametrize(
    "identifier", ["typo", 3, {}, {"class_name": "RMSprop"}, {"class_name": "Adam", "config": {}}]
)
def test_what_is_no_optimizer_is_refused(identifier):
    with pytest.raises(fastrms.ArgumentError, match="valid: "):
        fastrms.get(identifier)


def test_a_function_and_a_stranger_are_not_serialized():
    with pytest.raises(fastrms.ArgumentError, match="is a function"):
        fastrms.serialize(RMSprop(learning_rate=lambda: 0.1))
    with pytest.raises(fastrms.ArgumentError, match="not an optimizer"):
        fastrms.serialize("rmsprop")


def test_unknown_arguments_are_refused():
    with pytest.raises(fastrms.ArgumentError, match="no argument 'beta'"):
        fastrms.get({"class_name": "RMSprop", "config": {"beta": 1}})
