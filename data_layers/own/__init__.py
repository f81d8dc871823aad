"""Your own data: found in a folder of photographs and masks, surveyed, described and read as a data set.

`python -m nets new` goes through these in turn:

- `layouts`: which file is the mask of which photograph, and which photographs train, from the names alone; `exported`
  looks into annotation files that describe many photographs
- `classlist`: the list of classes that comes with the data
- `masks`: masks as they are stored, whether class numbers, colours or shapes
- `annotations`: files of shapes, of the formats `coco`, `cvat`, `labelme`, `labelstudio` and `supervisely`; `shapes`
  draws them and `runs` unpacks masks that are stored as runs
- `turned`: photographs that EXIF turns, and whether their masks fit
- `survey`: every photograph and mask read, and the usual mistakes named with their remedy
- `folder`: the description written from that, dataset.json, and the data set it makes
"""
