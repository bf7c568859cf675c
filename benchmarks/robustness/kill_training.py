"""Kill trainings at random moments and while they write, resume them, and compare their ends.

A run is killed by SIGKILL several times before it may end: at a random moment, or as soon as a
checkpoint's unfinished file is seen. After every kill each file with a checkpoint's name must be
whole, and in the end weights and optimiser must be bit for bit those of an undisturbed run. The
networks are the toy ones of the tests, plain and distilled in turn; writing is slowed down, so that
a kill has something to hit. Exit code 1 if anything was torn, lost or different.
"""

import argparse
import importlib.util
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests'))

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402

import mmsamdistill  # noqa: E402, F401
from mmsamdistill.weights import read_checkpoint  # noqa: E402

STEPS = 12


def settings(data: Path, work_dir: Path, distilled: bool, workers: int) -> Config:
    """A run of a dozen steps that saves, keeps one checkpoint and the best, and validates."""
    import toy

    model = toy.cascade_model() if distilled else toy.plain_model()
    cfg = toy.config(data, work_dir, model, resume='auto')
    cfg.train_cfg = {'type': 'IterBasedTrainLoop', 'max_iters': STEPS, 'val_interval': 3}
    cfg.train_dataloader.num_workers = workers
    cfg.default_hooks.checkpoint = {
        'type': 'CheckpointHook',
        'interval': 1,
        'by_epoch': False,
        'max_keep_ckpts': 1,
        'save_best': 'PSNR',
        'rule': 'greater',
    }
    return cfg


def train(cfg: Config) -> None:
    """Train as ``tools/train.py`` does."""
    spec = importlib.util.spec_from_file_location('tool_train', ROOT / 'tools/train.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.build_runner(cfg).train()


def write_slowly() -> None:
    """Have checkpoints written in pieces, as large ones are."""
    import io

    save = torch.save

    def slow(content: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        buffer = io.BytesIO()
        save(content, buffer, *args, **kwargs)
        whole = buffer.getvalue()
        for start in range(0, len(whole), len(whole) // 8 + 1):
            file.write(whole[start : start + len(whole) // 8 + 1])
            file.flush()
            time.sleep(0.004)

    torch.save = slow


def start(cfg: Config) -> int:
    """Train in a process of its own, which has everything imported already."""
    process = os.fork()
    if process:
        return process
    os.setsid()
    sink = os.open(os.path.join(cfg.work_dir, 'output.txt'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    code = 1
    try:
        write_slowly()
        train(cfg)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def kill(process: int, work_dir: Path, moment: float, writing: bool) -> int | None:
    """Kill at a moment, or at the first write after it; the exit code if it ended before."""
    begun = time.monotonic()
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        late = time.monotonic() - begun > moment
        if late and (not writing or any(work_dir.glob('.mmsamdistill-writing-*'))):
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return None
        time.sleep(0.001)


def torn(work_dir: Path) -> list[str]:
    """Checkpoints that cannot be read, and a ``last_checkpoint`` that names none."""
    found = []
    for path in work_dir.glob('*.pth'):
        try:
            read_checkpoint(path)
        except ValueError as error:
            found.append(str(error))
    note = work_dir / 'last_checkpoint'
    if note.is_file() and not Path(note.read_text()).is_file():
        found.append(f'last_checkpoint names {note.read_text()!r}, which is not there')
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two parts of checkpoints hold the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def last(work_dir: Path) -> dict[str, Any]:
    """The final state of a run, as far as two runs have it in common."""
    content = read_checkpoint((work_dir / 'last_checkpoint').read_text())
    return {name: content[name] for name in ('state_dict', 'optimizer', 'param_schedulers')}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--kills', type=int, default=200, help='how many (default: 200)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--minutes', type=float, default=60, help='stop after so long')
    return parser.parse_args()


def main() -> int:
    """Kill, resume, compare; print the counts."""
    args = parse_args()
    draw = random.Random(args.seed)
    until = time.monotonic() + 60 * args.minutes
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix='kill_training_'))
    import toy

    data = toy.write_data(folder / 'data')
    # The undisturbed runs; they also import here what the processes then need not.
    wanted, durations = {}, {}
    for distilled in (False, True):
        cfg = settings(data, folder / f'whole_{distilled}', distilled, 0)
        train(cfg)
        wanted[distilled] = last(Path(cfg.work_dir))
        begun = time.monotonic()
        cfg = settings(data, folder / f'timed_{distilled}', distilled, 0)
        Path(cfg.work_dir).mkdir()
        kill(start(cfg), Path(cfg.work_dir), 600, False)
        durations[distilled] = time.monotonic() - begun

    counts: Counter = Counter()
    faults: list[str] = []
    while counts['killed'] < args.kills and time.monotonic() < until and not faults:
        distilled, workers = bool(counts['runs'] % 2), draw.choice([0, 0, 1])
        work_dir = folder / f'run{counts["runs"]}'
        work_dir.mkdir()
        code: int | None = None
        for attempt in range(6):
            writing = draw.random() < 0.6
            moment = draw.uniform(0.1, 1.0) * durations[distilled] if attempt < 5 else 600
            cfg = settings(data, work_dir, distilled, workers)
            code = kill(start(cfg), work_dir, moment, writing and attempt < 5)
            if code is not None:
                break
            counts['killed'] += 1
            counts['killed while writing'] += writing
            faults += torn(work_dir)
        counts['runs'] += 1
        if code != 0:
            faults.append(f'{work_dir}: a run ended with {code}, see output.txt')
        elif not same(last(work_dir), wanted[distilled]):
            faults.append(f'{work_dir}: another end than that of the undisturbed run')
        else:
            shutil.rmtree(work_dir)
    print(', '.join(f'{name}: {number}' for name, number in counts.items()))
    print('\n'.join(faults) or 'nothing torn, nothing lost, every end bit for bit the same')
    if not faults:
        shutil.rmtree(folder)
    return bool(faults)


if __name__ == '__main__':
    sys.exit(main())
