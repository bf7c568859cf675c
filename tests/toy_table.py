"""A table of benchmarks over the toy world."""

from __future__ import annotations

from pathlib import Path

from toy import config, plain_model, write_data

from lab import Result


def write_table(folder: Path, rows: str, **changes: str) -> Path:
    """Write data, plain config and table; an empty change leaves a setting out."""
    data = write_data(folder / 'data')
    plain = config(data, folder / 'unused', plain_model())
    plain.train_dataloader.dataset.data_root = str(data)
    plain.dump(folder / 'plain.py')
    settings = {
        'title': "'Toy'",
        'plain': "'plain.py'",
        'iterations': '4',
        'seeds': '[0, 1]',
        'in_domain': "'test'",
        'rows': rows,
        **changes,
    }
    path = folder / 'toy.py'
    path.write_text(''.join(f'{key} = {value}\n' for key, value in settings.items() if value))
    return path


def result(row, seed, psnr, seconds=0.1, iterations=100, teacher=None, collapse=None, before=0.0):
    return Result(
        table='toy',
        row=row,
        seed=seed,
        iterations=iterations,
        seconds_per_iteration=seconds,
        seconds_before=before,
        student={'in': {'PSNR': psnr}, 'out': {'PSNR': psnr - 1 - 0.1 * seed}},
        teacher={} if teacher is None else {'in': {'PSNR': teacher}},
        curve=[{'iteration': 100, 'PSNR': psnr}],
        collapse=collapse,
        config='',
        environment={'torch': '2'},
    )
