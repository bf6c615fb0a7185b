"""Fits the coefficients of GELU in shaders/common/activation.wgsl and src/execution/cpu/activation.rs.

    python benches/gelu.py    # needs numpy and scipy

GELU is max(x, 0) - |x| · Φ(-|x|). The root of Φ(-s) is fitted for s up to 6 by a rational function P(s) / Q(s) with Q(0) = 1, so that the largest error
of Φ, as a multiple of what is allowed, is smallest: a weighted linear fit of P - root · Q (Sanathanan and Koerner 1963), whose weights grow where the error
is large (Lawson 1961).
"""

import numpy as np
from scipy.special import erfc

DEGREES = 4, 7
END = 6.0

s = END * (1 - np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)) / 2
phi = erfc(s / np.sqrt(2)) / 2
root = np.sqrt(phi)
# About an ulp of Φ, and an error of GELU that is small beside that of its rounding, and smaller in the tail.
allowed = 1e-7 * phi + 0.25e-7 / np.maximum(s, 1) ** 2

p_powers, q_powers = (np.vander(s, degree + 1, increasing=True) for degree in DEGREES)
q_values, weights = np.ones_like(s), np.ones_like(s)
best = np.inf
for _ in range(3000):
    scale = np.sqrt(weights) * 2 * root / (allowed * q_values)
    system = np.hstack([p_powers, -root[:, None] * q_powers[:, 1:]]) * scale[:, None]
    sizes = np.linalg.norm(system, axis=0)
    solution = np.linalg.lstsq(system / sizes, root * scale, rcond=None)[0] / sizes
    p, q = solution[: DEGREES[0] + 1], np.r_[1, solution[DEGREES[0] + 1 :]]
    q_values = q_powers @ q
    error = np.abs((p_powers @ p / q_values) ** 2 - phi) / allowed
    if error.max() < best:
        best, coefficients = error.max(), (p, q)
    weights *= error / error.max()
    weights = np.maximum(weights / weights.max(), 1e-12)

p, q = (fitted.astype(np.float32) for fitted in coefficients)
print(f"largest error, of what is allowed: {best:.3f}")
print("numerator, highest power first:  ", *p[::-1])
print("denominator, highest power first:", *q[::-1])
