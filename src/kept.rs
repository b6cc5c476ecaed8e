//! What is made of formulas and kept, as training loops reduce the same few formulas again and again.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, LazyLock, Mutex},
};

/// The last values.
pub(crate) struct Kept<K, V>(LazyLock<Mutex<HashMap<K, Arc<V>>>>);

impl<K: Eq + Hash, V> Kept<K, V> {
    /// The most values that are kept.
    const MOST: usize = 1024;

    pub const fn new() -> Self {
        Self(LazyLock::new(Default::default))
    }

    /// The value for `key`, which is made if it is not there. While it is made others are not kept waiting, and may make it,
    /// too.
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
