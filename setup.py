"""Build and install mmsamdistill, with the files that `mim` looks for inside the package."""

import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mmsamdistill'
# What `mim train`, `mim test` and `_base_ = 'mmsamdistill::...'` read from PACKAGE/.mim.
PAYLOAD = ('configs', 'tools', 'model-index.yml')


def read_version() -> str:
    """Return the version without importing the package, which needs torch."""
    scope = {}
    exec((ROOT / PACKAGE / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


def read_requirements(name: str) -> list:
    """Return the requirements of requirements/NAME without comments."""
    lines = (ROOT / 'requirements' / name).read_text(encoding='utf-8').splitlines()
    lines = [line.split(' #')[0].strip() for line in lines]
    return [line for line in lines if line and not line.startswith('#')]


def read_readme() -> str:
    """Return the long description, empty where only the package is at hand."""
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.is_file() else ''


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


EXTRAS = {name: read_requirements(f'{name}.txt') for name in ('tests', 'sam', 'sam2')}
EXTRAS['mim'] = read_requirements('mminstall.txt')
EXTRAS['all'] = sorted({requirement for extra in EXTRAS.values() for requirement in extra})

setup(
    name=PACKAGE,
    version=read_version(),
    description='Segment Anything region priors for MMagic restorers, distilled away',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='mmsamdistill contributors',
    license='Apache-2.0',
    keywords='computer vision, image restoration, knowledge distillation, Segment Anything',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: POSIX :: Linux',
        'Operating System :: MacOS',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed', 'comparison/page/*']},
    python_requires='>=3.10',
    install_requires=read_requirements('runtime.txt'),
    extras_require=EXTRAS,
    cmdclass={'build_py': BuildPackage, 'editable_wheel': EditableWheel},
    zip_safe=False,
)
