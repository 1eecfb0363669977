"""omp: one-step generative robot policies, from demonstrations to measured success.

    import omp_cli as omp

    policy = omp.load(omp.train("data/toy/reach-p128-d20-s0", preset="dmpo-state"))
    action = policy.act({"state": state})

Everything of ``__init__.pyi`` is loaded when it is first used: importing this loads no torch.
"""

import lazy_loader

__version__ = "0.2.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
