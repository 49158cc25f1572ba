"""A curve with fewer points that looks the same."""

import numpy as np


def thinned(across: np.ndarray, up: np.ndarray, *, within: float) -> tuple[np.ndarray, np.ndarray]:
    """Some of the points, so that no other is further than `within` from the line through them.

    Points that are not finite are left out. First and last stay.

    Source: D. H. Douglas and T. K. Peucker, Algorithms for the reduction of the number of points
        required to represent a digitized line or its caricature, Cartographica 10 (1973).
    """
    points = np.column_stack([across, up])
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 3:
        return points[:, 0], points[:, 1]
    # Of a run of points in one cell of a grid, the first and the last do: a million becomes some
    # thousands in one pass. Its diagonal and what is left below make up `within`.
    points = points[_ends_of_runs(points, within / 4)]
    points = points[_corners(points, within * (1 - 2**0.5 / 4))]
    return points[:, 0], points[:, 1]


def _ends_of_runs(points: np.ndarray, cell: float) -> np.ndarray:
    places = np.floor(points / cell)
    change = (places[1:] != places[:-1]).any(axis=1)
    return np.append(True, change) | np.append(change, True)


def _corners(points: np.ndarray, within: float) -> np.ndarray:
    """The ends, and again and again what is furthest from the chord, if it is too far."""
    keep = np.zeros(len(points), bool)
    keep[[0, -1]] = True
    spans = [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        chord = points[last] - points[first]
        between = points[first + 1 : last] - points[first]
        along = np.clip(between @ chord / max(chord @ chord, np.finfo(float).tiny), 0, 1)
        distances = np.hypot(*(between - along[:, None] * chord).T)
        furthest = int(np.argmax(distances))
        if distances[furthest] > within:
            middle = first + 1 + furthest
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return keep
