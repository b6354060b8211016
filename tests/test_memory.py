"""Memory that is used again."""

from __future__ import annotations

import torch

from lsnn_gym.memory import SMALLEST, BlockPool


def test_a_block_is_used_again_once_its_tensor_is_gone():
    pool = BlockPool()
    first = pool.empty((SMALLEST,), torch.uint8)
    address = first.data_ptr()
    view = first[10:20]
    del first
    assert not pool.spare
    second = pool.empty((SMALLEST,), torch.uint8)
    assert second.data_ptr() != address
    del view
    assert len(pool.spare) == 1
    assert pool.empty((SMALLEST // 4,), torch.float32).data_ptr() == address


def test_blocks_of_other_sizes_do_not_pile_up():
    pool = BlockPool()
    for factor in range(1, 20, 2):  # none fits another's block
        pool.empty((SMALLEST * factor,), torch.uint8)
    assert [len(block) // SMALLEST for block in pool.spare] == [5, 7, 9, 11, 13, 15, 17, 19]


def test_small_tensors_come_from_torch():
    pool = BlockPool()
    made = pool.empty((3, 4), torch.float64)
    assert made.shape == (3, 4)
    assert made.dtype is torch.float64
    del made
    assert not pool.spare
