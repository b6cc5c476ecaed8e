//! What a new user tries: formulas of one axis, tensors in operators, derivatives by the same tensor, and forms that
//! return errors.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, Complex, IntoLazy, LazyError, LazyTensor, ScalarOp, kernels};

use super::support::*;

fn zeros<const R: usize>(shape: [usize; R]) -> Tensor<R> {
    Tensor::zeros(shape, &device())
}

fn floats<const R: usize>(values: &[f64], shape: [usize; R]) -> Tensor<R> {
    tensor(values, shape, DType::F32, &device())
}

#[track_caller]
fn assert_says(error: &LazyError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn a_formula_of_one_axis_is_evaluated() {
    for (dtype, tolerance) in dtypes() {
        let x = [0.5, -1.0, 2.0, 0.25, 3.0, -0.5];
        let values = |shape| tensor::<2>(&x, shape, dtype, &device());
        let expected: Vec<f64> = x.iter().map(|x| x.exp() * 2.0).collect();
        let of_rows: Tensor<2> = (LazyTensor::vi(values([3, 2])).exp() * 2.0).evaluate();
        assert_eq!(of_rows.dims(), [3, 2]);
        assert_eq!(of_rows.dtype(), dtype);
        assert_close("rows", &host(of_rows), &expected, tolerance);
        let of_columns: Tensor<2> = (LazyTensor::vj(values([2, 3])).exp() * 2.0).evaluate();
        assert_eq!(of_columns.dims(), [2, 3]);
        assert_close("columns", &host(of_columns), &expected, tolerance);
        let p = tensor(&x, [6], dtype, &device());
        let of_parameters: Tensor<1> = (LazyTensor::pm(p).exp() * 2.0).evaluate();
        assert_eq!(of_parameters.dims(), [6]);
        assert_close("parameters", &host(of_parameters), &expected, tolerance);
        // Batches of parameters, and batches of rows with a parameter for each batch.
        let p: Tensor<2> = (LazyTensor::pm(values([3, 2])).exp() * 2.0).evaluate();
        assert_eq!(p.dims(), [3, 2]);
        assert_close("batches of parameters", &host(p), &expected, tolerance);
        let rows = tensor(&x, [2, 3, 1], dtype, &device());
        let scale = LazyTensor::pm(tensor(&[2.0, 3.0], [2, 1], dtype, &device()));
        let product: Tensor<3> = (LazyTensor::vi(rows) * scale).evaluate();
        let expected: Vec<f64> = x
            .iter()
            .zip([2.0, 2.0, 2.0, 3.0, 3.0, 3.0])
            .map(|(x, s)| x * s)
            .collect();
        assert_close("batches of rows", &host(product), &expected, tolerance);
    }
    // Indices, and a formula that simplification turns into a constant.
    let x = LazyTensor::vi(floats(&[5.0, 6.0, 7.0], [3, 1]));
    let indexed: Tensor<2> = (&x * 0.0 + LazyTensor::row_index()).evaluate();
    assert_eq!(host(indexed), [0.0, 1.0, 2.0]);
    let ones: Tensor<2> = x.powi(0).evaluate();
    assert_eq!(ones.dims(), [3, 1]);
    assert_eq!(host(ones), [1.0; 3]);
    let none: Tensor<2> = LazyTensor::vi(zeros([0, 2])).exp().evaluate();
    assert_eq!(none.dims(), [0, 2]);
    let none: Tensor<3> = LazyTensor::vj(zeros([0, 4, 2])).exp().evaluate();
    assert_eq!(none.dims(), [0, 4, 2]);
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    let (x, y) = (LazyTensor::vi(zeros([3, 2])), LazyTensor::vj(zeros([4, 2])));
    let error = (&x - &y).try_evaluate::<2>().unwrap_err();
    assert!(matches!(error, LazyError::BothAxes(_)));
    assert_says(&error, &["dense()", "(x0 - y0)", "(3, 4, 2)"]);
    let error = x.try_evaluate::<3>().unwrap_err();
    assert!(matches!(error, LazyError::OutputRank { .. }));
    assert_says(&error, &["evaluate", "[3, 2]"]);
    let error = (LazyTensor::column_index() * &x)
        .try_evaluate::<2>()
        .unwrap_err();
    assert!(matches!(
        error,
        LazyError::MissingAxis { axis: Axis::J, .. }
    ));
    let error = LazyTensor::offset().try_evaluate::<2>().unwrap_err();
    assert!(matches!(error, LazyError::MissingAxis { .. }));
    let error = 2.0.into_lazy().unwrap().try_evaluate::<1>().unwrap_err();
    assert!(matches!(error, LazyError::NoTensor(_)));
    // A reduction over an axis whose size is unknown names `evaluate` in its error.
    for error in [
        x.exp().try_sum::<2>(Axis::J).unwrap_err(),
        x.exp().try_mean::<2>(Axis::J).unwrap_err(),
        x.exp().try_dense::<3>().unwrap_err(),
        y.exp().try_max::<2>(Axis::I).unwrap_err(),
    ] {
        assert_says(&error, &["evaluate()", "size is unknown"]);
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn what_is_evaluated_is_differentiable() {
    let device = device().autodiff();
    for (dtype, tolerance) in dtypes() {
        let values = [0.5, -1.0, 2.0, 0.25];
        let x = tensor::<2>(&values, [2, 2], dtype, &device).require_grad();
        let p = tensor::<1>(&[1.5], [1], dtype, &device).require_grad();
        for formula in [
            LazyTensor::vi(x.clone()).exp() * p.clone(),
            LazyTensor::vj(x.clone()).exp() * &p,
            p.clone() * LazyTensor::pm(x.clone()).exp(),
        ] {
            let gradients = formula.evaluate::<2>().sum().backward();
            let expected = values.map(|x: f64| 1.5 * x.exp());
            assert_gradient("by x", &x, &gradients, &expected, tolerance);
            let expected = [values.iter().map(|x| x.exp()).sum()];
            assert_gradient("by p", &p, &gradients, &expected, tolerance);
        }
    }
}

/// Asserts that the tensor in an operator is refused because it could have several meanings.
#[track_caller]
fn assert_unclear(result: Result<LazyTensor, LazyError>, parts: &[&str]) {
    let error = match result {
        Ok(formula) => panic!("{formula} is refused"),
        Err(error) => error,
    };
    assert!(
        matches!(error, LazyError::TensorInOperator { .. }),
        "{error}"
    );
    assert_says(
        &error,
        &[
            "LazyTensor::vj(w)",
            "LazyTensor::vi(w)",
            "LazyTensor::pm(w)",
        ],
    );
    assert_says(&error, parts);
}

#[test]
fn a_tensor_in_an_operator_that_could_be_meant_otherwise_is_refused() {
    let (x, y) = (LazyTensor::vi(zeros([5, 3])), LazyTensor::vj(zeros([7, 3])));
    let k = (-x.sqdist(&y)).exp();
    assert_unclear(
        k.try_mul(zeros([7])),
        &["`p0` of shape [7]", "7 components", "N = 7"],
    );
    assert_unclear(k.try_mul(zeros([5])), &["[5]", "M = 5"]);
    assert_unclear(k.try_mul(zeros([7, 1])), &["[7, 1]", "[7]", "[]"]);
    assert_unclear(k.try_mul(zeros([5, 1])), &["[5, 1]"]);
    assert_unclear(k.try_mul(zeros([1, 1])), &["[1, 1]"]);
    assert_unclear(k.try_mul(zeros([5, 7, 1])), &["[5, 7, 1]"]);
    assert_unclear(x.try_add(zeros([5, 3])), &["[5, 3]"]);
    assert_unclear(x.try_maximum(zeros([7, 3])), &["[7, 3]"]);
    assert_unclear(zeros([7]).into_lazy().unwrap().try_div(&k), &["N = 7"]);
    assert_unclear(
        k.try_mask_where(Tensor::<1, Bool>::full([7], true, &device()), 0.0),
        &["N = 7"],
    );
    assert_unclear(k.try_clamp(zeros([7]), zeros([7])), &["N = 7"]);
    assert_unclear(k.try_clamp(0.0, zeros([5, 1])), &["[5, 1]"]);
    assert_unclear(k.try_grad(&x, zeros([7, 1])), &["[7, 1]"]);
    let values = k
        .try_sumsoftmaxweight::<2>(zeros([7, 2]), Axis::J)
        .map(|_| k.clone());
    assert_unclear(values, &["[7, 2]"]);
    let values = k
        .try_sumsoftmaxweight::<2>(zeros([7]), Axis::J)
        .map(|_| k.clone());
    assert_unclear(values, &["[7]"]);
    let weights = k
        .try_logsumexp_weighted::<2>(&zeros([7]), Axis::J)
        .map(|_| k.clone());
    assert_unclear(weights, &["[7]"]);
    assert_unclear(kernels::try_gaussian(&x, &y, zeros([5, 1])), &["[5, 1]"]);
    // The tensor is refused even if the size becomes known only later.
    let features = LazyTensor::vi(zeros([5, 1])) * zeros([7]);
    assert_unclear(
        features.try_add(LazyTensor::vj(zeros([7, 1]))),
        &["`p0` of shape [7]", "N = 7"],
    );
    assert_unclear((LazyTensor::offset() * zeros([7])).try_mul(&k), &["N = 7"]);
    // Batches: tensors that are as long as the rows or columns, or longer than the batch.
    let b = LazyTensor::vi(zeros([2, 5, 3])) * LazyTensor::vj(zeros([7, 3]));
    assert_unclear(b.try_mul(zeros([7, 3])), &["[7, 3]"]);
    assert_unclear(b.try_mul(zeros([2, 5, 3])), &["[2, 5, 3]"]);
    let b = LazyTensor::vi(zeros([5, 5, 3]));
    assert_unclear(b.try_mul(zeros([5, 3])), &["last batch dimension", "M = 5"]);
    let b = LazyTensor::vi(zeros([1, 5, 3]));
    assert_unclear(b.try_mul(zeros([4, 3])), &["[4]", "[1]"]);
}

#[test]
fn a_tensor_in_an_operator_that_can_only_be_a_parameter_is_one() {
    let (x, y) = (LazyTensor::vi(zeros([5, 3])), LazyTensor::vj(zeros([7, 3])));
    let k = (-x.sqdist(&y)).exp();
    // A single number, even if there is only one row.
    assert!(k.try_mul(zeros([1])).is_ok());
    let single = LazyTensor::vi(zeros([1, 3])).sqdist(LazyTensor::vj(zeros([1, 3])));
    assert!(single.try_mul(zeros([1])).is_ok());
    let number = zeros([1]);
    assert!(single.try_mul(&number).is_ok());
    // As many numbers as components, whatever the numbers of rows and columns.
    for (m, n) in [(3, 7), (5, 3), (3, 3)] {
        let (x, y) = (LazyTensor::vi(zeros([m, 3])), LazyTensor::vj(zeros([n, 3])));
        let scaled = x.try_div(zeros([3])).unwrap() - &y / zeros([3]);
        assert_eq!(scaled.dim(), 3);
        assert!(kernels::try_gaussian(&x, &y, zeros([3])).is_ok());
        assert!(kernels::try_periodic(&x, &y, zeros([1]), zeros([3])).is_ok());
        assert!(kernels::try_rational_quadratic(&x, &y, zeros([3]), zeros([1])).is_ok());
        assert!(x.try_clamp(zeros([3]), zeros([3])).is_ok());
    }
    // A number of features that is not the number of rows or columns.
    assert_eq!(k.try_mul(zeros([4])).unwrap().dim(), 4);
    // With an explicit constructor the meaning is clear.
    assert_eq!((&k * LazyTensor::pm(zeros([7]))).shape(), [5, 7, 7]);
    assert_eq!((&k * LazyTensor::vj(zeros([7, 1]))).shape(), [5, 7, 1]);
    assert_eq!((&k * LazyTensor::pm(zeros([4, 1]))).shape(), [4, 5, 7, 1]);
    // One parameter for each matrix of a batch.
    let b = LazyTensor::vi(zeros([2, 5, 3])) * LazyTensor::vj(zeros([7, 3]));
    assert_eq!((&b * zeros([2, 3])).shape(), [2, 5, 7, 3]);
    assert_eq!((&b * zeros([2, 1])).shape(), [2, 5, 7, 3]);
    assert_eq!((&b * zeros([1, 1])).shape(), [2, 5, 7, 3]);
    let (x, y) = (
        LazyTensor::vi(zeros([2, 5, 3])),
        LazyTensor::vj(zeros([7, 3])),
    );
    let k = kernels::try_rational_quadratic(&x, &y, zeros([2, 3]), zeros([2, 1]));
    assert_eq!(k.unwrap().shape(), [2, 5, 7, 1]);
    // Operands that are added later do not change the meaning.
    let later = LazyTensor::vi(zeros([2, 5, 3])) * zeros([2, 3]);
    assert!(later.try_add(LazyTensor::vj(zeros([2, 3]))).is_ok());
    // Tensors and formulas by value and by reference, on either side.
    let w = floats(&[2.0], [1]);
    let one = LazyTensor::vi(floats(&[3.0], [1, 1]));
    for product in [
        &one * &w,
        &w * &one,
        w.clone() * one.clone(),
        one.clone() * w.clone(),
    ] {
        assert_eq!(host(product.evaluate::<2>()), [6.0]);
    }
    assert_eq!(host((&w - &one).evaluate::<2>()), [-1.0]);
    assert_eq!(host((&w / one).evaluate::<2>()), [f64::from(2.0f32 / 3.0)]);
}

#[test]
fn a_leaf_that_is_not_there_is_an_error_in_every_derivative() {
    let (x, y) = (LazyTensor::vi(zeros([5, 3])), LazyTensor::vj(zeros([7, 3])));
    let s = x.sqdist(&y);
    let other = LazyTensor::vi(zeros([5, 3]));
    let copy = LazyTensor::vi(zeros([5, 3]) + 0.0);
    // The rows of y are not its columns.
    let turned = y.t();
    let parameter = LazyTensor::pm(zeros([3]));
    for v in [&other, &copy, &turned, &parameter] {
        for error in [
            s.try_grad(v, 1.0).unwrap_err(),
            s.try_diff(v, LazyTensor::pm(zeros([3]))).unwrap_err(),
            s.try_grad_matrix(v).unwrap_err(),
            s.try_laplacian(v).unwrap_err(),
            s.try_hessian_product(v, LazyTensor::pm(zeros([3])))
                .unwrap_err(),
            (&x - &y).try_divergence(v).unwrap_err(),
        ] {
            assert!(matches!(error, LazyError::NotInFormula { .. }), "{error}");
            assert_says(&error, &["not in the formula", "(x0 - y0)"]);
        }
    }
    // A leaf that differentiation has removed was in the formula, so it is no error.
    let linear = (&x * 2.0).inner_sum();
    let second: Tensor<2> = linear.grad(&x, 1.0).grad(&x, &x).evaluate();
    assert_eq!(host(second), [0.0; 15]);
    let zero: Tensor<2> = linear.laplacian(&x).evaluate();
    assert_eq!(host(zero), [0.0; 5]);
}

/// $\sum_j (x_i - y_j)^2 x_i$, where each of three handles of one tensor is a separate leaf.
fn three_handles(x: &Tensor<2>, y: &Tensor<2>) -> LazyTensor {
    let leaf = || LazyTensor::vi(x.clone());
    (leaf() - LazyTensor::vj(y.clone())) * (leaf() - LazyTensor::vj(y.clone())) * leaf()
}

#[test]
fn handles_of_one_tensor_are_one_variable() {
    let mut random = Random::new(31);
    let (x, y) = (random.vec(4), random.vec(3));
    for (dtype, tolerance) in dtypes() {
        let devices = [
            device(),
            #[cfg(feature = "autodiff")]
            device().autodiff(),
        ];
        for device in devices {
            for tracked in [false, true] {
                let mut tensor_x = tensor(&x, [4, 1], dtype, &device);
                if tracked {
                    #[cfg(feature = "autodiff")]
                    if device.is_autodiff() {
                        tensor_x = tensor_x.require_grad();
                    }
                }
                let tensor_y = tensor(&y, [3, 1], dtype, &device);
                let f = three_handles(&tensor_x, &tensor_y);
                let v = LazyTensor::vi(tensor_x.clone());
                let sum = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
                    x.iter()
                        .map(|x| y.iter().map(|y| f(*x, *y)).sum())
                        .collect()
                };
                // The formula (x - y)^2 x, and its derivatives 2 (x - y) x + (x - y)^2 and 4 (x - y) + 2 x.
                let first = sum(&|x, y| 2.0 * (x - y) * x + (x - y) * (x - y));
                let second = sum(&|x, y| 4.0 * (x - y) + 2.0 * x);
                let of = |f: LazyTensor| host(f.sum::<2>(Axis::J));
                assert_close("grad", &of(f.grad(&v, 1.0)), &first, tolerance);
                assert_close("diff", &of(f.diff(&v, 1.0)), &first, tolerance);
                assert_close("jacobian", &of(f.grad_matrix(&v)), &first, tolerance);
                assert_close("divergence", &of(f.divergence(&v)), &first, tolerance);
                // The second derivative is by another handle of the same tensor.
                let again = LazyTensor::vi(tensor_x.clone());
                let twice = f.grad(&v, 1.0).grad(&again, 1.0);
                assert_close("twice", &of(twice), &second, tolerance);
                assert_close("laplacian", &of(f.laplacian(&v)), &second, tolerance);
                assert_close(
                    "hessian",
                    &of(f.hessian_product(&v, 1.0)),
                    &second,
                    tolerance,
                );
            }
        }
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn a_detached_tensor_is_another_variable() {
    let x = floats(&[1.0, 2.0], [2, 1]);
    let tracked = Tensor::<2>::from_data(x.into_data(), &device().autodiff()).require_grad();
    let square = LazyTensor::vi(tracked.clone()).square();
    let error = square.try_grad(&LazyTensor::vi(tracked.detach()), 1.0);
    assert!(matches!(error.unwrap_err(), LazyError::NotInFormula { .. }));
}

#[test]
fn forms_that_return_errors_say_what_the_short_ones_compute() {
    let mut random = Random::new(32);
    let x = LazyTensor::vi(floats(&random.vec(6), [3, 2]));
    let y = LazyTensor::vj(floats(&random.vec(8), [4, 2]));
    let wrong = LazyTensor::vj(zeros([5, 2]));
    let bad = |result: Result<LazyTensor, LazyError>| {
        let error = result.unwrap_err();
        assert!(
            matches!(error, LazyError::Size { axis: Axis::J, .. }),
            "{error}"
        );
    };
    let same = |a: LazyTensor, b: Result<LazyTensor, LazyError>| {
        // Values are compared as bits, because some are NaN.
        let bits = |k: LazyTensor| host(k.dense::<3>()).iter().map(|v| v.to_bits()).collect();
        let (a, b): (Vec<u64>, Vec<u64>) = (bits(a), bits(b.unwrap()));
        assert_eq!(a, b);
    };
    macro_rules! binary {
        ($( [$($doc:tt)*] $method:ident $op:ident; )*) => { pastey::paste! {$(
            same(x.$method(&y), x.[<try_ $method>](&y));
            bad((&x * &y).[<try_ $method>](&wrong));
        )*}};
    }
    burn_lazy_kernels::binary_methods!(binary);
    macro_rules! ternary {
        ($( [$($doc:tt)*] $method:ident $op:ident; )*) => { pastey::paste! {$(
            same(x.$method(&y, 0.5), x.[<try_ $method>](&y, 0.5));
            bad((&x * &y).[<try_ $method>](&wrong, 0.0));
            bad((&x * &y).[<try_ $method>](0.0, &wrong));
        )*}};
    }
    burn_lazy_kernels::ternary_methods!(ternary);
    let off = LazyTensor::vi(zeros([3, 3]));
    for result in [
        kernels::try_gaussian(&off, &y, 1.0),
        kernels::try_laplacian(&off, &y, 1.0),
        kernels::try_matern12(&off, &y, 1.0),
        kernels::try_matern32(&off, &y, 1.0),
        kernels::try_matern52(&off, &y, 1.0),
        kernels::try_rational_quadratic(&off, &y, 1.0, 1.0),
        kernels::try_periodic(&off, &y, 1.0, 1.0),
        kernels::try_polynomial(&off, &y, 2, 1.0, 1.0),
        kernels::try_cosine(&off, &y),
        kernels::try_energy_distance(&off, &y),
        kernels::try_arc_cosine(&off, &y, 1),
    ] {
        assert!(matches!(result.unwrap_err(), LazyError::Dimension { .. }));
    }
    for result in [
        kernels::try_gaussian(&x, &y, zeros([3])),
        kernels::try_matern52(&x, &y, LazyTensor::pm(zeros([5]))),
        kernels::try_periodic(&x, &y, LazyTensor::pm(zeros([5])), 1.0),
        kernels::try_polynomial(&x, &y, 2, LazyTensor::vj(zeros([9, 1])), 1.0),
        kernels::try_rational_quadratic(&x, &y, 1.0, LazyTensor::vj(zeros([9, 1]))),
    ] {
        assert!(result.is_err());
    }
    let error = kernels::try_arc_cosine(&x, &y, 3).unwrap_err();
    assert!(matches!(error, LazyError::KernelOrder { order: 3 }));
    same(
        kernels::gaussian(&x, &y, 0.5),
        kernels::try_gaussian(&x, &y, 0.5),
    );

    let z = Complex::new(&x * &y, &x + &y);
    let off = Complex::new(wrong.clone(), wrong.clone());
    for result in [
        z.try_add(&off),
        z.try_sub(&off),
        z.try_mul(&off),
        z.try_div(&off),
        z.try_dot(&off),
        z.try_slice(1..3),
        z.try_elem(2),
        z.try_elem(usize::MAX),
        Complex::new(&x * &y, wrong.clone()).try_exp(),
        Complex::new(&x * &y, wrong.clone()).try_recip(),
    ] {
        assert!(result.is_err());
    }
    let torn = Complex::new(&x * &y, wrong);
    for result in [torn.try_square_abs(), torn.try_abs(), torn.try_angle()] {
        bad(result);
    }
    let vector = Complex::new(zeros([9, 1]), zeros([9, 1]));
    assert!(z.elem(0).try_matmul(vector).is_err());
    let sum: Complex<Tensor<2>> = (&z - &z).sum(Axis::J);
    // A compiler may fuse the product and the difference. The rounding error of the product is left then.
    assert_close("z - z", &host(sum.re), &[0.0; 6], 1e-4);
    // The operation with this name is the one that is applied.
    assert!(x.try_apply(ScalarOp::Maximum, &y).is_ok());
}
