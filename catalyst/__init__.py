"Literate research and paper trading around market catalysts"

from importlib.metadata import version

__version__ = version("catalyst")
