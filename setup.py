"""Put the files that `mim` looks for inside the package; all else is said in pyproject.toml."""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mmsamdistill'
# What `mim train`, `mim test` and `_base_ = 'mmsamdistill::...'` read from PACKAGE/.mim.
PAYLOAD = ('configs', 'tools', 'model-index.yml')


def remove(path: Path) -> None:
    """Delete a link, a file or a folder, if there is one."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def copy_payload(target: Path) -> None:
    """Fill TARGET for a wheel: copies, because a wheel holds no links."""
    remove(target)
    target.mkdir(parents=True)
    ignore = shutil.ignore_patterns('__pycache__', '*.py[cod]', '.*')
    for name in PAYLOAD:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignore)
        else:
            shutil.copy2(source, target / name)


def link_payload(target: Path) -> None:
    """Fill TARGET for an editable install: links, so that an edited config is the one in use."""
    remove(target)
    target.mkdir(parents=True)
    for name in PAYLOAD:
        (target / name).symlink_to(
            os.path.relpath(ROOT / name, target), target_is_directory=(ROOT / name).is_dir()
        )


class BuildPackage(build_py):
    """Builds the package and its payload, into the build folder alone."""

    def run(self) -> None:
        """Build into an empty folder, so that no deleted module survives from an old build."""
        if self.editable_mode:
            super().run()
            link_payload(ROOT / PACKAGE / '.mim')
            return
        target = Path(self.build_lib, PACKAGE)
        remove(target)
        super().run()
        copy_payload(target / '.mim')


class EditableWheel(editable_wheel):
    """Lets `mim` and MMEngine find the package of an editable install.

    Both locate a package as LOCATION/NAME, LOCATION being the folder of its metadata and NAME the
    first line of top_level.txt unless LOCATION/<distribution> exists. Modern editable installs keep
    the metadata in site-packages and the package elsewhere, where neither finds it. With the
    absolute path as the first line, joining the two gives the package's own folder.
    """

    def run(self) -> None:
        """Build the metadata, if the caller has not, and add the path to it."""
        if self.dist_info_dir is None:
            command = self.reinitialize_command('dist_info')
            command.output_dir = self.dist_dir
            Path(self.dist_dir).mkdir(parents=True, exist_ok=True)
            command.ensure_finalized()
            command.run()
            self.dist_info_dir = command.dist_info_dir
        top_level = Path(self.dist_info_dir, 'top_level.txt')
        top_level.write_text(f'{ROOT / PACKAGE}\n{PACKAGE}\n', encoding='utf-8')
        super().run()


setup(cmdclass={'build_py': BuildPackage, 'editable_wheel': EditableWheel}, zip_safe=False)
