//! Sources and formulas that fail, threads, and files.

use std::{
    cell::{Cell, RefCell},
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use burn::prelude::*;
#[cfg(feature = "mmap")]
use burn_lazy::stream::Mapped;
use burn_lazy::{
    LazyTensor,
    stream::{self, Columns, InMemory, Progress, StreamError},
};

use super::{
    stream::columns,
    support::{device, host},
};

#[test]
fn progress_is_told_after_each_chunk() {
    let source = columns(&[1.0; 7], 1);
    let told = RefCell::new(Vec::new());
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device()));
    let stream = stream::over([&source], &device()).chunk(3);
    let stream = stream.progress(|Progress { done, all, .. }| told.borrow_mut().push((done, all)));
    let _: Tensor<2> = stream.sum(|[y_j]| &x_i * y_j).unwrap();
    assert_eq!(*told.borrow(), [(3, 7), (6, 7), (7, 7)]);
}

#[test]
fn a_source_that_fails_gives_its_error_and_works_again() {
    let fails = AtomicUsize::new(1);
    let source = stream::from_fn(10, 1, |columns, out| {
        out.fill(1.0);
        match columns.start >= 6 && fails.load(Ordering::Relaxed) == 1 {
            true => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the tape is torn",
            )),
            false => Ok(()),
        }
    });
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device()));
    let stream = stream::over([&source], &device()).chunk(2);
    let sum = || stream.sum::<2, _>(|[y_j]| &x_i * y_j);
    let error = sum().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the columns 6..8 of source 0 cannot be read: the tape is torn"
    );
    let StreamError::Read { error, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    fails.store(0, Ordering::Relaxed);
    assert_eq!(host(sum().unwrap()), [10.0]);
}

#[test]
fn a_formula_that_fails_ends_the_reader() {
    let reads = AtomicUsize::new(0);
    let source = stream::from_fn(100, 2, |_, out| {
        reads.fetch_add(1, Ordering::Relaxed);
        out.fill(1.0);
        Ok(())
    });
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 3], &device()));
    let stream = stream::over([&source], &device()).chunk(2);
    let error = stream.sum::<2, _>(|[y_j]| x_i.try_sqdist(y_j)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("the inner dimensions 3 and 2 do not fit"),
        "{text}"
    );
    assert!(text.contains("`y0` of shape [2, 2]"), "{text}");
    // At most the first chunk and those that were read ahead have been read.
    assert!(reads.load(Ordering::Relaxed) <= 3);
    // A panic of the formula ends the stream, too, and the next call works.
    let calls = Cell::new(0);
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        stream.sum::<2, _>(|[y_j]| {
            calls.set(calls.get() + 1);
            assert!(calls.get() < 3, "enough");
            y_j.inner_sum()
        })
    }));
    assert!(panics.is_err());
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 2], &device()));
    let sum: Tensor<2> = stream.sum(|[y_j]| x_i.dot(y_j)).unwrap();
    assert_eq!(host(sum), [200.0]);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let (three, two) = (columns(&[1.0; 3], 1), columns(&[1.0; 2], 1));
    let x = Tensor::<2>::ones([1, 1], &device());
    let x_i = LazyTensor::vi(x.clone());
    let text = |error: StreamError| error.to_string();
    let both = stream::over([&three, &two], &device());
    assert_eq!(
        text(both.sum::<2, _>(|[y_j, b_j]| y_j * b_j).unwrap_err()),
        "source 1 has 2 columns, and source 0 has 3"
    );
    let zero = stream::over([&three], &device()).chunk(0);
    let error = zero.sum::<2, _>(|[y_j]| &x_i * y_j).unwrap_err();
    assert_eq!(text(error), "columns cannot be read in chunks of 0");
    let none = stream::over([], &device());
    let error = none.sum::<2, _>(|[]| x_i.clone()).unwrap_err();
    assert_eq!(
        text(error),
        "a stream needs columns to read, and has no source"
    );
    let one = || stream::over([&three], &device()).chunk(2);
    let others = LazyTensor::vj(Tensor::<2>::ones([5, 1], &device()));
    let error = text(one().sum::<2, _>(|_| &x_i * &others).unwrap_err());
    assert!(
        error.starts_with("the formula should have the 2 columns of the chunk: (x0 * y0)"),
        "{error}"
    );
    let error = text(one().sum::<3, _>(|[y_j]| &x_i * y_j).unwrap_err());
    assert!(
        error.contains("sum gives shape [1, 1], not a tensor of 3 dimensions"),
        "{error}"
    );
    let error = text(one().kmin::<2, _>(0, |[y_j]| &x_i * y_j).unwrap_err());
    assert!(
        error.contains("kmin gives 1 to 1024 values, not 0"),
        "{error}"
    );
    let error = InMemory::new([1.0f32; 5], 2).unwrap_err().to_string();
    assert_eq!(error, "5 numbers are no columns of 2 numbers each");
    assert!(InMemory::new([1.0f32; 5], 0).is_err());
    let error = three.read(2..4, &mut [0.0; 2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there are 3 columns, and 2..4 are asked for"
    );
    // More columns than the integers of the device can count.
    let limit = match device().settings().int_dtype {
        burn::tensor::IntDType::I32 => i32::MAX as usize,
        _ => return,
    };
    let many = stream::from_fn(limit + 1, 1, |_, out| {
        out.fill(0.0);
        Ok(())
    });
    let error = stream::over([&many], &device()).argmin::<2, _>(|[y_j]| &x_i * y_j);
    assert!(text(error.unwrap_err()).contains("are more than an integer of the device holds"));
}

#[test]
fn two_streams_run_at_once() {
    let source = columns(&(0..50).map(f64::from).collect::<Vec<_>>(), 1);
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device()));
    let sums = std::thread::scope(|scope| {
        let threads = [3, 7].map(|chunk| {
            let (x_i, source) = (&x_i, &source);
            scope.spawn(move || {
                let stream = stream::over([source], &device()).chunk(chunk);
                host::<2>(stream.sum(|[y_j]| x_i * y_j).unwrap())[0]
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(sums, [1225.0, 1225.0]);
}

#[cfg(feature = "mmap")]
#[test]
fn files_are_columns() {
    let folder = std::env::temp_dir().join(format!("burn-lazy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let values = [1.5f32, -2.0, 3.25, 4.0, 5.0, 6.0];
    let raw: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let path = folder.join("columns.f32");
    std::fs::write(&path, &raw).unwrap();
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 2], &device()));
    let sum = |columns: &dyn Columns| {
        let stream = stream::over([columns], &device()).chunk(2);
        host::<2>(stream.sum(|[y_j]| x_i.clone() * y_j).unwrap())
    };
    let mapped = Mapped::raw(&path, 2).unwrap();
    assert_eq!((mapped.len(), mapped.dim()), (3, 2));
    assert_eq!(sum(&mapped), [9.75, 8.0]);
    let mut part = [0.0; 2];
    mapped.read(1..2, &mut part).unwrap();
    assert_eq!(part, [3.25, 4.0]);
    assert!(mapped.read(2..4, &mut [0.0; 4]).is_err());
    let error = Mapped::raw(&path, 5).unwrap_err().to_string();
    assert!(
        error.ends_with("24 bytes are no columns of 5 numbers of 4 bytes each"),
        "{error}"
    );
    assert!(Mapped::raw(&path, 0).is_err());

    let npy = |dtype: &str, shape: &str, numbers: Vec<u8>| {
        let header =
            format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(numbers);
        let path = folder.join("columns.npy");
        std::fs::write(&path, file).unwrap();
        Mapped::npy(&path)
    };
    let double = |value: &f32| f64::from(*value);
    let big: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect();
    let long: Vec<u8> = values
        .iter()
        .flat_map(|value| double(value).to_le_bytes())
        .collect();
    let big_long = values
        .iter()
        .flat_map(|value| double(value).to_be_bytes())
        .collect();
    for (dtype, numbers) in [
        ("<f4", raw.clone()),
        (">f4", big),
        ("<f8", long),
        (">f8", big_long),
    ] {
        assert_eq!(
            sum(&npy(dtype, "(3, 2)", numbers).unwrap()),
            [9.75, 8.0],
            "{dtype}"
        );
    }
    assert_eq!(npy("<f4", "(6,)", raw.clone()).unwrap().dim(), 1);
    let error = |dtype: &str, shape: &str| npy(dtype, shape, raw.clone()).unwrap_err().to_string();
    assert!(error("<i4", "(3, 2)").ends_with("numbers are of type <i4, not f4 or f8"));
    assert!(error("<f4", "(1, 3, 2)").ends_with("an array of shape [1, 3, 2] has no columns"));
    // A file that is too short.
    assert!(error("<f4", "(4, 2)").ends_with("the array has 32 bytes, and the file 24 of them"));
    let missing = Mapped::npy(folder.join("nothing.npy")).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    std::fs::remove_dir_all(&folder).unwrap();
}
