"""Digits of π, one after the other: `python3 digits.pyz 1000`. By the spigot of Rabinowitz and Wagon, as Gibbons streams it."""

import sys
from collections.abc import Iterator
from itertools import islice


def digits() -> Iterator[int]:
    """3, 1, 4, 1, 5, … for ever."""
    q, r, t, k, n, step = 1, 0, 1, 1, 3, 3
    while True:
        if 4 * q + r - t < n * t:
            yield n
            q, r, n = 10 * q, 10 * (r - n * t), 10 * (3 * q + r) // t - 10 * n
        else:
            q, r, t, n = q * k, (2 * q + r) * step, t * step, (q * (7 * k + 2) + r * step) // (t * step)
            k, step = k + 1, step + 2


if __name__ == "__main__":
    print("".join(map(str, islice(digits(), int(sys.argv[1])))))
