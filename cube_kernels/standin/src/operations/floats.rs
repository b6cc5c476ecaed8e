//! Floating-point operations with rounding other than to the nearest value.

/// The direction of rounding of `.rz`, `.rm` and `.rp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards zero.
    Zero,
    /// Down.
    Down,
    /// Up.
    Up,
}

impl Direction {
    /// The direction of a modifier.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "rz" => Some(Self::Zero),
            "rm" => Some(Self::Down),
            "rp" => Some(Self::Up),
            _ => None,
        }
    }

    /// The number that generated code passes.
    pub fn code(self) -> u32 {
        self as u32
    }

    fn decode(code: u32) -> Self {
        [Self::Zero, Self::Down, Self::Up][(code % 3) as usize]
    }

    /// Whether results of this sign are rounded down.
    fn down(self, negative: bool) -> bool {
        match self {
            Self::Zero => !negative,
            Self::Down => true,
            Self::Up => false,
        }
    }
}

/// The exact sum of two doubles as the nearest double and the remainder (Knuth).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

/// Rounds `value + rest` to a single in a direction. `rest` is much smaller than `value`.
fn single(value: f64, rest: f64, direction: Direction) -> f32 {
    let near = value as f32;
    if value.is_nan() || value.is_infinite() {
        return near;
    }
    let negative = value < 0.0 || value == 0.0 && rest < 0.0;
    let wide = f64::from(near);
    let above = wide > value || wide == value && rest < 0.0;
    let below = wide < value || wide == value && rest > 0.0;
    if direction.down(negative) {
        if above { near.next_down() } else { near }
    } else if below {
        near.next_up()
    } else {
        near
    }
}

/// A zero with the sign of a sum that is exactly zero: negative if both terms are negative, or if their signs differ
/// and the direction is down.
fn zero(a_negative: bool, b_negative: bool, direction: Direction) -> f64 {
    let negative = if a_negative == b_negative {
        a_negative
    } else {
        direction == Direction::Down
    };
    if negative { -0.0 } else { 0.0 }
}

/// `fma.f32`. `mul.f32` calls it with a zero that has the sign of the product.
pub extern "C" fn fma_rounded(a: f32, b: f32, c: f32, code: u32) -> f32 {
    let direction = Direction::decode(code);
    // The product of two singles is exact.
    let product = f64::from(a) * f64::from(b);
    let (value, rest) = two_sum(product, f64::from(c));
    if value == 0.0 && rest == 0.0 {
        let sign = zero(product.is_sign_negative(), c.is_sign_negative(), direction);
        return sign as f32;
    }
    single(value, rest, direction)
}

/// `add.f32`.
pub extern "C" fn add_rounded(a: f32, b: f32, code: u32) -> f32 {
    fma_rounded(a, 1.0, b, code)
}

/// Rounds a double to a single.
pub extern "C" fn single_rounded(value: f64, code: u32) -> f32 {
    if value == 0.0 {
        return value as f32;
    }
    single(value, 0.0, Direction::decode(code))
}

/// Rounds in a direction, from the nearest double. The exact result is above it (1), below it (-1) or equal (0).
fn double(near: f64, exact_is_above: i32, direction: Direction) -> f64 {
    if !near.is_finite() {
        // The result overflowed, because exact results of finite arguments are finite.
        return match direction.down(near < 0.0) {
            true if near > 0.0 => f64::MAX,
            false if near < 0.0 => f64::MIN,
            _ => near,
        };
    }
    let negative = near < 0.0 || near == 0.0 && exact_is_above < 0;
    match (direction.down(negative), exact_is_above) {
        (true, -1) => near.next_down(),
        (false, 1) => near.next_up(),
        _ => near,
    }
}

fn sign(value: f64) -> i32 {
    i32::from(value > 0.0) - i32::from(value < 0.0)
}

/// `add.f64`.
pub extern "C" fn add_double_rounded(a: f64, b: f64, code: u32) -> f64 {
    let direction = Direction::decode(code);
    if !a.is_finite() || !b.is_finite() {
        return a + b;
    }
    let (value, rest) = two_sum(a, b);
    if value == 0.0 && rest == 0.0 {
        return zero(a.is_sign_negative(), b.is_sign_negative(), direction);
    }
    double(value, sign(rest), direction)
}

/// `fma.f64`.
pub extern "C" fn fma_double_rounded(a: f64, b: f64, c: f64, code: u32) -> f64 {
    let direction = Direction::decode(code);
    if !a.is_finite() || !b.is_finite() || !c.is_finite() {
        return a.mul_add(b, c);
    }
    let near = libm::fma(a, b, c);
    if !near.is_finite() {
        return double(near, 0, direction);
    }
    // The exact value minus the nearest double: the product in two parts, plus `c`, minus `near`.
    let product = a * b;
    let rest = libm::fma(a, b, -product);
    let (high, low) = two_sum(product, c - near);
    let mut parts = [high, low, rest];
    // The rounding error of `c - near`.
    let (_, lost) = two_sum(c, -near);
    let all = parts.iter_mut().fold(lost, |sum, part| sum + *part);
    if near == 0.0 && all == 0.0 {
        return zero(product.is_sign_negative(), c.is_sign_negative(), direction);
    }
    double(near, sign(all), direction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_on_the_right_side() {
        let tiny = 1e-20f32;
        for (direction, above, below) in [
            (Direction::Zero, 1.0, 1f32.next_down()),
            (Direction::Down, 1.0, 1f32.next_down()),
            (Direction::Up, 1f32.next_up(), 1.0),
        ] {
            assert_eq!(add_rounded(1.0, tiny, direction.code()), above);
            assert_eq!(add_rounded(1.0, -tiny, direction.code()), below);
            let (above, below) = (f64::from(above), f64::from(below));
            let wide = |value: f64| {
                if value == 1.0 {
                    1.0
                } else if value > 1.0 {
                    1f64.next_up()
                } else {
                    1f64.next_down()
                }
            };
            let tiny = f64::from(tiny);
            let code = direction.code();
            assert_eq!(add_double_rounded(1.0, tiny, code), wide(above));
            assert_eq!(add_double_rounded(1.0, -tiny, code), wide(below));
            assert_eq!(fma_double_rounded(tiny, 1.0, 1.0, code), wide(above));
            assert_eq!(fma_double_rounded(tiny, -1.0, 1.0, code), wide(below));
        }
        let (zero, up) = (Direction::Zero.code(), Direction::Up.code());
        assert_eq!(add_rounded(-1.0, tiny, zero), -(1f32.next_down()));
        assert_eq!(add_rounded(f32::MAX, f32::MAX, zero), f32::MAX);
        assert_eq!(add_rounded(f32::MAX, f32::MAX, up), f32::INFINITY);
        assert_eq!(fma_rounded(3.0, 5.0, 1.0, zero), 16.0);
        assert_eq!(single_rounded(0.1, up), 0.1f32);
        assert_eq!(single_rounded(0.1, zero), 0.1f32.next_down());
    }

    #[test]
    fn a_sum_that_is_zero_is_negative_if_rounded_down() {
        let (down, zero) = (Direction::Down.code(), Direction::Zero.code());
        assert!(add_rounded(1.0, -1.0, down).is_sign_negative());
        assert!(add_rounded(1.0, -1.0, zero).is_sign_positive());
        assert!(add_rounded(-0.0, -0.0, zero).is_sign_negative());
    }
}
