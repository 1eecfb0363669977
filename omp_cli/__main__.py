"""``python -m omp_cli``, also what torchrun starts."""

from omp_cli.app import main

if __name__ == "__main__":
    main()
