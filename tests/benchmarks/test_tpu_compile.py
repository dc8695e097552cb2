"""What is read of a program compiled for a TPU; compiling one takes libtpu and minutes."""

from benchmarks.tpu_compile import collectives

HLO = """
ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %all-reduce.1 = (f32[263,768]{1,0:T(8,128)S(1)}, /*index=1*/bf16[3]{0}) all-reduce(%a, %b)
  %ag = bf16[1024,8]{1,0} all-gather(%c), dimensions={0}
  ROOT %all-reduce.2 = f32[] all-reduce(%d), to_apply=%add
  %start = f32[16]{0} all-reduce-start(%e), to_apply=%add
  %done = f32[16]{0} all-reduce-done(%start)
  %get-tuple-element.1 = f32[263,768]{1,0} get-tuple-element(%all-reduce.1), index=0
}
"""


def test_collectives_are_counted_by_kind_with_the_bytes_of_their_results():
    assert collectives(HLO) == {
        "all-reduce": {"count": 3, "bytes": 4 * 263 * 768 + 2 * 3 + 4 + 4 * 16},
        "all-gather": {"count": 1, "bytes": 2 * 1024 * 8},
    }
    assert collectives("%x = f32[2]{0} add(%a, %all-reduce.1)") == {}
