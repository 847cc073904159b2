"""The examples in docstrings and in the README run, and give what they show."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import dialect_table
import fastrms

ROOT = Path(__file__).resolve().parents[1]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(fastrms.__path__, "fastrms.")
    if not module.name.endswith("__main__")
]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_give_what_they_show(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.failed == 0


def public_callables():
    """Every public function, class and method that a user can reach."""
    for name in ("fastrms", "fastrms.jit", "fastrms.dialects", "fastrms.schedules"):
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if not key.startswith("_") and callable(value) and value.__doc__:
                yield f"{name}.{key}", value
    for key in (
        "build",
        "apply",
        "apply_gradients",
        "get_weights",
        "set_weights",
        "rebind",
        "get_config",
        "from_config",
        "finalize_variable_values",
        "swapped_ema",
        "exclude_from_weight_decay",
    ):
        yield f"fastrms.RMSprop.{key}", getattr(fastrms.RMSprop, key)


@pytest.mark.parametrize(
    ("name", "thing"),
    [
        (n, t)
        for n, t in public_callables()
        if str(getattr(t, "__module__", "")).startswith("fastrms")
        and not (isinstance(t, type) and issubclass(t, Exception | tuple))
        and n.rpartition(".")[2]
        not in (
            "Dialect",
            "Argument",
            "Settings",
            "update",
            "settle",
            "fixed",
            "rate",
            "scheduled",
            "State",
            "Variables",
            "Workshop",
        )
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_public_docstrings_have_an_example(name, thing):
    assert ">>>" in thing.__doc__, f"{name} has no example"


PAGES = ["README.md", "docs/sparse.md", "docs/loss-scaling.md", "docs/training-loop.md"]


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_pages_give_what_they_show(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    assert blocks
    shared = {}
    for block in blocks:
        parser = doctest.DocTestParser()
        test = parser.get_doctest(block, shared, page, page, 0)
        assert test.examples, f"a python block of {page} has no >>> lines:\n{block}"
        assert doctest.DocTestRunner(optionflags=FLAGS).run(test, clear_globs=False).failed == 0
        shared = test.globs


def test_dialect_page_is_what_the_rows_say():
    page = (ROOT / "docs" / "dialects.md").read_text(encoding="utf-8")
    assert page == dialect_table.document(), (
        "run: python scripts/dialect_table.py --output docs/dialects.md"
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n".join(dialect_table.table()) in readme, (
        "paste the output of scripts/dialect_table.py"
    )


COMMANDS = (
    "git clone ",
    "python3 -m venv .venv && . .venv/bin/activate",
    "pip install -e '.[demo]' && fastrms demo",
    "pip install -e '.[test]' && pytest",
)


def test_readme_shows_the_commands_that_do_everything():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", readme, flags=re.S)
        for line in block.splitlines()
    ]
    for command in COMMANDS:
        assert any(line.startswith(command) for line in lines), command


PAGES_WITH_LINKS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("scripts/**/*.md")]


@pytest.mark.parametrize("page", PAGES_WITH_LINKS, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    def anchors(text):
        heads = re.findall(r"^#+ (.*)$", text, flags=re.M)
        return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}

    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if path.startswith(("http://", "https://", "mailto:")):
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link
