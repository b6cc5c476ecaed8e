//! Symbolic matrices and their reductions, as in KeOps' tutorial on fancy reductions:
//! `cargo run --features cpu --example tutorial -- --rows 1000 --cols 2000`.

mod common;

use std::process::ExitCode;

use burn::{prelude::*, tensor::Distribution};
use burn_lazy::{Axis, LazyTensor};
use clap::Parser;
use common::{Checks, host};

/// Reduces symbolic matrices over either axis.
#[derive(Parser)]
struct Options {
    /// Number of rows M.
    #[arg(long, default_value_t = 1000)]
    rows: usize,
    /// Number of columns N.
    #[arg(long, default_value_t = 2000)]
    cols: usize,
}

const D: usize = 3;

fn main() -> ExitCode {
    let Options { rows: m, cols: n } = Options::parse();
    let device = Device::default();
    println!("device: {device:?}");
    let x = Tensor::<2>::random([m, D], Distribution::Normal(0.0, 1.0), &device);
    let y = Tensor::<2>::random([n, D], Distribution::Normal(0.0, 1.0), &device);

    let x_i = LazyTensor::vi(x.clone()); // (M, 1, D)
    let y_j = LazyTensor::vj(y.clone()); // (1, N, D)
    let v_ij = &x_i - &y_j; // (M, N, D) symbolic tensor of differences
    let s_ij = v_ij.square().inner_sum(); // (M, N) symbolic matrix of squared distances
    println!("{s_ij}\n{v_ij}");

    // Every line ends with the shape of the result. "wrt. the 'N' dimension" means a reduction over
    // j.
    let mut shapes = Shapes::default();
    let s_i: Tensor<2> = s_ij.sum(Axis::J);
    shapes.print(
        "Sum reduction of S_ij wrt. the 'N' dimension",
        s_i.dims(),
        [m, 1],
    );
    let v_j: Tensor<2> = v_ij.sum(Axis::I);
    shapes.print(
        "Sum reduction of V_ij wrt. the 'M' dimension",
        v_j.dims(),
        [n, D],
    );

    let lse_j: Tensor<2> = s_ij.logsumexp(Axis::I);
    shapes.print(
        "LogSumExp reduction of S_ij wrt. the 'M' dimension",
        lse_j.dims(),
        [n, 1],
    );
    let lse_i: Tensor<2> = s_ij.logsumexp_weighted(&v_ij, Axis::J);
    shapes.print(
        "LogSumExp reduction of S_ij, with 'weight' V_ij, wrt. the 'N' dimension",
        lse_i.dims(),
        [m, D],
    );

    let min_j: Tensor<2> = s_ij.min(Axis::I);
    shapes.print(
        "Min reduction of S_ij wrt. the 'M' dimension",
        min_j.dims(),
        [n, 1],
    );
    let argmin_i: Tensor<2, Int> = s_ij.argmin(Axis::J);
    shapes.print(
        "ArgMin reduction of S_ij wrt. the 'N' dimension",
        argmin_i.dims(),
        [m, 1],
    );
    let max_j: Tensor<2> = v_ij.max(Axis::I);
    shapes.print(
        "Max reduction of V_ij wrt. the 'M' dimension",
        max_j.dims(),
        [n, D],
    );
    let argmax_i: Tensor<2, Int> = v_ij.argmax(Axis::J);
    shapes.print(
        "ArgMax reduction of V_ij wrt. the 'N' dimension",
        argmax_i.dims(),
        [m, D],
    );

    let (m_j, s_j) = s_ij.min_argmin::<2>(Axis::I);
    let what = "Min-ArgMin reduction on S_ij wrt. the 'M' dimension";
    shapes.print(what, m_j.dims(), [n, 1]);
    shapes.print(what, s_j.dims(), [n, 1]);
    let (m_i, a_i) = v_ij.max_argmax::<2>(Axis::J);
    let what = "Max-ArgMax reduction on V_ij wrt. the 'N' dimension";
    shapes.print(what, m_i.dims(), [m, D]);
    shapes.print(what, a_i.dims(), [m, D]);

    let k = 5;
    let kmin_j: Tensor<2> = s_ij.kmin(k, Axis::I);
    shapes.print(
        "KMin reduction of S_ij wrt. the 'M' dimension",
        kmin_j.dims(),
        [n, k],
    );
    let argkmin_i: Tensor<2, Int> = s_ij.argkmin(k, Axis::J);
    shapes.print(
        "ArgKMin reduction of S_ij wrt. the 'N' dimension",
        argkmin_i.dims(),
        [m, k],
    );
    let k = 7;
    let vector_kmin_j: Tensor<3> = v_ij.kmin(k, Axis::I);
    shapes.print(
        "KMin reduction of V_ij wrt. the 'M' dimension",
        vector_kmin_j.dims(),
        [n, k, D],
    );
    let vector_argkmin_i: Tensor<3, Int> = v_ij.argkmin(k, Axis::J);
    shapes.print(
        "ArgKMin reduction of V_ij wrt. the 'N' dimension",
        vector_argkmin_i.dims(),
        [m, k, D],
    );

    let soft_i: Tensor<2> = s_ij.sumsoftmaxweight(&v_ij, Axis::J);
    shapes.print(
        "SumSoftMaxWeight reduction of S_ij, with weights V_ij, wrt. the 'N' dimension",
        soft_i.dims(),
        [m, D],
    );

    // A Gaussian kernel matrix times a signal on the columns, and its transpose times a signal on
    // the rows.
    let k_ij = (-&s_ij).exp();
    let b = Tensor::<2>::random([n, 4], Distribution::Default, &device);
    let c = Tensor::<2>::random([m, 4], Distribution::Default, &device);
    let a = k_ij.matmul(b.clone());
    let d = k_ij.t().matmul(c.clone());
    println!("K @ b: {:?}, K.T @ c: {:?}", a.dims(), d.dims());

    // Sums of squared distances and of differences have closed forms in the means and second
    // moments of the points.
    let mut checks = Checks::default();
    checks.check(
        "shapes",
        shapes.right && a.dims() == [m, 4] && d.dims() == [n, 4],
    );
    let (x, y) = (host(x), host(y));
    let total = |points: &[f64], k: usize| points.iter().skip(k).step_by(D).sum::<f64>();
    let square = |point: &[f64]| point.iter().map(|t| t * t).sum::<f64>();
    let y_total: Vec<f64> = (0..D).map(|k| total(&y, k)).collect();
    let y_square: f64 = square(&y);
    let expected: Vec<f64> = x
        .chunks(D)
        .map(|p| {
            let cross: f64 = p.iter().zip(&y_total).map(|(a, b)| a * b).sum();
            n as f64 * square(p) - 2.0 * cross + y_square
        })
        .collect();
    checks.close("sum of S_ij over j", &host(s_i), &expected, 1e-6);
    let expected: Vec<f64> = y
        .chunks(D)
        .flat_map(|p| {
            (0..D)
                .map(|k| total(&x, k) - m as f64 * p[k])
                .collect::<Vec<_>>()
        })
        .collect();
    checks.close("sum of V_ij over i", &host(v_j), &expected, 1e-5);
    // <c, K b> = <K^T c, b>, whatever the kernel.
    let inner = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (left, right) = (
        inner(host(a.clone()), host(c)),
        inner(host(d), host(b.clone())),
    );
    checks.close("<c, K b> = <K.T c, b>", &[left], &[right], 1e-6);
    // The first row of K b, compared with a sum in f64.
    let b = host(b);
    let mut expected = vec![0.0; 4];
    for (j, p) in y.chunks(D).enumerate() {
        let distance: f64 = p.iter().zip(&x).map(|(a, b)| (a - b) * (a - b)).sum();
        for (e, sum) in expected.iter_mut().enumerate() {
            *sum += (-distance).exp() * b[4 * j + e];
        }
    }
    checks.close("first row of K @ b", &host(a)[..4], &expected, 1e-6);
    // The other reductions, compared in f64 for a few rows and columns.
    let v = |i: usize, j: usize, k: usize| x[i * D + k] - y[j * D + k];
    let s = |i: usize, j: usize| (0..D).map(|k| v(i, j, k).powi(2)).sum::<f64>();
    let few = |count: usize| (0..count.min(5)).map(move |r| r * (count / count.min(5)));
    let int = |tensor: Tensor<2, Int>| -> Vec<usize> {
        tensor
            .into_data()
            .iter::<i64>()
            .map(|v| v as usize)
            .collect()
    };
    let (lse_j, lse_i, soft_i, kmin_j) = (host(lse_j), host(lse_i), host(soft_i), host(kmin_j));
    let (argmin_i, argkmin_i) = (int(argmin_i), int(argkmin_i));
    let mut pairs: [Vec<[f64; 2]>; 4] = Default::default();
    let mut neighbours = true;
    for j in few(n) {
        let mut column: Vec<f64> = (0..m).map(|i| s(i, j)).collect();
        let sum: f64 = column.iter().map(|s| s.exp()).sum();
        pairs[0].push([lse_j[j], sum.ln()]);
        column.sort_by(f64::total_cmp);
        let smallest = kmin_j[5 * j..][..5].iter().zip(&column);
        pairs[1].extend(smallest.map(|(a, b)| [*a, *b]));
    }
    for i in few(m) {
        for k in 0..D {
            let total: f64 = (0..n).map(|j| s(i, j).exp()).sum();
            let weighted: f64 = (0..n).map(|j| s(i, j).exp() * v(i, j, k)).sum();
            // The logarithm of a sum that is not positive is NaN, so only clearly positive sums are
            // compared.
            if weighted > 1e-3 * total {
                pairs[2].push([lse_i[i * D + k], weighted.ln()]);
            }
            pairs[3].push([soft_i[i * D + k], weighted / total]);
        }
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| s(i, *a).total_cmp(&s(i, *b)));
        neighbours &=
            order[0] == argmin_i[i] && order[..5.min(n)] == argkmin_i[5 * i..][..5.min(n)];
    }
    let names = [
        "LogSumExp",
        "KMin",
        "LogSumExp with a weight",
        "SumSoftMaxWeight",
    ];
    for (name, pairs) in names.iter().zip(&pairs) {
        let side = |k: usize| pairs.iter().map(|pair| pair[k]).collect::<Vec<f64>>();
        if !pairs.is_empty() {
            checks.close(name, &side(0), &side(1), 1e-5);
        }
    }
    checks.check("nearest neighbours", neighbours);
    checks.exit_code()
}

/// Prints shapes and remembers whether all of them were as expected.
struct Shapes {
    right: bool,
}

impl Default for Shapes {
    fn default() -> Self {
        Self { right: true }
    }
}

impl Shapes {
    fn print<const R: usize>(&mut self, what: &str, shape: [usize; R], expected: [usize; R]) {
        println!("{what}: {shape:?}");
        self.right &= shape == expected;
    }
}
