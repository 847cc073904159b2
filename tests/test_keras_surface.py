"""docs/keras-surface.md names every argument and method, and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "keras-surface.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)))
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| [^-|]", line)]

# As `help()` lists them in Keras 3.15.1 and TensorFlow 2.12.0.
ARGUMENTS = re.findall(
    r"\w+",
    "learning_rate rho momentum epsilon centered weight_decay clipnorm clipvalue global_clipnorm "
    "use_ema ema_momentum ema_overwrite_frequency loss_scale_factor gradient_accumulation_steps "
    "jit_compile name kwargs",
)
MEMBERS = re.findall(
    r"\w+",
    "add_optimizer_variables add_variable add_variable_from_reference aggregate_gradients apply "
    "apply_gradients assign assign_add assign_sub build compute_gradients "
    "exclude_from_weight_decay finalize_variable_values from_config get_config iterations "
    "learning_rate load_own_variables lr minimize save_own_variables scale_loss set_weights "
    "stateless_apply update_step variables",
)


@pytest.mark.parametrize("name", [*ARGUMENTS, *MEMBERS])
def test_nothing_is_missing(name):
    assert any(row.startswith(f"| `{name}` |") for row in ROWS)


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_the_tests_exist(file, test):
    path = ROOT / "tests" / file
    assert path.exists()
    assert re.search(rf"^def {test}\(", path.read_text(encoding="utf-8"), flags=re.M)


def test_every_row_names_a_test():
    heads = ("| argument |", "| member |", "| said |", "| instead of |")
    kept = [r for r in ROWS if not r.startswith(heads) and "out += v" not in r]
    bare = [r for r in kept if "::test_" not in r and "np." not in r and ".item" not in r]
    assert not bare
