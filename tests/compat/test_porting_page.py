"""The porting guide's examples give what they show, and its figure shows what it says."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import dialect_figure

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "porting.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)


def test_the_example_gives_what_it_shows():
    test = doctest.DocTestParser().get_doctest(BLOCKS[0], {}, "porting.md", "porting.md", 0)
    assert test.examples
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0


def test_gradients_of_pytorch_train_a_net_of_other_layers():
    pytest.importorskip("torch")
    exec(BLOCKS[1], {})


def test_the_figure_shows_dialects_that_diverge():
    lines = dialect_figure.lines()
    epsilon, decay, clipnorm = lines.values()
    assert epsilon["keras-3"][-1] > 10 * epsilon["keras-2.2"][-1]
    assert epsilon["tf-keras-v2"] == pytest.approx(epsilon["keras-2.2"], rel=1e-2)
    for name in ("keras-2.2", "keras-3"):
        apart = [a / b for a, b in zip(decay[name], decay["keras-2.0"], strict=True)]
        assert max(apart) > 1.5 or min(apart) < 0.7
    assert clipnorm["keras-3"][-1] > 5 * clipnorm["keras-2.2"][-1]
    assert abs(clipnorm["tf-keras-v2"][-1] / clipnorm["keras-2.2"][-1] - 1) > 0.02
    assert (ROOT / "docs" / "dialects-diverging.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["Conv2D", "Dense", "LeakyReLU"])
def test_the_page_lists_the_layers_there_are(name):
    layers = importlib.import_module("fastrms.compat.keras22.layers")
    listed = PAGE.partition("## What is there")[2]
    assert (f"`{name}`" in listed) == (name in vars(layers))
