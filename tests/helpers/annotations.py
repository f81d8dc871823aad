"""Writes annotation files with the fields that the programs write, and says which pixels each class has in them.

All of a set of photographs, 6 x 8 pixels, show the same: a wall of 3 x 2 pixels, a door over its last column, a lamp.
"""
import base64
import io
import json
import zlib

import numpy as np
from PIL import Image

from tests.helpers import own

SIZE = 6, 8
NAMES = ('a', 'b', 'c')
# Rows from the top: . is no shape, w the wall, d the door, l the lamp, x void.
PLAN = ('........', '.wdd....', '.wdd.l..', '.....l..', '.....l..', '........')


def classes(plan, names=('background', 'wall', 'door', 'lamp')):
    """A plan as class numbers."""
    letters = {'.': 0, 'w': 1, 'd': 2, 'l': 3, 'x': 255}
    assert len(names) == 4
    return np.array([[letters[letter] for letter in row] for row in plan], np.uint8)


def photos(folder, names=NAMES, suffix='.jpg'):
    for number, name in enumerate(names):
        own.photo(folder / f'{name}{suffix}', SIZE, number)


def rectangle(left, top, right, bottom):
    """Corners of the rectangle of pixels left ... right - 1, top ... bottom - 1."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


WALL, DOOR, LAMP = rectangle(1, 1, 4, 3), rectangle(2, 1, 4, 3), rectangle(5, 2, 6, 5)


def save_json(path, known):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known))


def flat(points):
    return [number for point in points for number in point]


def coco(path, names=NAMES, lamp=None, crowd=False, extra=(), where='', **changes):
    """An instances file, whose ids have gaps and whose categories are not in the order of their ids."""
    categories = [{'supercategory': 'room', 'id': id, 'name': name}
                  for id, name in ((90, 'lamp'), (3, 'wall'), (17, 'door'))]
    annotations = []
    for number, _ in enumerate(names):
        for category, segmentation in ((3, [flat(WALL)]), (17, [flat(DOOR)]), (90, lamp or [flat(LAMP)])):
            annotations.append({'segmentation': segmentation, 'area': 6.0, 'iscrowd': int(crowd and category == 90),
                                'image_id': 139 + 7 * number, 'bbox': [1, 1, 3, 2], 'category_id': category,
                                'id': 1000 + len(annotations)})
    save_json(path, {
        'info': {'description': 'rooms', 'version': '1.0', 'year': 2017},
        'licenses': [{'id': 1, 'name': 'x', 'url': ''}],
        'images': [{'license': 1, 'file_name': f'{where}{name}.jpg', 'coco_url': '', 'height': SIZE[0],
                    'width': SIZE[1], 'date_captured': '', 'flickr_url': '', 'id': 139 + 7 * number}
                   for number, name in enumerate(names)],
        'annotations': [*annotations, *extra], 'categories': categories} | changes)


def cvat_image(number, name, shapes):
    return (f'<image id="{number}" name="{name}" width="{SIZE[1]}" height="{SIZE[0]}">' + ''.join(shapes) + '</image>')


def points(corners):
    return ';'.join(f'{x:.2f},{y:.2f}' for x, y in corners)


def cvat_polygon(label, corners, z=0):
    return (f'<polygon label="{label}" source="manual" occluded="0" points="{points(corners)}" z_order="{z}">'
            '<attribute name="age">3</attribute></polygon>')


# The door is written first and lies above; the lamp is a mask of a box of 3 columns and 3 rows, its middle column.
CVAT_SHAPES = (cvat_polygon('door', DOOR, 1), cvat_polygon('wall', WALL),
               '<mask label="lamp" source="manual" occluded="0" rle="1, 1, 2, 1, 2, 1, 1" left="4" top="2" width="3" '
               'height="3" z_order="0"></mask>', '<tag label="indoor" source="manual"></tag>')


def cvat(path, images=None, labels=('wall', 'door', 'lamp'), head='<?xml version="1.0" encoding="utf-8"?>\n'):
    """annotations.xml of "CVAT for images 1.1"."""
    colours = ('#fa3253', '#33ddff', '#ff6037')
    images = images or [cvat_image(number, f'{name}.jpg', CVAT_SHAPES) for number, name in enumerate(NAMES)]
    listed = ''.join(f'<label><name>{name}</name><color>{colour}</color><type>any</type><attributes></attributes>'
                     '</label>' for name, colour in zip(labels, colours, strict=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head}<annotations><version>1.1</version><meta><job><id>1</id><size>3</size><mode>annotation'
                    f'</mode><labels>{listed}</labels></job><dumped>2026-01-01</dumped></meta>{"".join(images)}'
                    '</annotations>')


def percent(corners, size=SIZE):
    return [[100 * x / size[1], 100 * y / size[0]] for x, y in corners]


def region(kind, label, value, size=SIZE, **more):
    return {'original_width': size[1], 'original_height': size[0], 'image_rotation': 0,
            'value': {**value, f'{kind}labels': [label]}, 'id': f'{kind}{label}', 'from_name': 'label',
            'to_name': 'image', 'type': f'{kind}labels', 'origin': 'manual', **more}


def stream(count, blocks):
    """Label Studio's runs: `blocks` are (value, length) for a run, or a list of values one by one."""
    bits = f'{count:032b}' + '00111' + ''.join(f'{size - 1:04b}' for size in (3, 4, 8, 16))
    for block in blocks:
        run = isinstance(block, tuple)
        length = block[1] if run else len(block)
        which = next(i for i, size in enumerate((3, 4, 8, 16)) if length <= 1 << size)
        bits += f'{run:b}{which:02b}{length - 1:0{(3, 4, 8, 16)[which]}b}'
        bits += ''.join(f'{value:08b}' for value in ((block[0],) if run else block))
    bits += '0' * (-len(bits) % 8)
    return [int(bits[at:at + 8], 2) for at in range(0, len(bits), 8)]


# Of 48 pixels the 22nd, 30th and 38th: rows 2 to 4 of column 5; red, green, blue and opacity of each. The 21st has a
# colour and no opacity.
BRUSH = stream(192, [(0, 80), [5, 5, 5, 0], [9, 8, 7, 255], (0, 28), (255, 4), (0, 28), [0, 0, 3, 128], (0, 40)])


def label_studio(path, images=None, regions=None):
    """An export as JSON; uploaded photographs have eight digits before their names."""
    regions = regions or [region('polygon', 'wall', {'points': percent(WALL), 'closed': True}),
                          region('rectangle', 'door', {'x': 25, 'y': 100 / 6, 'width': 25, 'height': 100 / 3,
                                                       'rotation': 0}),
                          region('brush', 'lamp', {'format': 'rle', 'rle': BRUSH})]
    images = images or [f'/data/upload/1/0f3a9c2{number}-{name}.jpg' for number, name in enumerate(NAMES)]
    save_json(path, [{
        'id': 31 + 2 * number, 'annotations': [{
            'id': 7, 'completed_by': 1, 'result': regions, 'was_cancelled': False, 'ground_truth': False,
            'created_at': '2026-01-01T00:00:00Z', 'lead_time': 3.1, 'task': 31 + 2 * number}],
        'file_upload': image.rpartition('/')[2], 'drafts': [], 'predictions': [], 'data': {'image': image}, 'meta': {},
        'project': 1} for number, image in enumerate(images)])


def png(mask, **options):
    file = io.BytesIO()
    Image.fromarray(np.asarray(mask)).save(file, 'PNG', **options)
    return file.getvalue()


def bitmap(label, mask, left, top):
    """An object of Supervisely, whose PNG has one bit a pixel."""
    data = base64.b64encode(zlib.compress(png(np.asarray(mask, bool)))).decode()
    return {'id': 1, 'classId': 2, 'description': '', 'geometryType': 'bitmap', 'labelerLogin': 'me', 'tags': [],
            'classTitle': label, 'bitmap': {'data': data, 'origin': [left, top]}}


def figure(label, exterior, interior=(), kind='polygon'):
    return {'id': 1, 'classId': 2, 'description': '', 'geometryType': kind, 'labelerLogin': 'me', 'tags': [],
            'classTitle': label, 'points': {'exterior': exterior, 'interior': list(interior)}}


def supervisely(folder, objects=None):
    """A project: meta.json, room/img and room/ann. Its corners are pixels that belong to the polygon."""
    objects = objects or [figure('wall', rectangle(1, 1, 3, 2)), figure('door', [[2, 1], [3, 2]], kind='rectangle'),
                          bitmap('lamp', np.ones((3, 1)), 5, 2)]
    photos(folder / 'room/img')
    save_json(folder / 'meta.json', {'classes': [
        {'id': number, 'title': name, 'shape': 'any', 'color': colour, 'geometry_config': {}, 'hotkey': ''}
        for number, (name, colour) in enumerate((('wall', '#FA3253'), ('door', '#33DDFF'), ('lamp', '#FF6037')))],
        'tags': [], 'projectType': 'images'})
    for name in NAMES:
        save_json(folder / f'room/ann/{name}.jpg.json', {'description': '', 'tags': [], 'objects': objects,
                                                         'size': {'height': SIZE[0], 'width': SIZE[1]}})


def write(kind, folder):
    """Photographs and their annotations in one of `KINDS`."""
    KINDS[kind](folder)


def _coco(lamp):
    def make(folder):
        photos(folder / 'images')
        coco(folder / 'annotations/instances_default.json', lamp=lamp)
    return make


def _beside(writer, name, photographs='images'):
    def make(folder):
        photos(folder / photographs)
        writer(folder / name)
    return make


def _labelme(folder):
    photos(folder)
    for name in NAMES:
        own.polygons(folder / f'{name}.json', SIZE, [('wall', 'polygon', rectangle(1, 1, 3, 2)),
                                                     ('door', 'rectangle', [[2, 1], [3, 2]]),
                                                     ('lamp', 'mask', [[5, 2], [5, 4]])])
        known = json.loads((folder / f'{name}.json').read_text())
        known['shapes'][2]['mask'] = base64.b64encode(png(np.ones((3, 1), bool))).decode()
        save_json(folder / f'{name}.json', known)


KINDS = {
    'coco': _coco(None),
    # Down the columns: 32 pixels before row 2 of column 5, then 3 of the lamp, then 13; as text 32 is 0 with more to
    # come and 1, P1; 3 is 3; 13 is =.
    'coco-runs': _coco({'counts': [32, 3, 13], 'size': [6, 8]}),
    'coco-text': _coco({'counts': 'P13=', 'size': [6, 8]}),
    'cvat': _beside(cvat, 'annotations.xml'),
    'label-studio': _beside(label_studio, 'project-1-at-2026-01-01.json'),
    'supervisely': supervisely,
    'labelme': _labelme,
}
