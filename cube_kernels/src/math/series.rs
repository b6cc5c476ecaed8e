//! Coefficients that are computed from the order of a function.

/// The coefficients of the polynomial in $s$ of the Matérn function of order $n$ by rising powers:
/// $\frac{n!}{(2 n)!} \frac{(2 n - k)!}{(n - k)! \, k!} 2^k$.
pub fn matern_coefficients(n: u32) -> Vec<f64> {
    let ratio = |k: u32| 2.0 * (n - k) as f64 / ((2 * n - k) as f64 * (k + 1) as f64);
    let mut coefficients = vec![1.0];
    for k in 0..n {
        coefficients.push(coefficients[k as usize] * ratio(k));
    }
    coefficients
}

/// Bernoulli numbers $B_2, B_4, ..$
pub const BERNOULLI: [f64; 11] = [
    1.0 / 6.0,
    -1.0 / 30.0,
    1.0 / 42.0,
    -1.0 / 30.0,
    5.0 / 66.0,
    -691.0 / 2730.0,
    7.0 / 6.0,
    -3617.0 / 510.0,
    43867.0 / 798.0,
    -174611.0 / 330.0,
    854513.0 / 138.0,
];

/// How $\psi^{(n)}$ is computed for $n \ge 1$: as $(-1)^{n+1} n!$ (`factor`) times the sum of the first `terms` terms
/// of its series and $w^{-n} (1/n + 1/(2 w) + w^{-2} P(w^{-2}))$. Here $w$ is the argument plus `terms`, and `rest`
/// holds the coefficients of $P$.
pub struct Expansion {
    pub terms: u32,
    pub rest: Vec<f64>,
    pub factor: f64,
}

impl Expansion {
    /// The expansion for order `n`, with an error below 1e-17 if `double`, else below 1e-9.
    pub fn new(n: u32, double: bool) -> Self {
        let (len, most) = if double { (10, 1e-17) } else { (5, 1e-9) };
        // B_2k (2k + n - 1)! / ((2k)! n!)
        let coefficient = |k: usize| {
            let rising: f64 = (1..2 * k as u32)
                .map(|m| (n + m) as f64 / (m + 1) as f64)
                .product();
            BERNOULLI[k - 1] * rising
        };
        // The first term that is left out, relative to 1 / n.
        let left_out = |terms: u32| {
            n as f64 * coefficient(len + 1).abs() * (terms as f64).powi(-2 * (len as i32 + 1))
        };
        let factorial: f64 = (1..=n).map(f64::from).product();
        Self {
            terms: (1..)
                .find(|terms| left_out(*terms) < most)
                .expect("powers get small"),
            rest: (1..=len).map(coefficient).collect(),
            factor: if n.is_multiple_of(2) {
                -factorial
            } else {
                factorial
            },
        }
    }
}

/// The derivative of order $n$ of $\pi \cot \pi x$ as a polynomial in $c = \cot \pi x$. The derivative of $P(c)$ by
/// $x$ is $-\pi (1 + c^2) P'(c)$.
pub fn cotangent_derivative(n: u32) -> Vec<f64> {
    let pi = std::f64::consts::PI;
    let mut p = vec![0.0, pi];
    for _ in 0..n {
        let mut next = vec![0.0; p.len() + 1];
        for (k, c) in p.iter().enumerate().skip(1) {
            next[k - 1] -= pi * k as f64 * c;
            next[k + 1] -= pi * k as f64 * c;
        }
        p = next;
    }
    p
}
