import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# One interpreter for all that needs a fresh one: MMagic and a failing part of it come first, no
# warning is tolerated, and a worker that is not forked unpickles a dataset without help.
SCRIPT = """
import sys, warnings
import numpy, torch, mmengine, cv2, mmcv
try:
    import mmagic.utils
except Exception as error:  # numpy.bool8, or MMCV 2.2
    assert isinstance(error, (AttributeError, AssertionError)), error
before = set(sys.modules)
with warnings.catch_warnings():
    warnings.simplefilter('error')
    from mmsamdistill import compat
    compat.activate()
heavy = {'mmagic.models', 'mmagic.datasets', 'mmagic.evaluation', 'segment_anything', 'skimage'}
heavy |= {'diffusers', 'transformers'}
assert {'mmsamdistill.datasets', 'mmsamdistill.evaluation'} < set(sys.modules)
assert not heavy & set(sys.modules) - before, heavy & set(sys.modules) - before
from mmagic.utils import register_all_modules
register_all_modules()
from mmagic.registry import DATASETS, MODELS, HOOKS, METRICS, VISUALIZERS, LOOPS
assert MODELS.get('NAFNet') and METRICS.get('PSNR') and HOOKS.get('BasicVisualizationHook')
assert VISUALIZERS.get('ConcatImageVisualizer') and LOOPS.get('MultiValLoop')
unasked = {'diffusers', 'transformers', 'lpips', 'albumentations', 'pkg_resources'} - before
assert not unasked & set(sys.modules), unasked & set(sys.modules)
if __name__ == '__main__':
    folder = sys.argv[1]
    cv2.imwrite(folder + '/a.png', numpy.zeros((8, 8, 3), numpy.uint8))
    dataset = DATASETS.build(dict(
        type='BasicImageDataset', metainfo=dict(dataset_type='a', task_name='b'), data_root=folder,
        data_prefix=dict(img=''), pipeline=[dict(type='LoadImageFromFile', key='img')]))
    loader = torch.utils.data.DataLoader(
        dataset, num_workers=1, multiprocessing_context='spawn', collate_fn=list)
    # The worker must not find the remedies by running this script again.
    main = sys.modules['__main__']
    main.__file__, main.__spec__ = None, None
    batch = next(iter(loader))
    assert batch[0]['img'].shape == (8, 8, 3)
    print('fine')
"""


@pytest.mark.slow
def test_a_fresh_interpreter(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        cwd=ROOT,
        env={'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'PATH': '', 'HOME': str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith('fine')
