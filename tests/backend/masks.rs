//! Integer and boolean operands.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType, IntDType, TensorData},
};
#[cfg(feature = "autodiff")]
use burn_lazy::LazyError;
use burn_lazy::{Axis, IntoLazy, LazyTensor, ScalarOp};

use super::support::*;

fn ints<const R: usize>(values: &[i64], shape: [usize; R]) -> Tensor<R, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &device())
}

fn bools<const R: usize>(values: &[bool], shape: [usize; R]) -> Tensor<R, Bool> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &device())
}

fn floats<const R: usize>(values: &[f64], shape: [usize; R]) -> Tensor<R> {
    tensor(values, shape, DType::F32, &device())
}

/// The six comparisons, and their results for two integers.
type Compare = fn(f64, f64) -> bool;

fn comparisons() -> [(ScalarOp, Compare); 6] {
    [
        (ScalarOp::Equal, |a, b| a == b),
        (ScalarOp::NotEqual, |a, b| a != b),
        (ScalarOp::Less, |a, b| a < b),
        (ScalarOp::LessEqual, |a, b| a <= b),
        (ScalarOp::Greater, |a, b| a > b),
        (ScalarOp::GreaterEqual, |a, b| a >= b),
    ]
}

#[test]
fn a_bool_tensor_masks_rows_columns_and_all() {
    let (x, y) = ([1.0, 2.0, 3.0], [10.0, 20.0]);
    let product = LazyTensor::vi(floats(&x, [3, 1])) * LazyTensor::vj(floats(&y, [2, 1]));
    let rows = LazyTensor::vi(bools(&[true, false, true], [3, 1]));
    let columns = LazyTensor::vj(bools(&[false, true], [2, 1]));
    let sum = |mask: &LazyTensor| host(product.mask_where(mask, 0.0).sum::<2>(Axis::J));
    assert_eq!(sum(&rows), [0.0, 60.0, 0.0]);
    assert_eq!(sum(&columns), [10.0, 20.0, 30.0]);
    // The product of two masks is 1 where both hold.
    assert_eq!(sum(&(&rows * &columns)), [10.0, 60.0, 30.0]);
    for (all, expected) in [(true, [0.0; 3]), (false, [30.0, 60.0, 90.0])] {
        let all = bools(&[all], [1]);
        assert_eq!(sum(&LazyTensor::pm(all.clone())), expected);
        let masked = product.mask_where(all.clone(), 0.0);
        assert_eq!(host(masked.sum::<2>(Axis::J)), expected);
        let masked = product.mask_where(&all, 0.0);
        assert_eq!(host(masked.sum::<2>(Axis::J)), expected);
    }
}

#[test]
fn the_type_of_a_formula_is_that_of_its_floats() {
    for (dtype, _) in dtypes() {
        let x = LazyTensor::vi(tensor(&[0.5, 1.5], [2, 1], dtype, &device()));
        let labels = LazyTensor::vj(ints(&[3, -4], [2, 1]));
        for formula in [&x * &labels, &labels * &x] {
            let sums: Tensor<2> = formula.sum(Axis::J);
            assert_eq!(sums.dtype(), dtype);
            assert_eq!(host(sums), [-0.5, -1.5]);
        }
        // Formulas whose operands are all integer or boolean.
        let counts = LazyTensor::vi(bools(&[true, false], [2, 1])) + &labels;
        let sums: Tensor<2> = counts.sum(Axis::J);
        assert_eq!(sums.dtype(), DType::F32);
        assert_eq!(host(sums), [1.0, -1.0]);
        let sums: Tensor<2> = counts.cast(FloatDType::from(dtype)).sum(Axis::J);
        assert_eq!(sums.dtype(), dtype);
        assert_eq!(host(sums), [1.0, -1.0]);
        let cast = (&x * &labels).cast(FloatDType::F32).sum::<2>(Axis::J);
        assert_eq!(cast.dtype(), DType::F32);
        assert_eq!(host(cast), [-0.5, -1.5]);
    }
}

/// Integers at which the precision of F32, the number of digits, or the sign changes.
const WHOLE: [i64; 17] = [
    0,
    1,
    -1,
    4_194_303,
    4_194_304,
    4_194_305,
    -4_194_304,
    -4_194_305,
    16_777_215,
    16_777_216,
    16_777_217,
    -16_777_216,
    -16_777_217,
    2_147_483_647,
    2_147_483_646,
    -2_147_483_648,
    -2_147_483_647,
];

#[test]
fn labels_of_any_size_are_compared_exactly() {
    let count = WHOLE.len();
    let (a, b) = (
        LazyTensor::vi(ints(&WHOLE, [count, 1])),
        LazyTensor::vj(ints(&WHOLE, [count, 1])),
    );
    for (op, holds) in comparisons() {
        let dense: Tensor<3> = a.try_apply(op, &b).unwrap().dense();
        let expected: Vec<f64> = WHOLE
            .iter()
            .flat_map(|a| WHOLE.iter().map(move |b| (*a as f64, *b as f64)))
            .map(|(a, b)| f64::from(holds(a, b)))
            .collect();
        assert_eq!(host(dense), expected, "{op}");
    }
}

#[test]
fn labels_of_any_size_are_compared_exactly_with_numbers() {
    let count = WHOLE.len();
    let a = LazyTensor::vi(ints(&WHOLE, [count, 1]));
    let infinite = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let halves = [0.5, -0.5, 16_777_216.5, -16_777_216.5, 2_147_483_646.5];
    let large = [1e300, -1e300, 4e9, -4e9, 1e15, -1e15];
    let whole = WHOLE.map(|number| number as f64);
    let numbers = whole.iter().chain(&halves).chain(&infinite).chain(&large);
    // Each call compares a whole list, so that there are few kernels.
    for number in some_of(numbers, 5) {
        for (op, holds) in comparisons() {
            let values: Tensor<2> = a.try_apply(op, *number).unwrap().evaluate();
            let expected: Vec<f64> = whole
                .iter()
                .map(|a| f64::from(holds(*a, *number)))
                .collect();
            assert_eq!(host(values), expected, "{op} {number}");
        }
    }
    // The number is on the left side.
    let values: Tensor<2> = 16_777_217.0.into_lazy().unwrap().less(&a).evaluate();
    let expected: Vec<f64> = whole.iter().map(|a| f64::from(16_777_217.0 < *a)).collect();
    assert_eq!(host(values), expected);
}

#[test]
fn components_of_labels_are_compared_exactly() {
    let labels = ints(&[16_777_216, 7, 16_777_217, 8], [2, 2]);
    let (a, b) = (LazyTensor::vi(labels.clone()), LazyTensor::vj(labels));
    let same: Tensor<3> = a.equal(&b).dense();
    assert_eq!(host(same), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    let same: Tensor<3> = a.elem(0).equal(b.elem(0)).dense();
    assert_eq!(host(same), [1.0, 0.0, 0.0, 1.0]);
    let same: Tensor<3> = a.slice(0..1).equal(&b).dense();
    assert_eq!(host(same), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn integers_of_other_types_are_compared_exactly() {
    for (left, right) in [
        (IntDType::I32, IntDType::I64),
        (IntDType::I64, IntDType::I64),
        (IntDType::I16, IntDType::I32),
        (IntDType::U32, IntDType::I32),
        (IntDType::I8, IntDType::I64),
    ] {
        let device = device();
        if [left, right]
            .iter()
            .any(|dtype| !device.supports_dtype(*dtype))
        {
            continue;
        }
        let within = |dtype: IntDType, values: &[i64]| -> Vec<i64> {
            let (low, high) = match dtype {
                IntDType::I8 => (-128, 127),
                IntDType::I16 => (-32_768, 32_767),
                IntDType::I32 => (i32::MIN.into(), i32::MAX.into()),
                IntDType::U32 => (0, u32::MAX.into()),
                _ => (i64::MIN, i64::MAX),
            };
            let fits = |value: &i64| (low..=high).contains(value);
            values.iter().copied().filter(fits).collect()
        };
        let mut values = WHOLE.to_vec();
        values.extend([5, -5, 100, -100]);
        values.extend([
            1 << 43,
            (1 << 43) + 1,
            i64::MAX,
            i64::MAX - 1,
            i64::MIN,
            i64::MIN + 1,
        ]);
        let (a, b) = (within(left, &values), within(right, &values));
        let operand = |values: &[i64], dtype: IntDType| {
            let data = TensorData::new(values.to_vec(), [values.len(), 1]);
            Tensor::<2, Int>::from_data(data, (&device, DType::from(dtype)))
        };
        let (x, y) = (
            LazyTensor::vi(operand(&a, left)),
            LazyTensor::vj(operand(&b, right)),
        );
        let less: Tensor<3> = x.less(&y).dense();
        let same: Tensor<3> = x.equal(&y).dense();
        let pairs = || a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b)));
        let expected: Vec<f64> = pairs().map(|(a, b)| f64::from(a < b)).collect();
        assert_eq!(host(less), expected, "{left:?} < {right:?}");
        let expected: Vec<f64> = pairs().map(|(a, b)| f64::from(a == b)).collect();
        assert_eq!(host(same), expected, "{left:?} == {right:?}");
    }
}

#[test]
fn whole_numbers_are_rounded_as_numbers_are() {
    let values = [3, -7, 16_777_216, 16_777_217, -16_777_219, 2_147_483_647];
    let x: Tensor<2> = LazyTensor::vi(ints(&values, [6, 1])).evaluate();
    let expected = values.map(|value| f64::from(value as f32));
    assert_eq!(host(x), expected);
    if dtypes().iter().any(|(dtype, _)| *dtype == DType::F64) {
        let zero = tensor(&[0.0], [1], DType::F64, &device());
        let x: Tensor<2> = (LazyTensor::vi(ints(&values, [6, 1])) + zero).evaluate();
        assert_eq!(host(x), values.map(|value| value as f64));
    }
}

#[test]
fn labels_beside_halves_are_exact() {
    let device = device();
    for dtype in [DType::F16, DType::BF16] {
        if !device.supports_dtype(dtype) {
            continue;
        }
        // F16 and BF16 cannot distinguish these labels.
        let labels = ints(&[2_049, 2_048, 70_000, 70_001], [4, 1]);
        let x = LazyTensor::vi(tensor(&[1.0; 4], [4, 1], dtype, &device));
        let (a, b) = (LazyTensor::vi(labels.clone()), LazyTensor::vj(labels));
        let sums: Tensor<2> = x.mask_where(a.not_equal(&b), 0.0).sum(Axis::J);
        assert_eq!(sums.dtype(), dtype);
        assert_eq!(host(sums), [1.0; 4]);
        let dense: Tensor<3> = (x * a.not_equal(&b)).dense();
        assert_eq!(dense.dtype(), dtype);
        let expected: Vec<f64> = (0..16).map(|k| f64::from(k % 5 != 0)).collect();
        assert_eq!(host(dense), expected);
    }
}

#[test]
fn batches_blocks_diagonals_and_transposes_of_labels() {
    let labels = ints(&[1, 2, 2, 16_777_217, 16_777_216, 16_777_217], [2, 3, 1]);
    let same = LazyTensor::vi(labels.clone()).equal(LazyTensor::vj(labels));
    assert_eq!(same.shape(), [2, 3, 3, 1]);
    let expected = [
        1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, // batch 0
        1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, // batch 1
    ];
    assert_eq!(host(same.dense::<4>()), expected);
    assert_eq!(host(same.t().dense::<4>()), expected);
    assert_eq!(host(same.diag::<3>()), [1.0; 6]);
    let block: Tensor<4> = same.block(0..1, 1..3).dense();
    assert_eq!(host(block), [0.0, 0.0, 0.0, 1.0]);
    let counts: Tensor<3, Int> = same.count(Axis::I);
    let counts: Vec<i64> = counts.into_data().iter::<i64>().collect();
    assert_eq!(counts, [1, 2, 2, 2, 1, 2]);
}

#[test]
fn errors_show_the_shape_that_was_given() {
    let labels = LazyTensor::vi(ints(&[1; 6], [3, 2]));
    let error = labels
        .try_mul(LazyTensor::vi(floats(&[0.0; 8], [4, 2])))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("[3, 2]") && error.contains("M = 3"),
        "{error}"
    );
    let error = LazyTensor::try_vi(ints(&[1], [1])).unwrap_err().to_string();
    assert!(error.contains("[.., M, D]"), "{error}");
    // There is no derivative by integers.
    let error = (&labels * 2.0).try_grad(&labels, 1.0);
    assert!(error.is_err());
}

#[test]
fn an_integer_tensor_is_not_changed_by_what_happens_to_it() {
    let labels = ints(&[5, 70_000], [2, 1]);
    let formula = LazyTensor::vi(labels.clone()).equal(5.0);
    assert_eq!(host(formula.evaluate::<2>()), [1.0, 0.0]);
    assert_eq!(host(formula.evaluate::<2>()), [1.0, 0.0]);
    let values: Vec<i64> = labels.into_data().iter::<i64>().collect();
    assert_eq!(values, [5, 70_000]);
}

#[cfg(feature = "autodiff")]
#[test]
fn masks_of_tracked_formulas_have_no_gradient_and_select_that_of_others() {
    let device = device().autodiff();
    for (dtype, tolerance) in dtypes() {
        let x = tensor(&[0.5, -1.0, 2.0], [3, 1], dtype, &device).require_grad();
        let labels = Tensor::<2, Int>::from_data([[1], [2], [1]], &device);
        let mask = Tensor::<2, Bool>::from_data([[false], [false], [true]], &device);
        let (x_i, x_j) = (LazyTensor::vi(x.clone()), LazyTensor::vj(x.clone()));
        let same = LazyTensor::vi(labels.clone()).equal(LazyTensor::vj(labels));
        // The formula is x_i x_j over pairs with the same label, without the third column. The sum
        // is x_0^2 + x_2 x_0 + x_1^2, differentiated by hand.
        let products = (x_i * x_j).mask_where(1.0 - same, 0.0);
        let sum: Tensor<2> = products.mask_where(LazyTensor::vj(mask), 0.0).sum(Axis::J);
        let gradient = x.grad(&sum.sum().backward()).unwrap();
        assert_eq!(gradient.dtype(), dtype);
        let expected = [2.0 * 0.5 + 2.0, -2.0, 0.5];
        assert_close("gradient", &host(gradient), &expected, tolerance);
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn masks_may_come_from_tracked_tensors_or_from_outside_of_autodiff() {
    let tracking = device().autodiff();
    let data = [0.5, -1.0, 2.0];
    let x = tensor(&data, [3, 1], DType::F32, &tracking).require_grad();
    let outside = Tensor::<2, Bool>::from_data([[false], [true], [false]], &device());
    let labels = Tensor::<2, Int>::from_data([[7], [16_777_217], [7]], &device());
    let (negative, least) = (x.clone().lower_elem(0.0), x.clone().argmin(0));
    for (what, masked) in [
        ("outside", LazyTensor::vi(outside)),
        ("labels", LazyTensor::vi(labels).equal(16_777_217.0)),
        ("tracked", LazyTensor::vi(negative)),
        (
            "place",
            LazyTensor::row_index().equal(LazyTensor::pm(least.reshape([1]))),
        ),
    ] {
        // The formula is x_i x_j, or 0 for masked rows i, with the operands in either order.
        let products = LazyTensor::vi(x.clone()) * LazyTensor::vj(x.clone());
        for formula in [products.mask_where(&masked, 0.0), (1.0 - masked) * products] {
            let sum: Tensor<2> = formula.sum(Axis::J);
            assert_close(what, &host(sum.clone()), &[0.75, 0.0, 3.0], 1e-6);
            let gradient = x.grad(&sum.sum().backward()).unwrap();
            // The sum of x is 1.5, and the sum of the rows that are not masked is 2.5.
            assert_close(what, &host(gradient), &[4.0, 2.5, 4.0], 1e-6);
        }
    }
    // The number of tracked operands is limited even if the first operand is not tracked.
    let mut many = LazyTensor::vj(tensor(&data, [3, 1], DType::F32, &device()));
    for _ in 0..16 {
        many = many + LazyTensor::vi(x.clone() * 1.0);
    }
    let error = many.try_sum::<2>(Axis::J).unwrap_err();
    assert!(matches!(error, LazyError::TooManyOperands { .. }));
}
