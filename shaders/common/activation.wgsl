// Activations, by the numbers of config::Activation.
const ACTIVATION: u32 = 0u;

// GELU, x · Φ(x) = max(x, 0) - |x| · Φ(-|x|), with Φ(-s) as the square of a rational function, which has no cancellation: the negative tail keeps
// digits that 1 + erf would lose to rounding. `benches/gelu.py` fits it. Beyond 6, Φ is less than 1e-9, and the fit ends.
fn gelu(x: f32) -> f32 {
    let s = abs(x);
    var p = 0.0004404191;
    p = p * s - 0.010908697;
    p = p * s + 0.10278893;
    p = p * s - 0.43690738;
    p = p * s + 0.70710677;
    var q = 0.000040115585;
    q = q * s - 0.00014622722;
    q = q * s + 0.0008514999;
    q = q * s + 0.0034307402;
    q = q * s - 0.012705523;
    q = q * s + 0.13760029;
    q = q * s - 0.21893801;
    q = q * s + 1.0;
    let root = select(0.0, p / q, s < 6.0);
    return max(x, 0.0) - s * (root * root);
}

// tanh from exp: the built-in overflows to NaN for large arguments on some Metal drivers.
fn hyperbolic_tangent(x: f32) -> f32 {
    let e = exp(-2.0 * abs(x));
    return sign(x) * (1.0 - e) / (1.0 + e);
}

fn activate(x: f32) -> f32 {
    switch ACTIVATION {
        case 0u: { return gelu(x); }
        case 1u: { return 0.5 * x * (1.0 + hyperbolic_tangent(0.79788456 * (x + 0.044715 * x * x * x))); } // GELU with tanh; sqrt(2/pi)
        case 2u: { return x / (1.0 + exp(-1.702 * x)); } // quick GELU
        case 3u: { return max(x, 0.0); } // ReLU
        case 4u: { return hyperbolic_tangent(x); } // tanh
        case 6u: { return 1.0 / (1.0 + exp(-x)); } // sigmoid
        default: { return x / (1.0 + exp(-x)); } // SiLU
    }
}
