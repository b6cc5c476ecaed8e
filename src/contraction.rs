//! Sums over axes of tensors that lie on the inner axis.

use burn_lazy_kernels::Expr;

/// Which axes of two tensors on the inner axis are summed over, for
/// [`tensordot`](crate::LazyTensor::tensordot).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contraction {
    shapes: [Vec<usize>; 2],
    contracted: [Vec<usize>; 2],
    permutation: Option<Vec<usize>>,
}

impl Contraction {
    /// A contraction of tensors of shapes `left` and `right`. The axes `left_axes` and `right_axes` are summed over
    /// in pairs.
    pub fn new(left: &[usize], right: &[usize], left_axes: &[usize], right_axes: &[usize]) -> Self {
        Self {
            shapes: [left.to_vec(), right.to_vec()],
            contracted: [left_axes.to_vec(), right_axes.to_vec()],
            permutation: None,
        }
    }

    /// The same contraction with another order of the axes of the result: axis `k` is the former axis
    /// `permutation[k]`.
    pub fn permuted(self, permutation: Vec<usize>) -> Self {
        Self {
            permutation: Some(permutation),
            ..self
        }
    }

    /// The positions of the components that are multiplied, or the reason why the axes do not fit.
    pub(crate) fn places(&self, dims: [usize; 2]) -> Result<Places, &'static str> {
        let mut kept: Vec<(usize, usize, usize)> = Vec::new();
        let mut summed: [Vec<(usize, usize)>; 2] = Default::default();
        for side in [0, 1] {
            let (shape, axes) = (&self.shapes[side], &self.contracted[side]);
            if shape.iter().product::<usize>() != dims[side] {
                return Err("the sizes of the axes do not multiply to the inner dimension");
            }
            let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
            for axis in axes {
                if *axis >= shape.len() || axes.iter().filter(|other| *other == axis).count() > 1 {
                    return Err("a contracted axis does not exist or is named twice");
                }
                summed[side].push((shape[*axis], stride(*axis)));
            }
            let others = (0..shape.len()).filter(|axis| !axes.contains(axis));
            kept.extend(others.map(|axis| (side, shape[axis], stride(axis))));
        }
        if summed[0].len() != summed[1].len()
            || summed[0].iter().zip(&summed[1]).any(|(a, b)| a.0 != b.0)
        {
            return Err("the contracted axes have different sizes");
        }
        if let Some(permutation) = &self.permutation {
            let mut sorted = permutation.clone();
            sorted.sort_unstable();
            if sorted != (0..kept.len()).collect::<Vec<_>>() {
                return Err("the permutation does not name each axis of the result once");
            }
            kept = permutation.iter().map(|axis| kept[*axis]).collect();
        }
        let outer = [0, 1].map(|side| {
            let axes = kept.iter().map(|(own, size, stride)| {
                let stride = if *own == side { *stride } else { 0 };
                (*size, stride)
            });
            offsets(&axes.collect::<Vec<_>>())
        });
        let inner = [0, 1].map(|side| offsets(&summed[side]));
        Ok(Places { outer, inner })
    }
}

/// The offsets of all elements of a tensor with the given sizes and strides.
fn offsets(axes: &[(usize, usize)]) -> Vec<usize> {
    axes.iter().fold(vec![0], |offsets, (size, stride)| {
        let each = |offset: usize| (0..*size).map(move |k| offset + k * stride);
        offsets.into_iter().flat_map(each).collect()
    })
}

/// The positions of the components that are multiplied. For each side, `outer` holds the offset where each element of
/// the result starts, and `inner` the offsets of its terms from there.
pub(crate) struct Places {
    outer: [Vec<usize>; 2],
    inner: [Vec<usize>; 2],
}

impl Places {
    /// The contraction as a sum of products of long vectors, or as a vector of inner products: the one that reads
    /// longer runs of components.
    pub fn sum_of_products(&self, left: &Expr, right: &Expr) -> Expr {
        let plus = |offsets: &[usize], start: usize| -> Vec<usize> {
            offsets.iter().map(|offset| offset + start).collect()
        };
        let columns = |side: usize| -> Vec<Vec<usize>> {
            let terms = self.inner[side].iter();
            terms.map(|term| plus(&self.outer[side], *term)).collect()
        };
        let rows = |side: usize| -> Vec<Vec<usize>> {
            let elements = self.outer[side].iter();
            elements
                .map(|start| plus(&self.inner[side], *start))
                .collect()
        };
        let count = |all: &[Vec<usize>]| -> usize { all.iter().map(|one| runs(one).len()).sum() };
        let (long, short) = ([columns(0), columns(1)], [rows(0), rows(1)]);
        let by_terms = count(&long[0]) + count(&long[1]);
        let by_elements = count(&short[0]) + count(&short[1]);
        if by_terms <= by_elements {
            let terms = long[0].iter().zip(&long[1]);
            Expr::sum(terms.map(|(a, b)| gather(left, a) * gather(right, b)))
        } else {
            let elements = short[0].iter().zip(&short[1]);
            Expr::concat(
                elements
                    .map(|(a, b)| gather(left, a).dot(&gather(right, b)))
                    .collect(),
            )
        }
    }
}

/// Splits `places` into runs of consecutive places (step 1) or equal places (step 0): start, length and step of each.
fn runs(places: &[usize]) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for place in places {
        match runs.last_mut() {
            Some((start, len, step)) if *len == 1 && [*start, *start + 1].contains(place) => {
                (*len, *step) = (2, place - *start);
            }
            Some((start, len, step)) if *len > 1 && *place == *start + *len * *step => *len += 1,
            _ => runs.push((*place, 1, 1)),
        }
    }
    runs
}

/// The components of `expr` at `places`.
fn gather(expr: &Expr, places: &[usize]) -> Expr {
    let part = |(start, len, step): (usize, usize, usize)| match step {
        0 => expr.slice(start, 1).expand(len),
        _ => expr.slice(start, len),
    };
    Expr::concat(runs(places).into_iter().map(part).collect())
}
