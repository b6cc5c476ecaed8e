//! A cache of values that are made from formulas. Training loops reduce the same few formulas again and again.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, LazyLock, Mutex},
};

/// A cache of values by their keys. It is emptied when it is full.
pub(crate) struct Kept<K, V>(LazyLock<Mutex<HashMap<K, Arc<V>>>>);

impl<K: Eq + Hash, V> Kept<K, V> {
    /// The largest number of values that are kept.
    const MOST: usize = 1024;

    pub const fn new() -> Self {
        Self(LazyLock::new(Default::default))
    }

    /// The value for `key`. If it is not in the cache, `make` makes it. The cache is not locked meanwhile: other
    /// threads do not wait, and may make the same value, too.
    pub fn get(&self, key: K, make: impl FnOnce(&K) -> V) -> Arc<V> {
        let lock = || self.0.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(value) = lock().get(&key) {
            return value.clone();
        }
        let value = Arc::new(make(&key));
        let mut kept = lock();
        if kept.len() >= Self::MOST {
            kept.clear();
        }
        kept.entry(key).or_insert(value).clone()
    }
}
