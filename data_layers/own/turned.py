"""Photographs that are stored on their side or upside down, with a note (EXIF) how they are to be turned.

`reading` turns every picture as its note says, as cameras, browsers and annotation tools do. A mask without a note may
have been drawn before or after; where its size does not tell, nothing does, and the pair is refused.
"""
from pathlib import Path

from cli import BadInput
from data_layers.own import annotations
from data_layers.own.masks import stored_size
from data_layers.reading import open_picture, orientation, picture_size, tiff_page

REMEDY = "save the photograph turned, as Pillow's ImageOps.exif_transpose does, and see that the mask fits"


def note_of(path: Path) -> int:
    """What EXIF says of a picture, 1 for upright to 8; raises BadInput if its head cannot be read."""
    if (page := tiff_page(path)) is not None:       # of many bands, perhaps, which Pillow does not know
        return page.turned
    with open_picture(path) as picture:
        return orientation(picture)


def uncertain(photo: Path, mask: Path) -> bool:
    """Whether a photograph has a note to turn it, and nothing tells whether its mask was drawn before or after.

    It is told by the size of the mask, where turning swaps height and width; by the same note on the mask; and by an
    annotation file whose program shows photographs turned.

    Raises
    ------
    BadInput
        A file cannot be read.
    """
    note = note_of(photo)
    if note == 1:
        return False
    if annotations.is_drawn(mask):
        return not annotations.upright(mask) and not told_by_size(note, photo, mask)
    return note_of(mask) != note and not told_by_size(note, photo, mask)


def told_by_size(note: int, photo: Path, mask: Path) -> bool:
    """Whether the size of a mask is that of the photograph turned, and only of that."""
    size = picture_size(photo)
    return note > 4 and size is not None and size[0] != size[1] and stored_size(mask) == size


def check(photo: Path, mask: Path) -> None:
    """Refuse a photograph and a mask, or further channels, of which one may have to be turned, with a BadInput."""
    try:
        unsure = uncertain(photo, mask)
    except BadInput:    # told when it is read
        return
    if unsure:
        raise BadInput(f'{photo} has a note (EXIF) to turn it, which is followed here, and nothing shows whether '
                       f'{mask} was made before or after; {REMEDY}')
