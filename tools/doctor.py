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
# Outside of our ranges, these do not even start: (who is there, what it does not go with).
BROKEN = {
    ('onedl-mmengine', 'torch'): 'which lacks what onedl-mmengine imports',
    ('openmim', 'setuptools'): 'without the pkg_resources that mim needs',
}


def below(version: str, bound: str) -> bool:
    """Compare the numbers of two versions."""
    one, other = ([int(n) for n in re.findall(r'\d+', each)[:3]] for each in (version, bound))
    return one + [0] * (3 - len(one)) < other


def check_versions(
    installed: Mapping[str, str], built_for: str = '', wishes: Iterable[str] = ()
) -> Iterator[Finding]:
    """Find versions that are known not to go together, or outside of what was tried.

    Args:
        installed: Versions by distribution.
        built_for: The torch that the installed torchvision belongs to; empty: unknown.
        wishes: What this package asks for, as its metadata say it.

    Yields:
        Verdict, what was looked at, what was found and the cure.
    """
    yield from check_rivals(installed)
    yield from check_ranges(installed, wishes)
    have = {'numpy': '1.0', 'mmagic': '1.2.0', 'torch': '9', **installed}
    torch = have['torch'].split('+')[0]
    if below(torch, '2.3') and not below(have['numpy'], '2.0'):
        cure = "pip install 'numpy<2'"
        yield 'FAILED', 'versions', f'torch {torch} is of NumPy 1, not {have["numpy"]}: {cure}'
    if built_for and 'torch' in installed and torch != built_for.split('+')[0]:
        vision = f'torchvision {have["torchvision"]} belongs to torch {built_for}, not {torch}'
        yield 'FAILED', 'versions', f'{vision}: install both in one line'
    if not have['mmagic'].startswith('1.2.'):
        cure = 'pip install --no-deps mmagic==1.2.0'
        yield 'remark', 'versions', f'mmagic {have["mmagic"]} was never tried: {cure}'


def check_rivals(installed: Mapping[str, str]) -> Iterator[Finding]:
    """Find distributions of one module; the cure asks for the ranges of our own extras."""
    host = [name for key in ('mmengine', 'mmcv') for name in RIVALS[key] if name in installed]
    forks = not below(installed.get('torch', '9'), '2.3') and any('onedl' in each for each in host)
    for module, names in RIVALS.items():
        there = [name for name in names if name in installed]
        if len(there) < 2:
            continue
        # The builds of OpenCV differ in windows alone.
        verdict, gone, wanted = 'remark', there, there[-1]
        if module != 'cv2':
            extra = 'onedl' if forks else 'mmlab'
            verdict, gone, wanted = 'FAILED', host, f"'mmsamdistill[{extra}]'"
        cure = f'pip uninstall -y {" ".join(gone)} && pip install {wanted}'
        yield verdict, 'versions', f'{", ".join(there)} all install {module}: {cure}'


def check_ranges(installed: Mapping[str, str], wishes: Iterable[str]) -> Iterator[Finding]:
    """Find what is there and outside of the ranges of the package, or of an extra in use."""
    first: dict[str, str] = {}  # an extra is in use if the first package of it is there
    for wish in wishes:
        wanted, _, extra = wish.partition(';')
        name = re.match(r'[\w.-]+', wanted)[0].lower()
        user = first.setdefault(extra, name) if extra else name
        if not {user, name} <= set(installed):
            continue
        bounds = re.findall(r'(>=|<)\s*([\d.]+)', wanted)
        if any(below(installed[name], each) == (sign == '>=') for sign, each in bounds):
            why = BROKEN.get((user, name))
            text = f'{name} {installed[name]}, {why or "which was never tried"}'
            verdict = 'FAILED' if why else 'remark'
            yield verdict, 'versions', f"{text}: pip install '{wanted.strip()}'"


def installed_versions() -> tuple[dict[str, str], str]:
    """Return the versions of this environment, and the torch that torchvision asks for."""
    found: dict[str, str] = {}
    for each in distributions():  # the first on the path is the one that is imported
        found.setdefault(re.sub(r'[-_.]+', '-', each.metadata['Name'] or '').lower(), each.version)
    exact = (re.match(r'torch\s*\(?==([\w.]+)', wish) for wish in wishes_of('torchvision'))
    return found, next((match[1] for match in exact if match), '')


def wishes_of(name: str) -> list[str]:
    """Return what an installed distribution asks for."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


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
    failed |= show(check_versions(versions, built_for, wishes_of('mmsamdistill')))
    try:
        import mmsamdistill  # noqa: F401  (makes MMagic importable)
        from mmsamdistill import diagnosis
        from mmsamdistill.command_line import read_config
        from mmsamdistill.deploy.settings import find_device
    except ImportError as error:
        show([('FAILED', 'import', str(error))])
        return 1
    cfg = read_config(args.config, args.cfg_options) if args.config else None
    try:
        device = find_device(args.device)
    except ValueError as error:
        failed |= show([('FAILED', 'device', str(error))])
        device = find_device('cpu')
    failed |= show(diagnosis.check_machine())
    if cfg is not None:
        failed |= show(diagnosis.check_data_of(cfg))
    failed |= show(diagnosis.check_step(cfg, device))
    print('something FAILED, see above' if failed else 'a training can run')
    return int(failed)


if __name__ == '__main__':
    try:
        from mmsamdistill.command_line import run
    except ImportError:  # the very thing to be told, which main does
        sys.exit(main())
    run(main)
