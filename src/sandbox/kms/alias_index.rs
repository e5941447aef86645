//! The aliases of a region, found by name and by key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a name points at, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::sandbox) struct Alias {
    pub(in crate::sandbox) key_id: String,
    pub(super) created_at_ms: i64,
    pub(super) updated_at_ms: i64,
}

/// Names with `alias/` in front.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::sandbox) struct AliasIndex {
    by_name: BTreeMap<Arc<str>, Arc<Alias>>,
    /// (key id, name)
    by_key: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl AliasIndex {
    pub(in crate::sandbox) fn get(&self, name: &str) -> Option<&Alias> {
        self.by_name.get(name).map(|alias| &**alias)
    }

    /// All, sorted by name.
    pub(in crate::sandbox) fn iter(&self) -> impl Iterator<Item = (&str, &Alias)> {
        self.by_name.iter().map(|(name, alias)| (&**name, &**alias))
    }

    /// Those of one key, sorted by name.
    pub(in crate::sandbox) fn of_key(&self, key_id: &str) -> impl Iterator<Item = (&str, &Alias)> {
        let first: (Arc<str>, Arc<str>) = (key_id.into(), "".into());
        let wanted = Arc::clone(&first.0);
        self.by_key
            .range(first..)
            .take_while(move |(id, _)| *id == wanted)
            .filter_map(|(_, name)| Some((&**name, &**self.by_name.get(name)?)))
    }

    /// Adds a name, or points it elsewhere.
    pub(super) fn insert(&mut self, name: &str, alias: Alias) {
        self.remove(name);
        let name: Arc<str> = name.into();
        self.by_key.insert((alias.key_id.as_str().into(), Arc::clone(&name)));
        self.by_name.insert(name, Arc::new(alias));
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some((name, alias)) = self.by_name.remove_entry(name) {
            self.by_key.remove(&(alias.key_id.as_str().into(), name));
        }
    }

    /// Removes the names of a key.
    pub(super) fn remove_of_key(&mut self, key_id: &str) {
        let names: Vec<String> = self.of_key(key_id).map(|(name, _)| name.to_owned()).collect();
        for name in names {
            self.remove(&name);
        }
    }
}
