"""Depth of a room whose heights and directions are known by construction: rays cast on planes and a box."""
from typing import NamedTuple

import numpy as np

CAMERA = 260.0, 262.0, 158.5, 121.0     # fx, fy, cx, cy
SIZE = 240, 320
NOISE = 1.5e-3    # of 1 / Z, in 1 / metres: 1.4 cm at 3 m


class Room(NamedTuple):
    """What a camera sees: depth along its axis in metres, height above the floor, angle between surface and gravity.

    All H x W; `surface` is 0 for the floor, 1 and 2 for walls, 3 for the ceiling, 4 for the top of the box, and from 5
    on for its sides. `gravity` is in the camera's axes.
    """
    depth: np.ndarray
    height: np.ndarray
    angle: np.ndarray
    surface: np.ndarray
    gravity: np.ndarray


def room(height=1.4, pitch=15.0, roll=0.0, back=3.0, right=1.5, ceiling=2.6, box=((-0.6, 0.2), (1.8, 2.4), 0.5),
         camera=CAMERA, size=SIZE):
    """A camera `height` above the floor looks down by `pitch` degrees and is rolled by `roll` degrees.

    In the room's axes x is to the right, y down and z forward, the camera at 0. The box has sides x, z and its height.
    """
    p, r = np.radians([pitch, roll])
    pitched = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])  # of the camera's axes, in
    rolled = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])   # the room's, as columns
    turn = pitched @ rolled
    fx, fy, cx, cy = camera
    v, u = np.indices(size)
    rays = np.stack(((u - cx) / fx, (v - cy) / fy, np.ones(size)), -1) @ turn.T
    faces = [(1, height, None), (2, back, None), (0, right, None), (1, height - ceiling, None)]
    if box:
        (x0, x1), (z0, z1), tall = box
        spans = (x0, x1), (height - tall, height), (z0, z1)
        faces += [(1, height - tall, spans), (2, z0, spans), (0, x0, spans), (0, x1, spans)]
    depth, surface = np.full(size, np.inf), np.full(size, -1)
    for number, (axis, place, spans) in enumerate(faces):
        with np.errstate(divide='ignore', invalid='ignore'):
            t = place / rays[..., axis]
            hit = (t > 0) & (t < depth)
            for other in ({0, 1, 2} - {axis} if spans else ()):
                at = t * rays[..., other]
                hit &= (at >= spans[other][0]) & (at <= spans[other][1])
        depth[hit], surface[hit] = t[hit], number
    angles = np.array([0, 90, 90, 180, 0, 90, 90, 90.0])
    return Room(depth, height - depth * rays[..., 1], angles[surface], surface, turn.T @ [0, 1, 0])


def measured(depth, seed=0, noise=NOISE, holes=0.1):
    """Depth as a structured-light camera gives it: noise in 1 / Z, millimetres, pixels and a whole patch missing."""
    rng = np.random.default_rng(seed)
    values = np.rint(1000 / (1 / depth + rng.normal(0, noise, depth.shape))).astype(np.uint16)
    values[rng.random(depth.shape) < holes] = 0
    values[60:90, 100:160] = 0
    return values
