"""MMagic's loader refuses damaged images, by name."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from mmsamdistill.compat.import_hook import after_import
from mmsamdistill.images import check_whole
from mmsamdistill.images.lmdb_file import check_lmdb


def refuse_damaged_images() -> None:
    """Let ``LoadImageFromFile`` stop at a damaged image, whoever builds it."""
    # OpenCV fills in what it cannot decode, so that a training learns stripes and grey areas, and
    # its own errors do not say which file is meant.
    after_import('mmagic.datasets.transforms.loading', _amend)


def _amend(module: ModuleType) -> None:
    from mmengine.fileio import get_file_backend

    # What is whole stays so for the run: read again in each epoch, it is checked once a process.
    whole: set[tuple[str, str]] = set()

    def _load_image(self: Any, filename: str) -> Any:
        options = self.backend_args or {}
        if self.file_backend is None:
            self.file_backend = get_file_backend(uri=filename, backend_args=self.backend_args)
        name = filename
        if options.get('backend') == 'lmdb':
            name = os.path.splitext(os.path.basename(filename))[0]
            database = (str(options.get('db_path')), '')
            if database not in whole:
                check_lmdb(database[0])
                whole.add(database)
        data = self.cache.get(name)
        if data is None:
            data = _get(self.file_backend, name, options)
        if data is None:
            raise FileNotFoundError(f'there is no {name} in {options.get("db_path")}')
        if self.use_cache:
            self.cache[name] = data
        which = (str(options.get('db_path')), filename)
        if which not in whole:
            check_whole(bytes(data), filename)
            whole.add(which)
        try:
            image = module.mmcv.imfrombytes(
                content=data,
                flag=self.color_type,
                channel_order=self.channel_order,
                backend=self.imdecode_backend,
            )
        # What a decoder gives for a broken file depends on the decoder: None, or its own error.
        except Exception as error:
            raise ValueError(f'{filename} cannot be read as an image: {error}') from error
        if image is None:
            raise ValueError(f'{filename} cannot be read as an image')
        return image

    module.LoadImageFromFile._load_image = _load_image


def _get(backend: Any, name: str, options: dict[str, Any]) -> Any:
    if options.get('backend') != 'lmdb':
        return backend.get(name)
    try:
        return backend.get(name)
    # The library's own errors do not say of which database they are.
    except Exception as error:
        raise ValueError(f'{options.get("db_path")} cannot be read: {error}') from error
