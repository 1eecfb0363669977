"""A policy of omp as one of LeRobot's: the folder that ``--policy.path`` reads, and the classes that load it there.

LeRobot rewrites the name of the module that has a policy's configuration to find the rest, hence the files' names:
``configuration_omp``, ``modeling_omp``, ``processor_omp``. These import LeRobot; ``features`` and ``folder`` do not.
"""
