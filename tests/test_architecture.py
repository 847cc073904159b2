"""The house stands as drawn: floors, sizes, words and flags, read from the syntax trees."""

from __future__ import annotations

import ast
import functools
import graphlib
import io
import re
import subprocess
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Bottom to top. A module imports from its own floor or from below, without cycles. Every module
# stands here exactly once; "package.*" is a package with all its modules.
FLOORS = (
    (
        "ground",
        (
            *("errors", "rule", "layout", "compiling", "instructions", "elements", "emitting"),
            *("program", "inspection", "kernels", "tables", "sources", "operand", "listing"),
        ),
    ),
    (
        "devices",
        (
            *("cuda", "cuda.elements", "cuda.simulated", "cuda.driver", "cuda.target"),
            *("cuda.parts", "cuda.kernels", "cuda.protocols", "cuda.arrays", "cuda.memory"),
            "cuda.writing",
            "cuda.lending",
            "cuda.slices",
            "cuda.tables",
            "cuda.toolkit",
        ),
    ),
    ("facts", ("dialects.*", "schedules.*", "threads", "reference", "variable")),
    ("memory", ("rates", "arguments", "hyper", "variables", "state", "sparse", "constraints")),
    (
        "step",
        (
            *("work", "rows", "pairing", "overwriting", "plan", "engines", "clipping", "stepper"),
            "results",
            *("cuda.passes", "cuda.rows", "cuda.plan"),
        ),
    ),
    (
        "optimizer",
        (
            *("tracing", "differentiation", "locks", "exclusion", "weights", "averages"),
            *("portable", "checkpoint.*", "savable", "surface", "tracked", "subclassing"),
            *("optimizer", "scaling", "naming", "loss_scale", "serialization", "jit"),
        ),
    ),
    ("front door", ("__init__",)),
    ("programs", ("info", "tools.*", "cli", "__main__", "demo.*")),
    ("roof", ("compat.*",)),
)

FILE_LINES, FUNCTION_LINES, PARAMETERS = 300, 40, 7
# Lines of code: without docstrings, comments and blanks. The core is fastrms/ without the dialect
# table (data and its schema), the schedules, the command line and the demo.
# The checks that keep a step away from changed or freed memory, and what each system lets an
# argument and a schedule be, took more than the 2,500 lines first drawn; gradients of rows, loss
# scaling and constraints took 800 again; tensors of other libraries that keep their memory, 180;
# meeting files, 40; slots in float32 and arrays on a GPU, 90; rows and constraints there, 40;
# writing instructions instead of letting Numba type them, which takes two of three seconds off a
# first step, 90; one address a call and huge pages for slots, 37; more pieces than tickets and
# damaged caches, 12; values of one row of a table that each make a step of their own, 68; what the
# inverse of a bound is, 14. What mirrors Keras' interface around them has its own budget.
CORE_LINES, COMPAT_LINES, SCHEDULES_LINES, SURFACE_LINES = 4343, 5063, 430, 1133
# In fastrms/cuda/ the kernels, the tables and their compilation hold the 600 lines first drawn;
# reading two protocols, the driver, and the simulator's stand-ins took as much again; Variables in
# a GPU's memory, lent by DLPack, 160, and gradients of rows with their own kernels 390;
# finding a toolkit, 24; values of one row that each make a step of their own, 53; giving the
# caller's context back, none where there are no arrays, and no copies into a graph, 19.
CUDA_LINES = 2044
SURFACE = tuple(
    f"fastrms/{name}.py"
    for name in (
        *("variable", "operand", "sources", "surface", "differentiation", "tracing"),
        *("subclassing", "serialization", "naming", "tracked", "overwriting", "clipping"),
    )
)
# The graphs of compat: nodes, rows, derivatives, plans, functions. All of compat was drawn with
# 3,000: ten generations of optimizers, their nets, their losses and loss scaling took more.
ENGINE_LINES = 897
ENGINE = ("binding", "derivatives", "expressions", "functions", "operations", "planning")
ENGINE += ("session", "variables")
# The checkpoints were first drawn with 1,800 lines: twelve formats read and written, their checks
# against hostile files, a reader in a process of its own, and the conversion took 5,100; the order
# of variables between systems, whole templates, shards and folders replaced in one step, and
# refusals in time that grows with the file, 250 more.
CHECKPOINT_LINES = 5620
NOT_CORE = (
    *SURFACE,
    "compat/",
    "fastrms/cuda/",
    "fastrms/checkpoint/",
    "fastrms/demo/",
    "fastrms/dialects/",
    "fastrms/schedules/",
    "fastrms/tools/",
    "fastrms/cli.py",
    "fastrms/info.py",
    "fastrms/__main__.py",
)

# Exceptions, each with its reason; one that is no longer needed fails the test.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
WIDE_FUNCTIONS: dict[str, str] = {
    "fastrms.compat.nets.layers.Dense.__init__": "Keras's constructor, argument for argument",
    "fastrms.compat.nets.training.Training.fit": "Keras's method, argument for argument",
    "fastrms.optimizer.RMSprop.__init__": "the constructor of Keras 3.15, argument for argument",
}
NAME_COMPARISONS: dict[str, str] = {}

DIALECTS = (
    *("keras-3", "tf-keras-2.11", "tf-keras-2.10-experimental", "tf-keras-v2", "tf-keras-v1"),
    *("keras-2.3", "keras-2.2", "keras-2.0", "keras-1", "keras-0"),
    *("tf-contrib", "tf-train", "torch", "optax"),
)
# Other libraries' words, as identifiers, belong to the rows that name them.
FOREIGN = {"rms", "mg", "accumulator", "square_avg", "grad_avg", "momentum_buffer", "nu", "mu"}
ROWS = "fastrms/dialects/"
FOREIGN_WORDS: dict[str, str] = {
    "fastrms/rule.py: accumulator": "Keras 3's own word for its sum of gradients",
    "fastrms/rule.py: rms": "the denominator, as every account of the rule calls it",
}

# Folders of one machine: an absolute path below a home, root, work, mount or optional folder,
# and the folder that lies beside this checkout on some machines.
MACHINE_PATH = re.compile(
    r"(?<![\w.~/}\])>*-])/(?:home|root|work|Users|mnt|opt|srv)/\w|[A-Z]:\\Users|\.\.\/shared\b"
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    """One source file under fastrms/ or compat/."""

    name: str
    path: str
    text: str
    tree: ast.Module


@functools.cache
def modules() -> dict[str, Module]:
    """Every module of the installed package, by its dotted name."""
    found = {}
    for folder, package in (("fastrms", "fastrms"), ("compat", "fastrms.compat")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = inside[:-1] if inside[-1] == "__init__" else inside
            name = ".".join((package, *parts))
            text = path.read_text(encoding="utf-8")
            found[name] = Module(name, str(path.relative_to(ROOT)), text, ast.parse(text))
    return found


def floor_of(name: str) -> list[int]:
    """Numbers of the floors whose table row holds a module."""
    short = name.removeprefix("fastrms").removeprefix(".") or "__init__"
    return [
        number
        for number, (_, rows) in enumerate(FLOORS)
        if short in rows
        or any(f"{short}.".startswith(row[:-1]) for row in rows if row.endswith("*"))
    ]


def imports_of(module: Module) -> set[str]:
    """Names of our own modules that a module imports, wherever in the file."""
    package = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]
    wanted = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join((*(above if node.level else ()), *filter(None, [node.module])))
            wanted |= {f"{base}.{alias.name}" for alias in node.names}
    known = set()
    for name in wanted:
        while name and name not in modules():
            name = name.rpartition(".")[0]
        known |= {name} - {"", module.name}
    return known


def functions(module: Module) -> Iterator[tuple[str, Function]]:
    """Every function of a module with its qualified name, nested ones too."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, Function | ast.ClassDef)
            name = f"{prefix}.{child.name}" if named else prefix
            if isinstance(child, Function):
                yield name, child
            yield from walk(child, name)

    return walk(module.tree, module.name)


@functools.cache
def code_lines(text: str) -> set[int]:
    """Numbers of the lines that hold more than blanks and comments."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines


def span(first: ast.AST, last: ast.AST) -> set[int]:
    return set(range(first.lineno, last.end_lineno + 1))


def length(module: Module, function: Function) -> int:
    """Code lines of a function without its docstring; a function inside it is measured alone."""
    own = code_lines(module.text) & span(function, function)
    if ast.get_docstring(function):
        own -= span(function.body[0], function.body[0])
    for node in ast.walk(function):
        if isinstance(node, Function) and node is not function:
            own -= span((node.decorator_list or [node])[0], node)
    return len(own)


def width(function: Function) -> int:
    """Parameters of a function, without self, cls, *args and **kwargs."""
    arguments = function.args
    names = [a.arg for a in arguments.posonlyargs + arguments.args + arguments.kwonlyargs]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def check(found: dict[str, object], excused: dict[str, str]) -> None:
    """Fail on what has no exception, and on an exception without need or reason."""
    problems = [f"{name}: {what}" for name, what in found.items() if name not in excused]
    problems += [f"{name}: no longer needs its exception" for name in excused if name not in found]
    problems += [f"{name}: the exception has no reason" for name, why in excused.items() if not why]
    assert not problems, "\n".join(problems)


def measured(measure: Callable[[Module, Function], int], limit: int) -> dict[str, int]:
    sizes = {n: measure(m, f) for m in modules().values() for n, f in functions(m)}
    return {name: size for name, size in sizes.items() if size > limit}


def test_every_module_has_one_floor():
    homeless = [name for name in modules() if len(floor_of(name)) != 1]
    assert not homeless, f"give each of these exactly one floor in FLOORS: {homeless}"
    shorts = {f"{name}.".removeprefix("fastrms.") or "__init__." for name in modules()}
    rows = [row for _, rows in FLOORS for row in rows]
    stale = [r for r in rows if not any(s.startswith(f"{r.removesuffix('.*')}.") for s in shorts)]
    assert not stale, f"no such module, take it out of FLOORS: {stale}"


def test_imports_point_down():
    upward = [
        f"{module.name} imports {target}"
        for module in modules().values()
        for target in sorted(imports_of(module))
        if max(floor_of(target), default=99) > min(floor_of(module.name), default=-1)
    ]
    assert not upward, "\n".join(upward)


def test_imports_have_no_cycle():
    graph = {module.name: imports_of(module) for module in modules().values()}
    graphlib.TopologicalSorter(graph).prepare()


def test_fastrms_does_not_know_compat():
    for module in modules().values():
        known = {name for name in imports_of(module) if name.startswith("fastrms.compat")}
        assert not known or module.path.startswith("compat/"), module.path


def test_files_are_short():
    lengths = {m.path: len(m.text.splitlines()) for m in modules().values()}
    check({p: f"{n} lines" for p, n in lengths.items() if n > FILE_LINES}, LONG_FILES)


def test_functions_are_short():
    check(measured(length, FUNCTION_LINES), LONG_FUNCTIONS)


def test_functions_have_few_parameters():
    check(measured(lambda _, function: width(function), PARAMETERS), WIDE_FUNCTIONS)


def sum_of_code(module: Module) -> int:
    """Code lines of a module without its docstrings."""
    lines = set(code_lines(module.text))
    for node in ast.walk(module.tree):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            lines -= span(node.body[0], node.body[0])
    return len(lines)


def test_budgets():
    sizes = {m.path: sum_of_code(m) for m in modules().values()}
    compat = sum(n for path, n in sizes.items() if path.startswith("compat/"))
    core = sum(n for path, n in sizes.items() if not path.startswith(NOT_CORE))
    schedules = sum(n for path, n in sizes.items() if path.startswith("fastrms/schedules/"))
    surface = sum(n for path, n in sizes.items() if path in SURFACE)
    cuda = sum(n for path, n in sizes.items() if path.startswith("fastrms/cuda/"))
    assert core <= CORE_LINES
    assert surface <= SURFACE_LINES
    checkpoint = sum(n for path, n in sizes.items() if path.startswith("fastrms/checkpoint/"))
    assert checkpoint <= CHECKPOINT_LINES
    engine = sum(sizes[f"compat/engine/{name}.py"] for name in ENGINE)
    assert schedules <= SCHEDULES_LINES
    assert engine <= ENGINE_LINES
    assert compat <= COMPAT_LINES
    assert cuda <= CUDA_LINES


def test_contributing_names_the_budgets():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for lines in (CORE_LINES, COMPAT_LINES, CHECKPOINT_LINES):
        assert f"{lines:,}" in text, f"CONTRIBUTING.md does not name the budget of {lines:,} lines"


def test_public_things_have_docstrings():
    bare = [module.path for module in modules().values() if not ast.get_docstring(module.tree)]
    for module in modules().values():
        classes = [n for n in module.tree.body if isinstance(n, ast.ClassDef)]
        inside = [n for c in classes if not c.name.startswith("_") for n in c.body]
        for node in [*module.tree.body, *inside]:
            if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
                continue
            overload = any(
                ast.unparse(d).endswith(("overload", ".setter")) for d in node.decorator_list
            )
            if not overload and not ast.get_docstring(node):
                bare.append(f"{module.path}:{node.lineno} {node.name}")
    assert not bare, "\n".join(bare)


def is_dialect_name(node: ast.expr) -> bool:
    """Whether an expression is a dialect, its name, or a literal that holds a dialect's name."""
    if isinstance(node, ast.Constant):
        return node.value in DIALECTS
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(map(is_dialect_name, node.elts))
    if isinstance(node, ast.Attribute) and node.attr in ("name", "startswith", "endswith"):
        return is_dialect_name(node.value) or ast.unparse(node.value) == "row"
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node).endswith("dialect")


def asks_for_a_dialect(node: ast.AST) -> bool:
    """Whether a node decides by a dialect's name; looking a name up in a table is allowed."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        looked_up = isinstance(node.ops[0], ast.In | ast.NotIn) and not isinstance(
            sides[1], ast.Tuple | ast.List | ast.Set
        )
        same = isinstance(node.ops[0], ast.Is | ast.IsNot)
        return not same and any(map(is_dialect_name, sides[1:] if looked_up else sides))
    if isinstance(node, ast.Match):
        return is_dialect_name(node.subject)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("startswith", "endswith") and is_dialect_name(node.func)
    return isinstance(node, ast.Dict) and any(is_dialect_name(k) for k in node.keys if k)


def test_no_decision_by_a_dialects_name():
    found = {
        f"{module.path}: {ast.unparse(node)[:60]}": "make the difference a field of the rows"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if asks_for_a_dialect(node)
        and not (isinstance(node, ast.Dict) and module.path.startswith(ROWS))
    }
    check(found, NAME_COMPARISONS)


@pytest.mark.parametrize(
    ("code", "caught"),
    [
        ("dialect == 'keras-3'", True),
        ("kind != 'tf-train'", True),
        ("self.dialect.name in ('a', 'b')", True),
        ("name in ('keras-1', 'keras-2.0')", True),
        ("row.name.startswith('tf')", True),
        ("{'keras-1': f}[name]", True),
        ("'tf' in dialect.name", True),
        ("dialect.name in ROWS", False),
        ("dialect is None", False),
        ("variable.name == key", False),
        ("row == 3", False),
    ],
)
def test_the_search_for_decisions_by_name_finds_them(code, caught):
    assert any(map(asks_for_a_dialect, ast.walk(ast.parse(code)))) == caught


def identifiers(tree: ast.AST) -> set[str]:
    """Every name that a tree binds, reads or passes."""
    found = {
        getattr(n, field, None) for n in ast.walk(tree) for field in ("id", "arg", "attr", "name")
    }
    return {name for name in found if isinstance(name, str)}


def test_foreign_words_stay_in_the_rows():
    outside = [module for module in modules().values() if not module.path.startswith(ROWS)]
    check(
        {f"{m.path}: {w}": "use Keras 3's" for m in outside for w in identifiers(m.tree) & FOREIGN},
        FOREIGN_WORDS,
    )


def test_kernels_are_strict_and_serial():
    for module in modules().values():
        for node in ast.walk(module.tree):
            where = f"{module.path}:{getattr(node, 'lineno', '')}"
            if isinstance(node, ast.keyword):
                value = getattr(node.value, "value", None)
                assert node.arg != "fastmath", where
                assert (node.arg, value) != ("parallel", True), where
            if isinstance(node, ast.Dict):
                keys = [getattr(key, "value", None) for key in node.keys]
                flags = dict(zip(keys, map(ast.unparse, node.values), strict=True))
                assert "fastmath" not in flags, where
                assert flags.get("parallel") != "True", where
        assert "prange" not in identifiers(module.tree), module.path


def project_files() -> list[Path]:
    """Files that are or would be committed; without git, all but hidden and generated ones."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return [ROOT / name for name in listed.stdout.split("\0") if name]
    generated = re.compile(r"/(?!\.ci/)\.|/(build|dist|__pycache__)/|\.egg-info/")
    return [
        p for p in ROOT.rglob("*") if not generated.search(f"/{p.relative_to(ROOT).as_posix()}")
    ]


def test_no_path_of_one_machine():
    found = []
    for path in filter(Path.is_file, project_files()):
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            text = data.decode("utf-8")
            found += [f"{path.relative_to(ROOT)}: {m[0]}" for m in MACHINE_PATH.finditer(text)]
    assert not found, "\n".join(found)


def test_recorders_stay_readable_for_python_3_6():
    for path in sorted((ROOT / "scripts" / "recorders").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))
        futures = [
            n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"
        ]
        assert not futures, f"{path.name}: Python 3.6 knows no annotations from the future"
