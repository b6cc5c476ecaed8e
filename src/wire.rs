//! Reductions as they are sent to a server: as the scalars of a custom operation of Burn.
//!
//! The scalars are words of 64 bits: the version of this format, a hash of the functions and reductions that the
//! sender knows, the length of a text in bytes, and the text, eight bytes a word, the lowest byte first. The text
//! holds everything except the tensors and the run-time scalars. The run-time scalars follow as floating point
//! numbers.
//!
//! Burn keeps graphs of operations on the server, and sends only their scalars again. It takes two graphs with the
//! same number of scalars for the same graph, whatever the scalars are. So everything must be in the values of the
//! scalars, and nothing in their number alone.

use std::{borrow::Cow, sync::LazyLock};

use burn::{
    backend::ir::ScalarIr,
    tensor::{FloatDType, IntDType},
};
use burn_lazy_kernels::{Axis, Formula, ReductionKind, Wanted, catalogue::ScalarOp};
use serde::{Deserialize, Serialize};

use crate::{
    ops::{MOST_SMALLEST, Reduction},
    ranges::Ranges,
};

/// The version of this format. Every change of what is sent raises it.
const VERSION: u64 = 1;

/// The largest number of values in a result, and of rows and of columns. Kernels cannot number more.
const MOST_NUMBERS: usize = u32::MAX as usize;

/// Why a reduction cannot be sent or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// The client sends another version of the format.
    #[error(
        "the client sends reductions in version {given}, and this server reads version {expected}"
    )]
    Version { given: u64, expected: u64 },
    /// The client has another version of this crate, or other functions.
    #[error(
        "the client has another version of burn-lazy than this server, {}, or other functions: both must be built with the same",
        env!("CARGO_PKG_VERSION")
    )]
    Functions,
    /// There are too few or too many scalars, or scalars of another type.
    #[error("{0}")]
    Scalars(String),
    /// The text does not hold a reduction.
    #[error("the reduction cannot be read: {0}")]
    Text(String),
    /// The reduction is not valid, or too large.
    #[error("{0}")]
    Reduction(String),
}

/// A reduction without its run-time scalars.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    formula: Cow<'a, Formula>,
    kind: ReductionKind,
    wanted: Wanted,
    values: Option<FloatDType>,
    indices: IntDType,
    axis: Axis,
    batch: Cow<'a, [usize]>,
    m: usize,
    n: usize,
    squeezed: bool,
    fold: Option<usize>,
    ranges: Option<Cow<'a, Ranges>>,
}

/// A hash of the version of this crate and of the names of its functions and reductions, which the text names by
/// their places. It is the hash FNV-1a of Fowler, Noll and Vo, as the hashes of the standard library may change with
/// its version.
fn functions() -> u64 {
    static NUMBER: LazyLock<u64> = LazyLock::new(|| {
        let functions = ScalarOp::all().into_iter().map(|op| format!("{op:?}"));
        let reductions = ReductionKind::all().map(|kind| format!("{kind:?}"));
        let version = env!("CARGO_PKG_VERSION").to_string();
        let names = std::iter::once(version).chain(functions).chain(reductions);
        let names = names.collect::<Vec<_>>().join(" ");
        names.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    });
    *NUMBER
}

/// The scalars that hold `reduction`.
pub(crate) fn encode(reduction: &Reduction) -> Vec<ScalarIr> {
    let body = Body {
        formula: Cow::Borrowed(&reduction.formula),
        kind: reduction.kind,
        wanted: reduction.wanted,
        values: reduction.values,
        indices: reduction.indices,
        axis: reduction.axis,
        batch: Cow::Borrowed(&reduction.batch),
        m: reduction.m,
        n: reduction.n,
        squeezed: reduction.squeezed,
        fold: reduction.fold,
        ranges: reduction.ranges.as_ref().map(Cow::Borrowed),
    };
    let text = postcard::to_allocvec(&body).expect("all parts have a known length");
    let words = text.chunks(8).map(|bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    });
    let head = [VERSION, functions(), text.len() as u64];
    let words = head.into_iter().chain(words).map(ScalarIr::UInt);
    let scalars = reduction.scalars.iter().copied().map(ScalarIr::Float);
    words.chain(scalars).collect()
}

/// The reduction that `scalars` hold. They may come from anyone, so the reduction is checked by [`check`]. Its
/// tensors are not known here, and must be checked by the caller.
pub(crate) fn decode(scalars: &[ScalarIr]) -> Result<Reduction, WireError> {
    let word = |at: usize| match scalars.get(at) {
        Some(ScalarIr::UInt(word)) => Ok(*word),
        other => Err(WireError::Scalars(format!(
            "scalar {at} of {} is {other:?}, and no word of a reduction",
            scalars.len()
        ))),
    };
    let version = word(0)?;
    if version != VERSION {
        return Err(WireError::Version {
            given: version,
            expected: VERSION,
        });
    }
    if word(1)? != functions() {
        return Err(WireError::Functions);
    }
    const HEAD: usize = 3;
    let len = word(2)?;
    let most = 8 * scalars.len().saturating_sub(HEAD);
    let len = usize::try_from(len).ok().filter(|len| *len <= most);
    let Some(len) = len else {
        return Err(WireError::Scalars(format!(
            "{} scalars are too few for a text of {} bytes",
            scalars.len(),
            word(2)?
        )));
    };
    let end = HEAD + len.div_ceil(8);
    let mut text = Vec::with_capacity(8 * (end - HEAD));
    for at in HEAD..end {
        text.extend(word(at)?.to_le_bytes());
    }
    if text[len..].iter().any(|byte| *byte != 0) {
        return Err(WireError::Text("there are bytes behind its end".into()));
    }
    let (body, rest) = postcard::take_from_bytes::<Body>(&text[..len])
        .map_err(|error| WireError::Text(error.to_string()))?;
    if !rest.is_empty() {
        let rest = rest.len();
        return Err(WireError::Text(format!("{rest} bytes are left")));
    }
    let number = |scalar: &ScalarIr| match scalar {
        ScalarIr::Float(value) => Ok(*value),
        other => Err(WireError::Scalars(format!(
            "a run-time scalar is {other:?}, and no floating point number"
        ))),
    };
    let reduction = Reduction {
        formula: body.formula.into_owned(),
        kind: body.kind,
        wanted: body.wanted,
        values: body.values,
        indices: body.indices,
        axis: body.axis,
        batch: body.batch.into_owned(),
        m: body.m,
        n: body.n,
        squeezed: body.squeezed,
        fold: body.fold,
        ranges: body.ranges.map(Cow::into_owned),
        scalars: scalars[end..]
            .iter()
            .map(number)
            .collect::<Result<_, _>>()?,
    };
    check(&reduction)?;
    Ok(reduction)
}

/// Checks everything that a backend relies on in a reduction, and that the reduction is not too large to be read.
pub(crate) fn check(reduction: &Reduction) -> Result<(), WireError> {
    let wrong = |what: String| Err(WireError::Reduction(what));
    let Reduction {
        formula,
        kind,
        wanted,
        axis,
        fold,
        ..
    } = reduction;
    formula.check_size().map_err(WireError::Reduction)?;
    let (dim, rows) = (formula.dim(), reduction.size(axis.other()));
    let fits = match *kind {
        ReductionKind::LogSumExp { scores } => {
            let others = dim.checked_sub(scores);
            scores > 0 && others.is_some_and(|own| own <= 1 || scores == 1 || own == scores)
        }
        ReductionKind::SoftmaxSum => dim > 1,
        ReductionKind::Smallest { k } => (1..=MOST_SMALLEST).contains(&k),
        _ => true,
    };
    if !fits {
        return wrong(format!("there is no {kind:?} of {dim} components"));
    }
    let counts = *kind == ReductionKind::Count;
    let given = (wanted.values || wanted.indices)
        && !(wanted.values && counts)
        && (!wanted.indices || counts || kind.selects())
        && (!wanted.state || kind.has_state());
    if !given {
        return wrong(format!("a {kind} does not give {wanted:?}"));
    }
    let signed = [IntDType::I64, IntDType::I32, IntDType::I16, IntDType::I8];
    if !signed.contains(&reduction.indices) {
        return wrong(format!("indices are no {:?}", reduction.indices));
    }
    if reduction.values == Some(FloatDType::Flex32) {
        return wrong("values are no Flex32".into());
    }
    let (given, expected) = (reduction.scalars.len(), formula.scalars().count());
    if given != expected {
        return wrong(format!("{given} run-time scalars for {expected}"));
    }
    if formula.tensors().next().is_none() {
        return wrong("there is no tensor in the formula".into());
    }
    let sums = matches!(kind, ReductionKind::Sum(_)) && reduction.ranges.is_none();
    if fold.is_some_and(|fold| !sums || reduction.squeezed || !(1..=rows.max(1)).contains(&fold)) {
        return wrong(format!("{rows} rows of a {kind} do not become {fold:?}"));
    }
    if reduction.squeezed && rows != 1 {
        return wrong(format!("{rows} rows cannot be left out"));
    }
    let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |a, b| a.checked_mul(*b));
    let spec = reduction.spec_of_terms();
    let each = product(&[rows, spec.entries().max(spec.partial_values()).max(1)]);
    let numbers = product(&reduction.batch).zip(each);
    let numbers = numbers.and_then(|(batches, each)| batches.checked_mul(each));
    let (batch, m, n) = (&reduction.batch, reduction.m, reduction.n);
    if numbers.is_none_or(|numbers| numbers.max(m).max(n) > MOST_NUMBERS) {
        return wrong(format!(
            "batches {batch:?} of {m} x {n} pairs have more rows, columns or results than {MOST_NUMBERS}"
        ));
    }
    let Some(ranges) = &reduction.ranges else {
        return Ok(());
    };
    let fits = ranges.sizes() == [m, n] && ranges.fits_batch(batch);
    let terms = reduction.terms();
    let kind = terms.as_ref().map_or(*kind, |(_, kind)| *kind);
    match fits && ranges.over(*axis).has_limits_for(kind, dim, batch) {
        true => Ok(()),
        false => wrong(format!(
            "{ranges:?} are not those of {m} x {n} pairs in batches of {batch:?}"
        )),
    }
}

#[cfg(test)]
mod tests;
