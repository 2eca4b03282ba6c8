"""A pool that depends on the frame or the order of atoms is found."""

from gigp.lab.study.custom_pool_checks import find_warnings

TOYS = "tests.lab.study.toy_pools"


def test_what_should_not_change_the_output_is_measured():
    assert find_warnings(f"{TOYS}:Weighted", {}) == []
    assert find_warnings("torch_geometric.nn.aggr:SoftmaxAggregation", {"learn": True}) == []
    assert find_warnings("gigp.pools.controls:MeanMLP", {}) == []
    slanted = find_warnings(f"{TOYS}:Slanted", {})
    assert len(slanted) == 3  # rotation, shift, and the order of atoms
    assert slanted[0].startswith(f"the output of {TOYS}:Slanted changes by ")
    assert "rotated" in slanted[0]
    (padding,) = find_warnings(f"{TOYS}:Careless", {})
    assert "padding" in padding
