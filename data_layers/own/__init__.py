"""Your own data: found in a folder of photographs and masks, surveyed, described and read as a data set.

`python -m nets new` goes through these in turn:

- `layouts`: which file is the mask of which photograph, and which photographs train, from the names alone
- `classlist`: the list of classes that comes with the data
- `masks`: masks as they are stored, whether class numbers, colours or labelme's polygons
- `survey`: every photograph and mask read, and the usual mistakes named with their remedy
- `folder`: the description written from that, dataset.json, and the data set it makes
"""
