// Activations, by the numbers of config::Activation.
const ACTIVATION: u32 = 0u;

// Rational approximation of the error function, odd polynomial of degree 13 over even one of degree 8
// on [-4, 4], where erf reaches 1 in f32: the coefficients are those of XLA's and Eigen's f32 erf.
// Its absolute error is below 3e-7; the test `error_function_is_accurate` holds it to that.
fn error_function(value: f32) -> f32 {
    let x = clamp(value, -4.0, 4.0);
    let s = x * x;
    var p = -2.72614225801306e-10;
    p = p * s + 2.77068142495902e-08;
    p = p * s - 2.10102402082508e-06;
    p = p * s - 5.69250639462346e-05;
    p = p * s - 7.34990630326855e-04;
    p = p * s - 2.95459980854025e-03;
    p = p * s - 1.60960333262415e-02;
    var q = -1.45660718464996e-05;
    q = q * s - 2.13374055278905e-04;
    q = q * s - 1.68282697438203e-03;
    q = q * s - 7.37332916720468e-03;
    q = q * s - 1.42647390514189e-02;
    return x * p / q;
}

// tanh from exp: the built-in overflows to NaN for large arguments on some Metal drivers.
fn hyperbolic_tangent(x: f32) -> f32 {
    let e = exp(-2.0 * abs(x));
    return sign(x) * (1.0 - e) / (1.0 + e);
}

fn activate(x: f32) -> f32 {
    switch ACTIVATION {
        case 0u: { return 0.5 * x * (1.0 + error_function(x * 0.70710678)); } // GELU; 1/sqrt(2)
        case 1u: { return 0.5 * x * (1.0 + hyperbolic_tangent(0.79788456 * (x + 0.044715 * x * x * x))); } // GELU with tanh; sqrt(2/pi)
        case 2u: { return x / (1.0 + exp(-1.702 * x)); } // quick GELU
        case 3u: { return max(x, 0.0); } // ReLU
        default: { return hyperbolic_tangent(x); } // tanh
    }
}
