// Activations, by the numbers of config::Activation.
const ACTIVATION: u32 = 0u;

const ROUNDED: u32 = 0u; // 1 if results are rounded to f16

// The complementary error function to within 1.2e-7 of its value (Numerical Recipes, 3rd edition, section 6.2.2),
// so that GELU's negative tail, which 1 + erf would lose to rounding, keeps its digits; where they are rounded, to within 3e-7 by half as many
// instructions, because on an H200 the others take a seventh of the time of a product (Abramowitz and Stegun 1964, 7.1.28).
fn complementary_error_function(x: f32) -> f32 {
    let z = abs(x);
    if ROUNDED == 1u {
        var root = 0.0000430638;
        root = root * z + 0.0002765672;
        root = root * z + 0.0001520143;
        root = root * z + 0.0092705272;
        root = root * z + 0.0422820123;
        root = root * z + 0.0705230784;
        root = 1.0 / (root * z + 1.0);
        let square = root * root;
        let fourth = square * square;
        let eighth = fourth * fourth;
        return select(eighth * eighth, 2.0 - eighth * eighth, x < 0.0);
    }
    let t = 1.0 / (1.0 + 0.5 * z);
    var p = 0.17087277;
    p = p * t - 0.82215223;
    p = p * t + 1.48851587;
    p = p * t - 1.13520398;
    p = p * t + 0.27886807;
    p = p * t - 0.18628806;
    p = p * t + 0.09678418;
    p = p * t + 0.37409196;
    p = p * t + 1.00002368;
    let upper = t * exp(p * t - 1.26551223 - z * z);
    return select(upper, 2.0 - upper, x < 0.0);
}

// tanh from exp: the built-in overflows to NaN for large arguments on some Metal drivers.
fn hyperbolic_tangent(x: f32) -> f32 {
    let e = exp(-2.0 * abs(x));
    return sign(x) * (1.0 - e) / (1.0 + e);
}

fn activate(x: f32) -> f32 {
    switch ACTIVATION {
        case 0u: { return 0.5 * x * complementary_error_function(-0.70710678 * x); } // GELU; 1/sqrt(2)
        case 1u: { return 0.5 * x * (1.0 + hyperbolic_tangent(0.79788456 * (x + 0.044715 * x * x * x))); } // GELU with tanh; sqrt(2/pi)
        case 2u: { return x / (1.0 + exp(-1.702 * x)); } // quick GELU
        case 3u: { return max(x, 0.0); } // ReLU
        case 4u: { return hyperbolic_tangent(x); } // tanh
        case 6u: { return 1.0 / (1.0 + exp(-x)); } // sigmoid
        default: { return x / (1.0 + exp(-x)); } // SiLU
    }
}
