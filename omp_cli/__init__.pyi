from .api import evaluate as evaluate
from .api import load as load
from .api import read_dataset as read_dataset
from .api import train as train
from .core import Player as Player
from .core.base.errors import OmpError as OmpError

__version__: str
