"""Tell whether a training can run here: versions, weights, data, region cache, memory, a step."""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distributions, requires

from mmsamdistill_command import add_config_options, add_device


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='The exit code is 0 if nothing FAILED, 1 if something did, 2 if the config cannot '
        'be understood.',
    )
    parser.add_argument('config', nargs='?', help='look at its data, weights and memory as well')
    add_device(parser)
    add_config_options(parser)
    return parser.parse_args()


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

Finding = tuple[str, str, str]
# Several distributions of one module: whichever was installed last has overwritten the others.
RIVALS = {
    'mmengine': ('mmengine', 'mmengine-lite', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'onedl-mmcv'),
    'cv2': ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python'),
}


def below(version: str, bound: str) -> bool:
    """Compare the numbers of two versions."""
    one, other = ([int(part) for part in re.findall(r'\d+', each)[:2]] for each in (version, bound))
    return one < other


def check_versions(installed: Mapping[str, str], built_for: str = '') -> Iterator[Finding]:
    """Find versions that are known not to go together.

    Args:
        installed: Versions by distribution.
        built_for: The torch that the installed torchvision belongs to; empty: unknown.

    Yields:
        Verdict, what was looked at, what was found and the cure.
    """
    for module, names in RIVALS.items():
        there = [name for name in names if name in installed]
        if len(there) > 1:
            cure = f'pip uninstall -y {" ".join(there)} && pip install {there[-1]}'
            # The builds of OpenCV differ in windows alone.
            verdict = 'remark' if module == 'cv2' else 'FAILED'
            yield verdict, 'versions', f'{", ".join(there)} all install {module}: {cure}'
    have = {'numpy': '1.0', 'setuptools': '0', 'mmagic': '1.2.0', 'torch': '9', **installed}
    torch = have['torch'].split('+')[0]
    if below(torch, '2.3') and not below(have['numpy'], '2.0'):
        cure = "pip install 'numpy<2'"
        yield 'FAILED', 'versions', f'torch {torch} is of NumPy 1, not {have["numpy"]}: {cure}'
    if 'onedl-mmengine' in installed and below(torch, '2.3'):
        cure = 'a later torch, or pip uninstall -y onedl-mmengine onedl-mmcv and the extra mmlab'
        yield 'FAILED', 'versions', f'onedl-mmengine needs torch 2.3, not {torch}: {cure}'
    if built_for and 'torch' in installed and torch != built_for.split('+')[0]:
        vision = f'torchvision {have["torchvision"]} belongs to torch {built_for}, not {torch}'
        yield 'FAILED', 'versions', f'{vision}: install both in one line'
    if 'openmim' in have and not below(have['setuptools'], '82.0'):
        cure = "pip install 'setuptools<82'"
        lacks = f'setuptools {have["setuptools"]} has no pkg_resources, which mim needs'
        yield 'FAILED', 'versions', f'{lacks}: {cure}'
    if not have['mmagic'].startswith('1.2.'):
        cure = 'pip install --no-deps mmagic==1.2.0'
        yield 'remark', 'versions', f'mmagic {have["mmagic"]} was never tried: {cure}'


def installed_versions() -> tuple[dict[str, str], str]:
    """Return the versions of this environment, and the torch that torchvision asks for."""
    found: dict[str, str] = {}
    for each in distributions():  # the first on the path is the one that is imported
        found.setdefault(re.sub(r'[-_.]+', '-', each.metadata['Name'] or '').lower(), each.version)
    try:
        wishes = requires('torchvision') or []
    except PackageNotFoundError:
        wishes = []
    exact = (re.match(r'torch\s*\(?==([\w.]+)', wish) for wish in wishes)
    return found, next((match[1] for match in exact if match), '')


def show(findings: Iterable[Finding]) -> bool:
    """Print findings as they come; True if one of them failed."""
    failed = False
    for verdict, what, text in findings:
        print(f'{verdict:6}  {what}: {text}', flush=True)
        failed |= verdict == 'FAILED'
    return failed


def main() -> int:
    """Look at everything, whatever was found before."""
    args = parse_args()
    versions, built_for = installed_versions()
    named = ('torch', 'torchvision', 'numpy', *RIVALS['mmengine'], *RIVALS['mmcv'], 'mmagic')
    listed = ', '.join(f'{name} {versions[name]}' for name in named if name in versions)
    python = sys.version.split()[0]
    failed = show([('ok', 'versions', f'Python {python}, {listed}')])
    failed |= show(check_versions(versions, built_for))
    try:
        import mmsamdistill  # noqa: F401  (makes MMagic importable)
        from mmsamdistill import diagnosis
        from mmsamdistill.command_line import read_config
        from mmsamdistill.deploy.settings import find_device
    except ImportError as error:
        show([('FAILED', 'import', str(error))])
        return 1
    cfg = read_config(args.config, args.cfg_options) if args.config else None
    failed |= show(diagnosis.check_machine())
    if cfg is not None:
        failed |= show(diagnosis.check_data_of(cfg))
    failed |= show(diagnosis.check_step(cfg, find_device(args.device)))
    print('something FAILED, see above' if failed else 'a training can run')
    return int(failed)


if __name__ == '__main__':
    try:
        from mmsamdistill.command_line import run
    except ImportError:  # the very thing to be told, which main does
        sys.exit(main())
    run(main)
