import cv2
import numpy as np
import pytest

from mmsamdistill.evaluation.label_maps import (
    LABEL_SETS,
    LabelSet,
    find_label_map,
    get_label_set,
    read_label_map,
)

# Name, id and train id, from cityscapesscripts/helpers/labels.py of mcordts/cityscapesScripts.
CITYSCAPES = """
road 7 0|sidewalk 8 1|building 11 2|wall 12 3|fence 13 4|pole 17 5|traffic light 19 6
traffic sign 20 7|vegetation 21 8|terrain 22 9|sky 23 10|person 24 11|rider 25 12|car 26 13
truck 27 14|bus 28 15|train 31 16|motorcycle 32 17|bicycle 33 18
"""
SUFFIX = ('_leftImg8bit', '_gtFine_labelIds.png')


def test_classes_of_cityscapes():
    labels = LABEL_SETS['cityscapes']
    rows = [row.rsplit(' ', 2) for row in CITYSCAPES.strip().replace('\n', '|').split('|')]
    assert len(rows) == len(labels.classes) == 19
    for name, value, train_id in rows:
        assert labels.classes[int(train_id)] == name
        assert labels.values[int(value)] == int(train_id)
        assert LABEL_SETS['cityscapes_train_ids'].values[int(train_id)] == int(train_id)
    counted = {int(value) for _, value, _ in rows}
    ignored = {value for value, each in labels.values.items() if each == 255}
    assert ignored == {*range(34), 255} - counted


def test_reading(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.array([[0, 7, 33], [255, 26, 9]], np.uint8))
    classes = read_label_map(tmp_path / 'a.png', get_label_set('cityscapes'))
    assert classes.tolist() == [[255, 0, 18], [255, 13, 255]]


def test_wrong_files(tmp_path):
    labels = get_label_set('cityscapes_train_ids')
    cv2.imwrite(str(tmp_path / 'ids.png'), np.array([[7, 33]], np.uint8))
    with pytest.raises(ValueError, match=r'ids\.png: the values \[33\] .*cityscapes_train_ids'):
        read_label_map(tmp_path / 'ids.png', labels)
    cv2.imwrite(str(tmp_path / 'color.png'), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=r'color\.png: .*not colours'):
        read_label_map(tmp_path / 'color.png', labels)
    (tmp_path / 'broken.png').write_bytes(b'nothing')
    with pytest.raises(ValueError, match=r'broken\.png cannot be read'):
        read_label_map(tmp_path / 'broken.png', labels)
    with pytest.raises(FileNotFoundError, match=r'none\.png'):
        read_label_map(tmp_path / 'none.png', labels)


def test_label_sets_of_ones_own():
    mine = {'name': 'mine', 'classes': ['cat', 'dog'], 'values': {'0': 255, '500': 1}}
    labels = get_label_set(mine)
    assert get_label_set(labels) is labels
    assert labels.decode(np.array([[0, 500]], np.uint16)).tolist() == [[255, 1]]
    with pytest.raises(KeyError, match=r"'voc'.*'cityscapes'"):
        get_label_set('voc')
    with pytest.raises(ValueError, match=r'\{1: 2\}'):
        LabelSet('x', ('cat', 'dog'), {1: 2})
    with pytest.raises(ValueError, match='0 classes'):
        LabelSet('x', (), {})


@pytest.mark.parametrize('place', ['ulm/', ''])
@pytest.mark.parametrize(
    'image', ['ulm_01_leftImg8bit.png', 'ulm_01_leftImg8bit_rain_alpha_0.01.png', 'ulm_01.png']
)
def test_finding(tmp_path, place, image):
    path = tmp_path / place / 'ulm_01_gtFine_labelIds.png'
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert find_label_map(f'/data/val/ulm/{image}', tmp_path, SUFFIX) == path


def test_same_names_and_missing_maps(tmp_path):
    (tmp_path / 'a.b.png').touch()
    assert find_label_map('/data/a.b.jpg', tmp_path, ('', '.png')) == tmp_path / 'a.b.png'
    with pytest.raises(FileNotFoundError, match=r'/data/x/1\.png.*x/1\.png and .*label_root'):
        find_label_map('/data/x/1.png', tmp_path, ('', '.png'))
