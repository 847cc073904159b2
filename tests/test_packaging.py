"""What is installed is what the project promises: metadata, extras, a light import, types."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fastrms
import fastrms.compat

EXTRAS = {
    *("autodiff", "keras", "bfloat16", "cuda", "cuda-test"),
    *("demo", "test", "bench", "interop", "dev"),
}
TOP_LEVEL = (
    *("setup.cfg", "pyproject.toml", "fastrms", "compat", "tests", "scripts", ".ci/run"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
)
OPTIONAL = {"autograd", "h5py", "rich", "matplotlib"}
HEAVY = {"torch", "tensorflow", "jax", "jaxlib", "keras", "optax", "cupy", "numba-cuda", "triton"}


def requirements(project: str, extra: str = "") -> list[Requirement]:
    """What an installed project requires here, alone or because of one of its extras."""
    found = map(Requirement, metadata.requires(project) or ())
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": extra})]


def closure(project: str, extra: str) -> set[str]:
    """Names of everything that installing `project[extra]` pulls, as far as it is installed."""
    todo, seen = [(project, ""), (project, extra)], set()
    while todo:
        item = todo.pop()
        if item in seen:
            continue
        seen.add(item)
        try:
            required = requirements(*item)
        except metadata.PackageNotFoundError:
            continue
        for requirement in required:
            name = canonicalize_name(requirement.name)
            todo += [(name, ""), *((name, extra) for extra in requirement.extras)]
    return {name for name, _ in seen}


def modules_after(statement: str, folder: Path) -> set[str]:
    """Names of the modules that a fresh process outside the tree holds after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_top_level_is_what_was_drawn():
    root = Path(__file__).resolve().parents[1]
    for name in TOP_LEVEL:
        assert (root / name).exists(), name
    assert {path.parent.name for path in root.glob("*/__init__.py")} == {"fastrms", "compat"}


def test_version_has_one_home():
    assert metadata.version("fastrms") == fastrms.__version__


def test_core_dependencies_are_numpy_and_numba():
    assert {r.name for r in requirements("fastrms")} == {"numpy", "numba"}


def test_extras_are_those_of_the_readme():
    assert set(metadata.metadata("fastrms").get_all("Provides-Extra")) == EXTRAS


@pytest.mark.parametrize("extra", ["demo", "test"])
def test_demo_and_test_pull_the_small_extras_and_nothing_heavy(extra):
    pulled = closure("fastrms", extra)
    assert pulled >= OPTIONAL
    assert not pulled & HEAVY
    assert not {name for name in pulled if "cuda" in name or name.startswith("nvidia")}


def test_import_loads_no_extra_and_no_program(tmp_path):
    loaded = modules_after("import fastrms", tmp_path)
    assert not {name.partition(".")[0] for name in loaded} & (OPTIONAL | HEAVY)
    assert not {
        name
        for name in loaded
        if f"{name}.".startswith(
            ("fastrms.demo.", "fastrms.cli.", "fastrms.compat.", "fastrms.jit.")
        )
    }


def test_compat_is_installed_below_fastrms_only(tmp_path):
    loaded = modules_after("import fastrms.compat", tmp_path)
    assert "fastrms.compat" in loaded
    assert "compat" not in loaded
    assert fastrms.compat.__doc__


def test_every_sub_package_is_listed_so_that_wheels_hold_it():
    root = Path(__file__).resolve().parents[1]
    listed = configparser.ConfigParser()
    listed.read(root / "setup.cfg")
    found = {
        ".".join(("fastrms", *init.parent.relative_to(root).parts))
        for init in root.glob("compat/**/__init__.py")
    }
    assert found - set(listed["options"]["packages"].split()) == set()


def test_console_script_is_the_command_line():
    (script,) = metadata.entry_points(group="console_scripts", name="fastrms")
    assert script.value == "fastrms.cli:main"
    assert callable(script.load())


def test_types_and_data_are_shipped():
    files = resources.files("fastrms")
    assert files.joinpath("py.typed").is_file()
    digits = files.joinpath("data", "digits.npz").read_bytes()
    assert 0 < len(digits) < 100_000
