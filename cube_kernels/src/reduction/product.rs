use super::{Accumulation, Entry, Family, Forward, Found, ReductionKind, Wanted};
use crate::formula::{Cotangent, catalogue::ScalarOp, expr::Expr};

/// The product.
pub struct Product;

impl Family for Product {
    fn name(&self) -> String {
        "product".into()
    }

    fn empty(&self) -> f64 {
        1.0
    }

    fn vectors(&self, dim: usize, _wanted: Wanted) -> usize {
        dim
    }

    fn value(&self, columns: &[Vec<f64>], entry: Entry) -> Found {
        (entry.of(columns).product(), None)
    }

    fn value_of_equal(&self, column: &[f64], count: usize, entry: Entry) -> Found {
        (column[entry.component].powf(count as f64), None)
    }

    /// The product of the values of all other pairs. Without zeros it is the product of all values divided by the value
    /// of the pair. If exactly one value is 0, it is 0 except at that value, where it is the product of the others.
    fn derivative(&self, forward: &mut dyn Forward) -> Cotangent {
        let root = forward.root().clone();
        let zero = root.equal_to(0.0);
        let masked = |source: Expr| {
            Expr::scalar(
                ScalarOp::MaskWhere,
                vec![root.clone(), zero.clone(), source],
            )
        };
        let one = masked(Expr::constant(1.0));
        let zeros = forward.reduced(ReductionKind::Sum(Accumulation::Blocks), &zero);
        let product = forward.reduced(ReductionKind::Product, &one);
        let divided = product.clone() / one;
        // Selections, not products with 0, as the product and the quotient may be infinite.
        let elsewhere = divided.zero_where(&zeros);
        let several = Expr::scalar(ScalarOp::NotEqual, vec![zeros, Expr::constant(1.0)]);
        let at_zero = product.zero_where(&several);
        let others = Expr::scalar(ScalarOp::MaskWhere, vec![elsewhere, zero, at_zero]);
        (forward.cotangent() * others).into()
    }
}

/// The kernel code of this reduction: its state, and how it takes in values.
#[cfg(feature = "cubecl")]
pub(super) mod kernel {
    use cubecl::prelude::*;

    use super::{
        super::{Spec, accumulator::*},
        Product,
    };
    use crate::{math::constant_vector, program::UNROLL};

    /// The running products.
    #[derive(CubeType)]
    pub struct ProductState<A: Float, N: Size> {
        product: Array<Vector<A, N>>,
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for Product {
        type State = ProductState<A, N>;

        fn step(
            state: &mut ProductState<A, N>,
            index: usize,
            _columns: &Consecutive<'_>,
            values: &Sequence<Vector<F, N>>,
            #[comptime] _first: usize,
            #[comptime] _rule: Rule,
        ) {
            let q = values.len();
            #[unroll]
            for c in 0..q {
                state.product[index] *= Vector::<A, N>::cast_from(*values.index(c));
            }
        }
    }

    products_are_values!(Product);

    weights_are_values!(Product);

    no_indices!(Product);

    values_are_kept!(Product, product);

    columns_are_not_counted!(Product);

    #[cube]
    impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for Product {
        fn init(_begin: u32, _infinity: F, #[comptime] rule: Rule) -> ProductState<A, N> {
            let dim = comptime!(rule.spec.dim);
            let mut state = ProductState::<A, N> {
                product: Array::new(dim),
            };
            #[unroll(dim <= UNROLL)]
            for k in 0..dim {
                state.product[k] = constant_vector::<A, N>(1.0);
            }
            state
        }

        fn merge(
            state: &mut ProductState<A, N>,
            later: &ProductState<A, N>,
            #[comptime] rule: Rule,
        ) {
            for k in 0..rule.spec.dim {
                state.product[k] *= later.product[k];
            }
        }
    }
}
