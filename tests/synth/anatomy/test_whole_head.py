from unweight.synth.anatomy.whole_head import whole_head


def test_a_head_is_the_same_each_time_and_another_for_another_part() -> None:
    first = whole_head(0, "test", 0, coarser=12)
    assert first.voxel_mm == (6.0, 6.0, 6.0) and first.labels.shape == (30, 36, 30)
    assert first.labels.equal(whole_head(0, "test", 0, coarser=12).labels)
    assert not first.labels.equal(whole_head(0, "train", 0, coarser=12).labels)


def test_coarser_voxels_keep_the_field_of_view() -> None:
    for coarser in (12, 18):
        head = whole_head(0, "test", 0, coarser=coarser)
        extent = [count * size for count, size in zip(head.labels.shape, head.voxel_mm, strict=True)]
        assert extent == [180.0, 216.0, 180.0]
