import pytest

from gate.card import ReferenceHistogram
from service.pages.snapshot import rebin


def test_a_reference_with_other_edges_is_spread_evenly_over_the_bins() -> None:
    shares = rebin(ReferenceHistogram(edges=(0.0, 0.5, 1.0), counts=(30, 10)))
    assert shares[:10] == pytest.approx([0.075] * 10)
    assert shares[10:] == pytest.approx([0.025] * 10)
