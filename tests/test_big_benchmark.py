"""The benchmark of the big model, on a small one: the rows and bars are there. No timing is asserted."""

from benchmarks import big
from benchmarks.settings import Settings


def test_all_ways_of_saving_are_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(big, "_WIDTH", 64)
    result = big.run(Settings(quick=True, repetitions=1, cache=tmp_path))
    assert list(tmp_path.iterdir()) == []
    written_mb = {row["case"]: row["written_mb"] for row in result.rows}
    copied = written_mb.pop("another folder, ranges copied")
    assert 0.8 < copied / result.rows[0]["model_mb"] < 1.3
    assert set(written_mb) == {"beside the model", "another folder, hard links"}
    assert all(size < copied / 10 for size in written_mb.values())
    assert [bar.limit for bar in result.bars] == [1.0, 300.0, 300.0, 300.0]
