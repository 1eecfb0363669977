"""Named settings of ``omp pretrain`` and ``omp finetune``, one TOML file each."""
