//! How ranges are serialised and read again.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{
    Ranges, RangesError,
    list::{Builder, List},
};

/// The wire form of ranges.
#[derive(Serialize, Deserialize)]
struct Flat {
    sizes: [usize; 2],
    batch: Vec<usize>,
    lists: Vec<FlatList>,
    order: [Option<Arc<[u32]>>; 2],
    /// The bits of each limit, as JSON has no infinities.
    limits: Option<Vec<u32>>,
}

/// The wire form of the ranges of one batch: the first row of each cluster, and its ranges of columns.
#[derive(Serialize, Deserialize)]
struct FlatList(Vec<(u32, Vec<(u32, u32)>)>);

impl FlatList {
    fn of(list: &List) -> Self {
        // A cluster without rows has no pairs.
        let clusters = list.clusters().filter(|(rows, _)| !rows.is_empty());
        let clusters = clusters.map(|(rows, columns)| {
            let columns = columns.iter().map(|own| (own.start, own.end));
            (rows.start as u32, columns.collect())
        });
        Self(clusters.collect())
    }

    fn list(&self, sizes: [usize; 2]) -> Result<List, RangesError> {
        let mut builder = Builder::new(sizes)?;
        let starts = || self.0.iter().map(|(start, _)| *start as usize);
        let ends = starts().skip(1).chain([sizes[0]]);
        let mut before = 0;
        for ((start, end), (_, columns)) in starts().zip(ends).zip(&self.0) {
            // Clusters must hold each row once, in ascending order.
            if start != before {
                return Err(RangesError::Uncovered {
                    start: before,
                    end: start,
                });
            }
            if end <= start {
                return Err(RangesError::Reversed {
                    what: "rows",
                    start,
                    end,
                });
            }
            builder.cluster(start..end)?;
            for (first, last) in columns {
                builder.push(*first as usize..*last as usize)?;
            }
            before = end;
        }
        match before == sizes[0] {
            true => Ok(builder.finish()),
            false => Err(RangesError::Uncovered {
                start: before,
                end: sizes[0],
            }),
        }
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bits = |limits: &Arc<[f32]>| limits.iter().map(|limit| limit.to_bits()).collect();
        let flat = Flat {
            sizes: self.sizes,
            batch: self.batch.clone(),
            lists: self.lists.iter().map(|list| FlatList::of(list)).collect(),
            order: self.order.clone(),
            limits: self.limits.as_ref().map(bits),
        };
        flat.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let flat = Flat::deserialize(deserializer)?;
        let lists = flat.lists.iter().map(|list| list.list(flat.sizes));
        let lists = lists
            .map(|list| list.map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map_err(D::Error::custom)?;
        let batches = (flat.batch.iter()).try_fold(1usize, |all, size| all.checked_mul(*size));
        if batches != Some(lists.len()) {
            return Err(D::Error::custom(format!(
                "{} lists of ranges for batches of {:?}",
                lists.len(),
                flat.batch
            )));
        }
        let ranges = Self::of_lists(flat.sizes, flat.batch, lists);
        let ranges = ranges.with_order(flat.order).map_err(D::Error::custom)?;
        let values = |bits: Vec<u32>| bits.into_iter().map(f32::from_bits).collect();
        Ok(match flat.limits.map(values) {
            Some(limits) => ranges.with_limits(limits),
            None => ranges,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::Ranges, Flat, FlatList};

    fn again(ranges: &Ranges) -> Ranges {
        let text = serde_json::to_string(ranges).expect("it is serialisable");
        serde_json::from_str(&text).expect("it is valid")
    }

    #[test]
    fn ranges_are_read_as_they_were_written() {
        let band = Ranges::band([5, 7], 1, 2).unwrap();
        let other = Ranges::new([5, 7], &[0..2, 2..5], &[0, 2], &[1..3, 4..7]).unwrap();
        let order: [Option<Arc<[u32]>>; 2] = [Some([4, 3, 0, 1, 2].into()), None];
        let all = [
            Ranges::band([0, 3], 1, 1).unwrap(),
            Ranges::batched(&[2, 1], &[band.clone(), other.clone()]).unwrap(),
            other.clone().with_order(order).unwrap(),
            other.transposed(),
            band,
            other,
        ];
        for ranges in all {
            assert!(again(&ranges) == ranges, "{ranges:?}");
        }
        let limits: Arc<[f32]> = [1.0, f32::INFINITY, -0.0, 2.0, 3.0].into();
        let limited = Ranges::causal([5, 5]).unwrap().with_limits(limits.clone());
        assert_eq!(again(&limited).limits, Some(limits));
    }

    #[test]
    fn what_are_no_ranges_is_refused() {
        let valid = || Flat {
            sizes: [4, 6],
            batch: vec![],
            lists: vec![FlatList(vec![(0, vec![(0, 2), (3, 6)]), (3, vec![])])],
            order: [None, None],
            limits: None,
        };
        let error = |change: &dyn Fn(&mut Flat)| {
            let mut flat = valid();
            change(&mut flat);
            let text = serde_json::to_string(&flat).unwrap();
            serde_json::from_str::<Ranges>(&text).map_err(|error| error.to_string())
        };
        assert!(error(&|_| ()).is_ok());
        type Change<'a> = &'a dyn Fn(&mut Flat);
        let refused: [(Change, &str); 11] = [
            (
                &|flat| flat.lists[0].0[0].0 = 1,
                "the rows 0..1 are in no cluster",
            ),
            (&|flat| flat.lists[0].0[1].0 = 0, "ends before it starts"),
            (&|flat| flat.lists[0].0[1].0 = 4, "ends before it starts"),
            (
                &|flat| flat.lists[0].0.clear(),
                "the rows 0..4 are in no cluster",
            ),
            (
                &|flat| flat.lists[0].0[0].1[0] = (2, 1),
                "ends before it starts",
            ),
            (&|flat| flat.lists[0].0[0].1[0] = (0, 4), "overlap"),
            (
                &|flat| flat.lists[0].0[0].1[1] = (3, 7),
                "leaves the 6 columns",
            ),
            (
                &|flat| flat.lists.clear(),
                "0 lists of ranges for batches of []",
            ),
            (
                &|flat| flat.batch = vec![usize::MAX, 2],
                "1 lists of ranges for batches",
            ),
            (
                &|flat| flat.sizes[1] = usize::MAX,
                "too many to be numbered",
            ),
            (
                &|flat| flat.order[1] = Some([0, 1, 2, 3, 4, 4].into()),
                "does not have each index",
            ),
        ];
        for (change, text) in refused {
            let refused = error(change).err().unwrap_or_else(|| panic!("not: {text}"));
            assert!(refused.contains(text), "{refused} is not: {text}");
        }
    }
}
