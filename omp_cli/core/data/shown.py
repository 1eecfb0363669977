"""Arrays that a robot or a caller shows, before anything is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, one_line


def shown_array(obs: Mapping[str, Any], name: str) -> NDArray[Any]:
    """The array of that name in an observation that has it; DataError for what is no array."""
    try:
        return np.asarray(obs[name])
    except Exception as error:  # a ragged list, a tensor on a GPU: each library has errors of its own
        raise DataError(f"observation: {name!r} is no array ({one_line(error)})") from None
