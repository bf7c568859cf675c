"""What our transforms share."""

from typing import Any

from mmcv.transforms import BaseTransform


class OwnTransform(BaseTransform):
    """Shows its settings, and says what is missing where a sample lacks something."""

    regions_key: str | None = None

    def _get(self, results: dict[str, Any], key: str, hint: str = '') -> Any:
        if key not in results:
            hint = hint or ('RegionDataset loads region maps' if key == self.regions_key else '')
            raise KeyError(
                f'{type(self).__name__} needs {key!r}, there are only {sorted(results)}'
                + (f'; {hint}' if hint else '')
            )
        return results[key]

    def __repr__(self) -> str:
        settings = ', '.join(f'{name}={value!r}' for name, value in vars(self).items())
        return f'{type(self).__name__}({settings})'
