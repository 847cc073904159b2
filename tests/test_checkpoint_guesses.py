"""Bare lists of weights: what they can be is told, where it is more than one thing."""

import pickle

import numpy as np
import pytest

import fastrms

SHAPES = [(2, 3), (3,)]
VELOCITY = [np.full(shape, 0.5, np.float32) for shape in SHAPES]
SMALL = [np.full(shape, 0.25, np.float32) for shape in SHAPES]
SIGNED = [np.full(shape, -0.75, np.float32) for shape in SHAPES]
COUNTER, RATE = [np.int64(3)], [np.float32(0.5)]
OPEN = "does not tell which slots it holds"

# The dialect and the list; how many variables are read, with which slots, and whether a note says
# that there are other readings.
CASES = {
    "one slot of one dialect": ("keras-2.2", VELOCITY, 2, ["velocity"], False),
    "twice, where there is one slot": ("keras-2.2", VELOCITY + SMALL, 4, ["velocity"], False),
    "twice": ("tf-keras-v2", COUNTER + VELOCITY + SMALL, 4, ["velocity"], True),
    "with negative numbers": (
        *("tf-keras-v2", COUNTER + VELOCITY + SIGNED, 2),
        *(["velocity", "momentum"], False),
    ),
    "Keras 3, once": ("keras-3", COUNTER + RATE + VELOCITY, 2, ["velocity"], False),
    "Keras 3, twice": ("keras-3", COUNTER + RATE + VELOCITY + SMALL, 4, ["velocity"], True),
}


@pytest.fixture
def saved(tmp_path):
    def save(arrays, suffix):
        path = tmp_path / f"a{suffix}"
        if suffix == ".pkl":
            path.write_bytes(pickle.dumps(arrays, protocol=2))
        elif suffix == ".npz":
            np.savez(path, *arrays)
        else:
            whole = np.empty(len(arrays), object)
            whole[:] = arrays
            np.save(path, whole, allow_pickle=True)
        return path

    return save


@pytest.mark.parametrize("suffix", [".pkl", ".npy", ".npz"])
@pytest.mark.parametrize("case", CASES)
def test_a_bare_list_is_read_and_its_other_readings_are_told(case, suffix, saved):
    dialect, arrays, count, slots, noted = CASES[case]
    found = fastrms.load(saved(arrays, suffix), dialect=dialect)
    assert (len(found.variables), list(found.slots)) == (count, slots)
    assert any(OPEN in note for note in found.notes) is noted


def test_variables_given_leave_fewer_readings_open(saved):
    path = saved(COUNTER + VELOCITY + SMALL, ".pkl")
    note = next(n for n in fastrms.load(path, dialect="tf-keras-v2").notes if OPEN in n)
    assert "velocity of 4 variables is one reading, velocity, momentum of 2 variables" in note
    assert "variables=" in note
    found = fastrms.load(path, dialect="tf-keras-v2", variables=VELOCITY)
    assert list(found.slots) == ["velocity", "momentum"]
    note = next(n for n in found.notes if OPEN in n)
    assert "of 2 variables" in note
    assert "of 4 variables" not in note


def test_a_choice_of_slots_for_the_variables_given_stays_open(saved):
    path = saved(COUNTER + RATE + VELOCITY + SMALL, ".pkl")
    found = fastrms.load(path, dialect="keras-3", variables=VELOCITY)
    assert any("velocity, momentum of 2 variables is one reading" in n for n in found.notes)
    arrays = [np.ones(shape, np.float32) for shape in SHAPES]
    with pytest.raises(fastrms.CheckpointError, match=r"the slots \['momentum', 'velocity'\]"):
        found.optimizer(arrays)
    assert found.optimizer(arrays, momentum=0.5).iterations == 3
