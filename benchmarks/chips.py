"""What the makers of chips say that they reach; ceilings measured by `gpu.py` stand beside it."""

import re
from typing import NamedTuple


class Chip(NamedTuple):
    """Public peaks of one chip.

    Attributes:
        name: As the maker writes it.
        bfloat16: Dense matrix products in 16 bits, FLOP/s.
        float8: Dense matrix products in 8 bits, FLOP/s; None where it has none.
        float32: Products in float32 outside of the matrix units, FLOP/s.
        bandwidth: Of its memory, bytes/s.
        source: Where these numbers stand.
    """

    name: str
    bfloat16: float
    float8: float | None
    float32: float
    bandwidth: float
    source: str


# By a pattern of the name that jax and nvidia-smi give; the first that is found decides. Datasheets
# print rates "with sparsity"; dense ones are half of them.
CHIPS = {
    r"H200": Chip(
        "H200 SXM", 989.5e12, 1979e12, 67e12, 4.8e12, "nvidia.com/en-us/data-center/h200"
    ),
    r"H100 PCIe": Chip("H100 PCIe", 756e12, 1513e12, 51e12, 2.0e12, "NVIDIA H100 datasheet, 2023"),
    r"H100 NVL": Chip(
        "H100 NVL", 835.5e12, 1671e12, 60e12, 3.9e12, "nvidia.com/en-us/data-center/h100"
    ),
    r"H100": Chip(
        "H100 SXM", 989.5e12, 1979e12, 67e12, 3.35e12, "nvidia.com/en-us/data-center/h100"
    ),
    r"A100.*80GB": Chip(
        "A100 80GB", 312e12, None, 19.5e12, 2.039e12, "nvidia.com/en-us/data-center/a100"
    ),
    r"A100": Chip(
        "A100 40GB", 312e12, None, 19.5e12, 1.555e12, "nvidia.com/en-us/data-center/a100"
    ),
}


def chip_of(device_kind: str) -> Chip | None:
    """The chip of that name, such as "NVIDIA H100 80GB HBM3"; None where it is not in the list."""
    return next((chip for pattern, chip in CHIPS.items() if re.search(pattern, device_kind)), None)
