"""Old scripts, their import lines changed, give here what the old systems gave."""

import dataclasses
import functools
import importlib
import re

import porting_runs as porting
import pytest

import fastrms
import porting_table

RUNS = list(porting.runs())
GRADIENT, LOSSES = 1e-6, 1e-4
# Theano simplifies the logarithm of a softmax before it differentiates: other roundings.
GRADIENTS = {"k12_theano": 2e-6}
SCRIPTS = sorted({name for _, name in RUNS})


@functools.cache
def outcome(system, name):
    return porting.compare(system, name, porting.run(system, name))


def test_there_are_scripts_of_every_kind():
    assert len(SCRIPTS) >= 12
    on_disk = {path.stem for path in (porting.FOLDER / "scripts").glob("*.py")}
    assert on_disk == set(SCRIPTS), "record every script: scripts/recorders/porting.py"


@pytest.mark.parametrize(("system", "name"), RUNS)
def test_the_recording_is_of_this_script(system, name):
    assert porting.index(system)["scripts"][name]["sha256"] == porting.digest(name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_import_lines_are_the_only_difference(name):
    old, new = porting.source(name).splitlines(), porting.ported(name, "keras22").splitlines()
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert changed
    for before, after in changed:
        assert re.match(r"(from|import) keras\b", before)
        assert after == before.replace(" keras", " fastrms.compat.keras22", 1)
    assert "fastrms" not in porting.source(name)


@pytest.mark.parametrize(("system", "name"), RUNS)
def test_initial_weights_are_bit_equal_without_injection(system, name):
    assert outcome(system, name).same_start


@pytest.mark.parametrize(("system", "name"), RUNS)
def test_first_gradient(system, name):
    assert outcome(system, name).gradient <= GRADIENTS.get(system, GRADIENT)


@pytest.mark.parametrize(("system", "name"), RUNS)
def test_fifty_losses(system, name):
    assert len(porting.arrays(system)[f"{name}.losses"]) == 50
    assert outcome(system, name).losses <= LOSSES


def facts(row):
    """What a script of the old kind, without momentum, can see of a dialect."""
    inside = "epsilon_inside" in row.form.choices(has_momentum=False, centered=False)
    clips = row.clipping.norm_spans_all if "norm" in row.clipping.order else None
    return {"epsilon": inside, "clipnorm": clips, "decay": row.decay.offset if row.decay else None}


def visible(name):
    """The facts that a script's own arguments make visible."""
    call = re.search(r"RMSprop\((.*?)\)", porting.source(name))
    text = call[1] if call else ""
    large = re.search(r"epsilon=(0\.\d+|1e-[123])\b", text)
    found = {"epsilon"} if large else set()
    return found | {word for word in ("clipnorm", "decay") if f"{word}=" in text}


def wrong_dialects():
    """One script and system for every other dialect whose visible facts differ."""
    for name in SCRIPTS:
        system = next(s for s, n in reversed(RUNS) if n == name and not s.endswith("theano"))
        optimizers = importlib.import_module(
            f"fastrms.compat.{porting.PACKAGES[system]}.optimizers"
        )
        own = facts(optimizers.RMSprop.generation.row)
        seen = set()
        for row in fastrms.DIALECTS.values():
            other = facts(row)
            different = {k for k in visible(name) if other[k] not in (own[k], None)}
            differing = frozenset((k, other[k]) for k in different)
            if differing and differing not in seen:
                seen.add(differing)
                yield pytest.param(system, name, row.name, id=f"{system}-{name}-{row.name}")


WRONG = list(wrong_dialects())


def test_most_scripts_with_rmsprop_can_tell_dialects_apart():
    assert len({param.values[1] for param in WRONG}) >= 8


@pytest.mark.parametrize(("system", "name", "dialect"), WRONG)
def test_a_wrong_dialect_is_ten_times_further_away(system, name, dialect, monkeypatch):
    package = porting.PACKAGES[system]
    kind = importlib.import_module(f"fastrms.compat.{package}.optimizers").RMSprop
    row, own = fastrms.DIALECTS[dialect], kind.generation.row
    # The other dialect's arithmetic behind this one's argument names, so that none refuses them.
    mixed = own._replace(form=row.form, clipping=row.clipping)
    decay = row.decay.offset if row.decay else kind.generation.offset["RMSprop"]
    offset = {**kind.generation.offset, "RMSprop": decay}
    wrong = dataclasses.replace(kind.generation, dialect=mixed, offset=offset)
    monkeypatch.setattr(kind, "generation", wrong)
    # The dialects' own kernels are tested elsewhere; expressions give the same bits.
    monkeypatch.setattr(kind, "_fuse", lambda *_: None)
    names = porting.run(system, name)
    right = outcome(system, name).losses
    distance = porting.apart(names["losses"], porting.arrays(system)[f"{name}.losses"])
    assert distance >= 10 * max(right, 1e-7)


def test_the_results_page_is_what_the_records_say(monkeypatch):
    monkeypatch.setattr(porting_table, "runner", lambda: porting)
    monkeypatch.setattr(porting_table, "outcome", outcome)
    page = (porting.FOLDER.parents[1] / "docs" / "porting-results.md").read_text(encoding="utf-8")
    assert page == porting_table.document(), (
        "run: python scripts/porting_table.py --output docs/porting-results.md"
    )
