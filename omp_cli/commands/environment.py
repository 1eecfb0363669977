"""Variables of the environment that nothing reads: a name that is wrong would pass without a word otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from omp_cli.commands.table import COMMANDS, find
from omp_cli.core.base.flags import Option
from omp_cli.core.base.layers import ENV_PREFIX, keys_of, variable

NO_SETTINGS = frozenset({"cache", "catalogue", "device", "plugin", "ends_with_stdin"})
"""What variables say that is no setting."""


def unread(environ: Mapping[str, str], options: Iterable[Option]) -> Iterator[str]:
    """A line for each variable that is no setting of any command, and that nothing else reads.

    Args:
        environ: the environment.
        options: those of the running command, whose variables are told to who took an option's name for one.
    """
    named = {one.name.lstrip("-").replace("-", "_"): one for one in options}
    sections = {one.key.split(".")[0] for one in named.values()} | NO_SETTINGS
    others = {name: key for name, key in keys_of(environ).items() if key.split(".")[0] not in sections}
    if not others:
        return  # as nearly always, and the other commands, which take half a second, need not be imported
    known = {field for command in COMMANDS for model in find(command).models() for field in model.model_fields}
    for name, key in others.items():
        if key.split(".")[0] not in known:
            meant = named.get(key)
            example = f"{meant.name} is {variable(meant.key)}" if meant else f"train.lr is {ENV_PREFIX}TRAIN__LR"
            yield f"{name}: no command reads this variable; {example}"
