"""HHA images from depth: horizontal disparity, height above ground, angle with gravity.

The input that Gupta et al. made of depth (Learning Rich Features from RGB-D Images for Object Detection and
Segmentation, ECCV 2014, section 2.2), and that NYUDv2's nets take. A camera with focal lengths fx, fy and centre cx, cy
sees the pixel in column u and row v along the ray r = ((u - cx) / fx, (v - cy) / fy, 1): x to the right, y down and z
forward, pixels counted from 0 at their centres. At depth Z lies the point P = Z r.

- Normals: points of a plane have n . P = 1, so n . r = 1 / Z, which is linear in u and v. A least-squares fit of 1 / Z
  to u and v in a square window gives n. The errors of a stereo or structured-light camera are alike in 1 / Z.
- Gravity (Gupta et al., Perceptual Organization and Recognition of Indoor Scenes from RGB-D Images, CVPR 2013, section
  3.1): the direction g to which most normals are parallel, as those of floors, or orthogonal, as those of walls. From
  the y axis on, with the normals within d of parallel (A) and of orthogonal (O) to the last estimate, g is the
  eigenvector of the smallest eigenvalue of O O' - A A'; five times with d = 45 degrees, five with 15. Windows across
  the edges of things do not count here, and where one wall alone leaves g open, the last estimate decides.
- Three bytes a pixel, rounded and clipped, with the numbers that the authors published: 31000 / Z for Z in centimetres;
  the height of P above the floor in centimetres; the angle between n, which points away from the camera, and g in
  degrees, plus 38. So a floor has 38 as its third channel, a wall 128, a ceiling 218.

Where depth is missing, that of the nearest pixel that has one is taken, as the authors filled theirs; normals, gravity
and floor come from measured pixels alone.
"""
import functools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

import cli
import files
from cli import BadInput, Failed
from data_layers.palette import save, stamp, stamped
from data_layers.reading import MOST_PIXELS, open_picture, read_pixels, regular, unreadable
from workers import spread

SUFFIXES = {'.png', '.tif', '.tiff', '.npy'}
MODES = ('I', 'I;16', 'I;16B', 'I;16L', 'I;16N', 'F')     # of pictures that may hold depth
UNITS = {'i': 0.001, 'u': 0.001, 'f': 1.0}      # metres a value, by kind of number: millimetres, or metres as floats
SATURATED = 65535       # of 16 bits: no measurement either
SANE = 0.05, 200.0      # metres: the median depth of a scene
FINE, COARSE = 3, 10    # half the side of the window of a normal, in pixels: for the angle, and for gravity
STEPS = ((45, 5), (15, 5))      # degrees within which normals are parallel or orthogonal to gravity, and how often
PLANE = 4.0             # misfits of a plane at most, in medians
INERTIA = 0.01          # weight of the last estimate of gravity, which counts where one wall alone is in sight
DISPARITY = 310.0       # 31000 over centimetres
SLACK = 38              # degrees that are added to the angle: 128 - 90
LOWEST = 0.5            # percent of the measured points may lie below the floor by mistake
BAND, FLAT, ENOUGH = 0.1, 15, 0.01     # the floor: metres from the lowest, degrees from level, share of the pixels
SEEN, ASSUMED = 0.9, 1.3    # metres below the camera: a floor in sight is at least so low, another is so low
SOFTWARE = 'python -m data_layers hha'
FLOATS = npt.NDArray[np.float64]


class Camera(NamedTuple):
    """Focal lengths and centre of a camera, in pixels."""
    fx: float
    fy: float
    cx: float
    cy: float


class Scene(NamedTuple):
    """What was found in a depth image.

    Attributes
    ----------
    image : array
        H x W x 3, uint8: disparity, height, angle.
    gravity : array
        3, of length 1: down, in the camera's x, y and z.
    camera : float
        Metres of the camera above the floor.
    seen : bool
        Whether the floor is in sight, or its place is known.
    missing : float
        Share of the pixels without depth.
    """
    image: npt.NDArray[np.uint8]
    gravity: FLOATS
    camera: float
    seen: bool
    missing: float

    @property
    def pitch(self) -> float:
        """Degrees by which the camera looks down."""
        return math.degrees(math.asin(max(-1.0, min(1.0, float(self.gravity[2])))))


def hha(depth: npt.NDArray[np.floating], camera: Camera, height: float | None = None) -> Scene:
    """The HHA image of a depth image.

    Parameters
    ----------
    depth : array
        H x W, metres along the optical axis; missing where it is 0, negative or no number.
    camera : Camera
        Of images of this size.
    height : float, optional
        Metres of the camera above the floor; by default they are estimated.

    Returns
    -------
    Scene

    Raises
    ------
    BadInput
        There is no depth, or no surface, in it.
    """
    with np.errstate(invalid='ignore'):
        known = np.isfinite(depth) & (depth > 0)
    if not known.any():
        raise BadInput('has no depth at any pixel')
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = depth.astype(np.float64)[tuple(nearest)]
    gravity = down(*normals(filled, known, camera, COARSE))
    facing, _ = normals(filled, known, camera, FINE)
    flat = np.isfinite(facing[..., 0])
    if not flat.any() or not gravity.any():
        raise BadInput('has no surface in it: its depths are too few, or too far from each other')
    facing = facing[tuple(ndimage.distance_transform_edt(~flat, return_distances=False, return_indices=True))]
    angle = np.degrees(np.arccos(np.clip(facing @ gravity, -1, 1)))
    up = -filled * (rays(depth.shape, camera) @ gravity)        # metres above the camera
    floor, seen = (floor_of(up[known], angle[known]) if height is None else (-height, True))
    channels = DISPARITY / filled, 100 * (up - floor), angle + SLACK
    image = np.clip(np.rint(np.stack(channels, -1)), 0, 255).astype(np.uint8)
    return Scene(image, gravity, -floor, seen, 1 - float(known.mean()))


def rays(shape: Sequence[int], camera: Camera) -> FLOATS:
    """The ray of every pixel, H x W x 3, with 1 along the optical axis."""
    rows, columns = np.indices(shape, np.float64)
    return np.stack(((columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, np.ones(shape)), -1)


def normals(depth: FLOATS, known: npt.NDArray[np.bool_], camera: Camera, radius: int) -> tuple[FLOATS, FLOATS]:
    """The normals of the planes that fit depth best around every pixel.

    With w = 1 / Z = a u + b v + c by least squares over the known pixels of a window, u and v from its middle,
    n = (a fx, b fy, w at the camera's centre).

    Parameters
    ----------
    depth : array
        H x W, metres, above 0.
    known : array
        H x W: which of them count.
    camera : Camera
    radius : int
        The window is 2 `radius` + 1 pixels wide and high.

    Returns
    -------
    normals : array
        H x W x 3, of length 1, away from the camera; NaN where the known pixels of the window are too few or in a line.
    misfit : array
        H x W: root mean square of what the fit leaves of 1 / Z, as a share of it; NaN as before.
    """
    offsets = np.arange(-radius, radius + 1, dtype=np.float64)
    ones = np.ones_like(offsets)

    def total(values: FLOATS, by_row: FLOATS, by_column: FLOATS) -> FLOATS:
        """The sum over the window of values times the weights of their rows and columns."""
        across = ndimage.correlate1d(values, by_column, axis=1, mode='constant')
        result: FLOATS = ndimage.correlate1d(across, by_row, axis=0, mode='constant')
        return result

    there = known.astype(np.float64)
    inverse = np.where(known, 1 / depth, 0)
    count = np.maximum(total(there, ones, ones), 1)
    mean_u, mean_v = total(there, ones, offsets) / count, total(there, offsets, ones) / count
    mean_w = total(inverse, ones, ones) / count
    var_w = total(inverse ** 2, ones, ones) / count - mean_w ** 2
    var_u = total(there, ones, offsets ** 2) / count - mean_u ** 2
    var_v = total(there, offsets ** 2, ones) / count - mean_v ** 2
    cov_uv = total(there, offsets, offsets) / count - mean_u * mean_v
    cov_uw = total(inverse, ones, offsets) / count - mean_u * mean_w
    cov_vw = total(inverse, offsets, ones) / count - mean_v * mean_w
    spread_out = var_u * var_v - cov_uv ** 2
    enough = known & (count >= len(offsets) ** 2 / 4) & (spread_out > 0.1)
    spread_out[~enough] = np.nan
    a = (cov_uw * var_v - cov_vw * cov_uv) / spread_out
    b = (cov_vw * var_u - cov_uw * cov_uv) / spread_out
    rows, columns = np.indices(depth.shape, np.float64)
    at_centre = mean_w - a * (mean_u + columns - camera.cx) - b * (mean_v + rows - camera.cy)
    result = np.stack((a * camera.fx, b * camera.fy, at_centre), -1)
    result /= np.linalg.norm(result, axis=-1, keepdims=True)
    return result, np.sqrt(np.maximum(var_w - a * cov_uw - b * cov_vw, 0)) / mean_w


def down(normals: FLOATS, misfit: FLOATS) -> FLOATS:
    """The direction of gravity, by the normals of a scene whose camera is held upright, within 45 degrees.

    Parameters
    ----------
    normals, misfit : array
        H x W x 3 and H x W, as of `normals`. Windows that fit much worse than most lie across an edge and do not count.

    Returns
    -------
    array
        3, of length 1; zeros where there is no normal.
    """
    fits = misfit[np.isfinite(misfit)]
    if not fits.size:
        return np.zeros(3)
    found = normals[misfit <= max(PLANE * float(np.median(fits)), 1e-6)]
    gravity = np.array([0.0, 1.0, 0.0])
    for degrees, times in STEPS:
        parallel, orthogonal = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        for _ in range(times):
            cosine = abs(found @ gravity)
            spread_of = [np.einsum('ni,nj->ij', some, some)
                         for some in (found[cosine < orthogonal], found[cosine > parallel])]
            used = float(np.trace(spread_of[0] + spread_of[1]))
            _, vectors = np.linalg.eigh(spread_of[0] - spread_of[1] - INERTIA * used * np.outer(gravity, gravity))
            gravity = vectors[:, 0] * (1 if vectors[:, 0] @ gravity >= 0 else -1)
    return gravity


def floor_of(up: FLOATS, angle: FLOATS) -> tuple[float, bool]:
    """Where the floor is, by the measured points of a scene.

    The median of the level surfaces around the lowest points, or where there are too few of them, the lowest points. A
    floor less than `SEEN` below the camera is out of sight, and assumed `ASSUMED` below it, as the authors' is.

    Parameters
    ----------
    up : array
        Metres above the camera.
    angle : array
        Degrees between normal and gravity.

    Returns
    -------
    floor : float
        Metres above the camera, so below 0.
    seen : bool
        Whether it is in sight.
    """
    floor = float(np.percentile(up, LOWEST))
    level = up[(angle < FLAT) & (abs(up - floor) < BAND)]
    if len(level) >= ENOUGH * len(up):
        floor = float(np.median(level))
    return (floor, True) if floor <= -SEEN else (-ASSUMED, False)


# Files.

def read_depth(path: Path, unit: float | None = None) -> FLOATS:
    """Read a depth image: 16 or 32 bit, or float, as PNG, TIFF or .npy.

    Parameters
    ----------
    path : path
    unit : float, optional
        Metres a value; by default 0.001 of integers and 1 of floats.

    Returns
    -------
    array
        H x W, metres; 0 where integers are `SATURATED`.

    Raises
    ------
    BadInput
        The file is missing, corrupt or of another kind, or the unit is a wrong one.
    """
    if path.suffix.lower() == '.npy':
        values = load_npy(path)
    else:
        picture = read_pixels(path)
        check_mode(path, picture)
        values = np.asarray(picture)
    depth: FLOATS = values.astype(np.float64) * (UNITS[values.dtype.kind] if unit is None else unit)
    if values.dtype.kind != 'f':
        depth[values == SATURATED] = 0
    with np.errstate(invalid='ignore'):
        known = depth[np.isfinite(depth) & (depth > 0)]
    if len(known) and not SANE[0] <= (median := float(np.median(known))) <= SANE[1]:
        raise BadInput(f'{path} has a median depth of {median:g} m; say with --unit how many metres a value is, such '
                       'as 0.001 for millimetres')
    return depth


def check_mode(path: Path, picture: Image.Image) -> None:
    """Refuse a picture that holds no depth."""
    if picture.mode not in MODES:
        raise BadInput(f'{path} is a {picture.mode} picture of 8 bits; depth is stored in 16 bits or as floats')


def load_npy(path: Path) -> npt.NDArray[np.generic]:
    """Open an array of numbers, H x W, that numpy has written; its values are read later."""
    regular(path)
    try:
        values: npt.NDArray[np.generic] = np.load(path, mmap_mode='r', allow_pickle=False)
    except Exception as problem:    # a corrupt head makes numpy raise almost anything
        raise unreadable(path, problem) from None
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in UNITS or not (
            0 < values.size <= MOST_PIXELS) or values.itemsize < 2:
        raise BadInput(f'{path} holds no depth but an array of shape {getattr(values, "shape", "?")} and type '
                       f'{getattr(values, "dtype", "?")}; save H x W values of 16 bits or more, or floats')
    return values


def depth_files(folder: Path) -> list[Path]:
    """The depth images of a folder, sorted.

    Raises
    ------
    BadInput
        It is no folder, has none, or two would give images of one name.
    """
    if not folder.is_dir():
        raise BadInput(f'{folder} is not a folder of depth images')
    entries = sorted(path for path in folder.iterdir() if not path.is_dir() and not path.name.startswith('.'))
    found = [path for path in entries if path.suffix.lower() in SUFFIXES]
    if not found:
        raise BadInput(f'{folder} has no depth image; known are {", ".join(sorted(SUFFIXES))}')
    stems: dict[str, Path] = {}
    for path in found:
        if path.stem in stems:
            raise BadInput(f'{stems[path.stem]} and {path} would give images of one name; rename one of them')
        stems[path.stem] = path
    if others := [path.name for path in entries if path not in found]:
        cli.say(f'warning: {folder} has {len(others)} files that are not read: {", ".join(others[:5])}'
                + (', ...' if len(others) > 5 else ''))
    return found


def check_file(path: Path, camera: Camera) -> None:
    """Refuse a file whose head says that it holds no depth, or whose size is not the camera's."""
    if path.suffix.lower() == '.npy':
        height, width = load_npy(path).shape
    else:
        with open_picture(path) as picture:
            check_mode(path, picture)
            width, height = picture.size
    if not (0 <= camera.cx < width and 0 <= camera.cy < height):
        raise BadInput(f'--camera: its centre {camera.cx:g},{camera.cy:g} lies outside of {path}, which is '
                       f'{width}x{height} pixels; give fx,fy,cx,cy of images of that size')


class Outcome(NamedTuple):
    """What became of a file: facts of its scene, None where its image was there already, or why there is none."""
    facts: tuple[float, float, bool, float] | None = None       # pitch, camera, seen, missing
    problem: str | None = None


def convert(camera: Camera, unit: float | None, height: float | None, out: Path, path: Path) -> Outcome:
    """Write the HHA image of a depth file, unless it is there, made of the same depth in the same way."""
    target = out / f'{path.stem}.png'
    try:
        made_of = json.dumps({'camera': camera, 'unit': unit, 'height': height, 'depth': files.sha256(path)})
        if stamped(target) == {'Software': SOFTWARE, 'Comment': made_of}:
            return Outcome()
        scene = hha(read_depth(path, unit), camera, height)
        save(target, Image.fromarray(scene.image), 'PNG', pnginfo=stamp(Software=SOFTWARE, Comment=made_of))
    except BadInput as problem:
        return Outcome(problem=str(problem) if str(path) in str(problem) else f'{path} {problem}')
    return Outcome((scene.pitch, scene.camera, scene.seen, scene.missing))


def convert_folder(folder: Path, camera: Sequence[float], out: Path | None = None, unit: float | None = None,
                   height: float | None = None, workers: int | None = None) -> str:
    """Write the HHA images of a folder of depth images.

    Parameters
    ----------
    folder : path
    camera : sequence of float
        fx, fy, cx and cy, in pixels.
    out : path, optional
        Gets a PNG for each file; by default `hha` beside `folder`.
    unit, height
        As for `read_depth` and `hha`.
    workers : int, optional
        Processes; by default one a core.

    Returns
    -------
    str
        What was found and written.

    Raises
    ------
    BadInput
        The call is wrong, a file is none of depth, or none could be converted; or one would be written over.
    Failed
        Some could not be converted; says which, the others are written.
    """
    if len(camera) != 4 or not all(map(math.isfinite, camera)) or min(camera[:2]) <= 0:
        raise BadInput(f'--camera {",".join(f"{value:g}" for value in camera)}: give fx,fy,cx,cy in pixels, such as '
                       '525,525,319.5,239.5')
    for name, value in (('unit', unit), ('height', height), ('workers', workers)):
        if value is not None and not 0 < value < math.inf:
            raise BadInput(f'--{name} {value:g}: give a number above 0')
    lens, paths = Camera(*camera), depth_files(folder)
    out = folder.resolve().parent / 'hha' if out is None else out
    cli.check_output_folder(out, paths)
    for path in paths:
        check_file(path, lens)
        check_target(out / f'{path.stem}.png')
    with files.new_folder(out):
        work = spread(functools.partial(convert, lens, unit, height, out), paths, workers)
        outcomes = list(cli.progress(work, total=len(paths), desc='hha', unit='image', leave=False))
        problems = [one.problem for one in outcomes if one.problem is not None]
        if len(problems) == len(paths):
            raise BadInput(problems[0] + (f' (of {len(paths)} images none was made)' if len(paths) > 1 else ''))
    if problems:
        raise Failed(f'{len(problems)} of {len(paths)} images were not made: {"; ".join(problems[:5])}'
                     f'{"; ..." if len(problems) > 5 else ""}; the others are in {out}')
    return summary(outcomes, out)


def check_target(path: Path) -> None:
    """Refuse to write over anything but an HHA image of this command."""
    if path.exists():
        cli.check_output(path)
        if stamped(path).get('Software') != SOFTWARE:
            raise BadInput(f'{path} exists and was not made by {SOFTWARE}; name another folder with --out')


def summary(outcomes: Iterable[Outcome], out: Path) -> str:
    """What was found and written, in lines."""
    outcomes = list(outcomes)
    facts = [one.facts for one in outcomes if one.facts is not None]
    lines = [f'{len(facts)} images written to {out}'
             + (f', {len(outcomes) - len(facts)} were there already' if len(facts) < len(outcomes) else '')]
    if facts:
        pitches, heights, seen, missing = zip(*facts, strict=True)
        lines += [f'  camera      looks down by {between(pitches, 1)} degrees',
                  f'  its height  {between(heights, 2)} m above the floor'
                  + (f'; the floor is out of sight in {seen.count(False)}, where {ASSUMED} m are assumed (--height '
                     'says how high the camera is)' if False in seen else ''),
                  f'  missing     {100 * sum(missing) / len(missing):.1f} % of the depths, filled from beside']
    return '\n'.join(lines)


def between(values: Iterable[float], digits: int) -> str:
    """The smallest and the largest of numbers, once where they are written alike."""
    ordered = sorted(values)
    low, high = (f'{end:.{digits}f}' for end in (ordered[0], ordered[-1]))
    return low if low == high else f'{low} to {high}'
