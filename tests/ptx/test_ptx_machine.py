"""The machine of PTX: threads that part and meet, barriers, moves of memory, what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import ptx_needed  # noqa: F401
import pytest
from ptx_samples import kernel, program, run
from ptx_text import PtxError

OWN = "mul.wide.u32 %d9, %r0, 4;\nadd.s64 %d10, %d0, %d9;\n"  # where a thread's word lies


def test_threads_part_and_meet() -> None:
    """Each adds up the numbers below its own, the odd ones twice; then all add a hundred."""
    body = (
        OWN
        + """
    mov.u32 %r2, 0;
    mov.u32 %r3, 0;
$again:
    setp.ge.u32 %p1, %r2, %r0;
    @%p1 bra $after;
    add.s32 %r3, %r3, %r2;
    and.b32 %r4, %r2, 1;
    setp.eq.s32 %p2, %r4, 1;
    @!%p2 bra $next;
    add.s32 %r3, %r3, %r2;
    bra.uni $next;
$next:
    add.s32 %r2, %r2, 1;
    bra $again;
$after:
    add.s32 %r3, %r3, 100;
    st.global.u32 [%d10], %r3;
"""
    )
    (found,) = run(kernel(body), [np.zeros(64, np.uint32)], (1, 64))
    sums = [100 + sum(k + k % 2 * k for k in range(n)) for n in range(64)]
    assert found.tolist() == sums


def test_some_threads_end_early() -> None:
    body = f"setp.gt.u32 %p1, %r0, 9;\n@%p1 bra $end;\n{OWN}st.global.u32 [%d10], %r0;\n$end:"
    (found,) = run(kernel(body), [np.full(32, 77, np.uint32)])
    assert found.tolist() == [*range(10), *[77] * 22]


TREE = """
    mov.u64 %d11, room;
    add.s64 %d12, %d11, %d9;
    ld.global.u32 %r5, [%d10];
    st.shared.u32 [%d12], %r5;
    bar.sync 0;
    mov.u32 %r2, 16;
$half:
    setp.ge.u32 %p1, %r0, %r2;
    @%p1 bra $rest;
    mul.wide.u32 %d13, %r2, 4;
    add.s64 %d14, %d12, %d13;
    ld.shared.u32 %r3, [%d12];
    ld.shared.u32 %r4, [%d14];
    add.s32 %r3, %r3, %r4;
    st.shared.u32 [%d12], %r3;
$rest:
    bar.sync 0;
    shr.u32 %r2, %r2, 1;
    setp.ne.s32 %p2, %r2, 0;
    @%p2 bra $half;
    ld.shared.u32 %r5, [room];
    st.global.u32 [%d10], %r5;
"""
OF_BLOCK = "mul.wide.u32 %d8, %r1, 128;\nadd.s64 %d0, %d0, %d8;\n"


def tree() -> str:
    """Return a program that adds up 32 numbers in the memory that a block shares."""
    return kernel(OF_BLOCK + OWN + TREE, shared=128)


def test_blocks_share_memory_between_barriers() -> None:
    numbers = np.arange(96, dtype=np.uint32) ** 2
    (found,) = run(tree(), [numbers], (3, 32))
    assert (found.reshape(3, 32) == numbers.reshape(3, 32).sum(axis=1)[:, None]).all()


@pytest.mark.parametrize("barrier", [0, 1])
def test_a_barrier_that_is_missing_is_a_race(barrier: int) -> None:
    parts = tree().split("bar.sync 0;")
    without = [part + ("" if k == barrier else "bar.sync 0;") for k, part in enumerate(parts[:-1])]
    with pytest.raises(PtxError, match=r"race: threads of one block|nothing has written"):
        run("".join(without) + parts[-1], [np.arange(32, dtype=np.uint32)])


@pytest.mark.parametrize(
    "before",
    ["setp.gt.u32 %p1, %r0, 9;\n@%p1 bra $end;\n", "setp.gt.u32 %p1, %r0, 30;\n@%p1 bra $other;\n"],
)
def test_a_barrier_is_for_all_threads(before: str) -> None:
    body = f"{before}bar.sync 0;\nbra $end;\n$other:\nbar.sync 0;\n$end:"
    with pytest.raises(PtxError, match="not all threads of a block come to a barrier"):
        run(kernel(body), [np.zeros(1)])


def test_vectors_and_halves() -> None:
    body = """
    ld.global.v4.b32 {%r2, %r3, %r4, %r5}, [%d0];
    mov.b32 {%h2, %h3}, %r2;
    mov.b32 %r2, {%h3, %h2};
    mov.b64 %d2, {%r4, %r3};
    mov.b64 {%r6, %r7}, %d2;
    st.global.v4.u32 [%d0+16], {%r2, %r6, %r7, 7};
    ld.global.s16 %r8, [%d0];
    ld.global.u16 %r9, [%d0];
    st.global.v2.u32 [%d0], {%r8, %r9};
    st.global.u16 [%d0+10], %r5;
"""
    given = np.array([0x1234FFFE, 2, 3, 0x50004, 0, 0, 0, 0], np.uint32)
    (found,) = run(kernel(body), [given], (1, 1))
    assert found.tolist() == [
        0xFFFFFFFE, 0xFFFE, 0x40003, 0x50004, 0xFFFE1234, 3, 2, 7,
    ]  # fmt: skip


def test_special_registers_and_offsets_below_zero() -> None:
    body = """
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %nctaid.x;
    mad.lo.s32 %r4, %r1, %r2, %r0;
    mad.lo.s32 %r5, %r2, 100, %r3;
    mad.wide.u32 %d1, %r4, 4, %d0;
    add.s64 %d1, %d1, 4;
    st.global.u32 [%d1+-4], %r5;
"""
    (found,) = run(kernel(body), [np.zeros(12, np.uint32)], (3, 4))
    assert found.tolist() == [403] * 12


UNKNOWN = [
    "fma.rn.f32 %f1, %f2, %f3, %f4;",
    "add.f32 %f1, %f2, %f3;",
    "add.rn.ftz.f32 %f1, %f2, %f3;",
    "div.approx.f32 %f1, %f2, %f3;",
    "sqrt.approx.ftz.f32 %f1, %f2;",
    "mad.rn.f32 %f1, %f2, %f3, %f4;",
    "call.uni f, (%r1);",
    "shfl.sync.down.b32 %r2, %r0, 1, 31, -1;",
    "atom.global.add.u32 %r2, [%d0], 1;",
    "ld.local.u32 %r2, [%d0];",
    "ld.volatile.global.u32 %r2, [%d0];",
    "ld.global.v4.u32 {%r2, %r3}, [%d0];",
    "ld.global.u64 %r2, [%d0];",
    "ld.param.u32 %r2, [k_0];",
    "ld.param.u64 %d2, [k_0+4];",
    "ld.param.u64 %d2, [k_7];",
    "st.param.u64 [k_0], %d2;",
    "add.s32 %r2, %r3;",
    "add.s32 %r2, %d3, 1;",
    "add.s32 %r2, %r40, 1;",
    "add.s32 %q2, %r1, 1;",
    "mov.u64 %d2, elsewhere;",
    "mov.u32 %r2, %laneid;",
    "mov.b32 {%h1, %h2}, {%h3, %h4};",
    "bra $nowhere;",
    "bar.sync 1;",
    "@%p1 add.s32 %r2, %r2, 1;",
    "exit;",
]


@pytest.mark.parametrize("statement", UNKNOWN)
def test_what_is_not_known_is_refused_before_it_runs(statement: str) -> None:
    text = kernel(statement)
    with pytest.raises(PtxError):
        program(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".address_size 64", ".address_size 32"),
        (".version 9.5", ""),
        (".visible .entry", ".func helper;\n.visible .entry"),
        (".visible .entry", ".global .align 4 .b8 table[4];\n.visible .entry"),
        (".param .u64 k_0", ".param .align 8 .b8 k_0[24]"),
        (".reg .pred", ".local .align 8 .b8 depot[8];\n.reg .pred"),
        ("{", ".reqntid 32, 1, 1\n{"),
        ("ret;", "mov.u32 %r2, 1;"),
    ],
)
def test_texts_of_another_form_are_refused(old: str, new: str) -> None:
    text = kernel("")
    assert old in text
    with pytest.raises(PtxError):
        program(text.replace(old, new, 1))


def test_a_kernel_says_how_many_threads_it_takes() -> None:
    text = kernel("").replace("{", ".maxntid 256, 1, 1\n.minnctapersm 2\n{", 1)
    run(text, [np.zeros(1)], (1, 256))
    with pytest.raises(PtxError, match="257 threads cannot be launched"):
        run(text, [np.zeros(1)], (1, 257))


WRONG: dict[str, Any] = {
    "never written": "add.s32 %r2, %r3, 1;",
    "written by some": "setp.gt.u32 %p1, %r0, 3;\n@%p1 bra $x;\nmov.u32 %r2, 1;\n"
    "$x:\nadd.s32 %r3, %r2, 1;",
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_register_is_written_before_it_is_read(body: str) -> None:
    with pytest.raises(PtxError, match=r"line \d+, .*read before it is written"):
        run(kernel(body), [np.zeros(1)])


def test_a_loop_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptx_machine.MOST_RUNS", 50)
    with pytest.raises(PtxError, match="does not end"):
        run(kernel("$here:\nbra $here;"), [np.zeros(1)])


def test_a_division_by_zero_is_an_error() -> None:
    with pytest.raises(PtxError, match="divided by zero"):
        run(kernel("div.u32 %r2, %r1, %r0;"), [np.zeros(1)])
