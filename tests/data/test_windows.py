"""Windows over episodes: edges repeat, episodes never mix."""

import numpy as np
import pytest
from pydantic import ValidationError

from omp_cli.core.base.errors import UsageError
from omp_cli.core.data.windows import ChunkConfig, make_windows


def test_windows_by_hand() -> None:
    windows = make_windows(np.array([3, 5]), ChunkConfig(n_obs=2, horizon=4, execute=3))
    assert windows.obs.tolist() == [[0, 0], [0, 1], [1, 2], [3, 3], [3, 4]]
    assert windows.action.tolist() == [[0, 0, 1, 2], [0, 1, 2, 2], [1, 2, 2, 2], [3, 3, 4, 4], [3, 4, 4, 4]]


def test_the_executed_part_starts_at_the_newest_observation() -> None:
    chunk = ChunkConfig(n_obs=3, horizon=6, execute=4)
    windows = make_windows(np.array([20]), chunk)
    middle = windows.action[10][chunk.n_obs - 1 : chunk.n_obs - 1 + chunk.execute]
    assert middle.tolist() == [10, 11, 12, 13]
    assert windows.obs[10].tolist() == [8, 9, 10]


@pytest.mark.parametrize("numbers", [(2, 3, 3), (0, 4, 3), (1, 4, 5)])
def test_impossible_chunks_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises((UsageError, ValidationError)):
        ChunkConfig(n_obs=numbers[0], horizon=numbers[1], execute=numbers[2])
