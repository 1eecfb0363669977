"""The library behind the command line: never prints, knows neither Typer nor Rich.

What the commands call is listed in ``__init__.pyi`` and loaded when it is first used: a command's options can be read,
and completed, without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
