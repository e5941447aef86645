//! Fingerprints of states: 128 bits, with every moment taken relative to now, so that a path that only took longer
//! leads to the same state.

use std::hash::Hasher;

use cmk_operator::domain::moment::Moment;

/// Moments longer ago than this are all the same. Longer than every window that the model's settings open, except the
/// intervals between looks, which are kept apart (`Memory::looked` and what is due).
const LONG_AGO: i64 = 20_000;
/// Whatever is larger is a moment in milliseconds since the epoch, and no length of time.
const EPOCH: i64 = 1_000_000_000_000;

/// A hasher that knows moments when it meets them. Numbers of 32 bits are left out: the sandbox counts fault rules in
/// them.
#[derive(Clone, Copy)]
pub(crate) struct Print {
    /// What moments are taken relative to.
    now: Option<i64>,
    one: u64,
    two: u64,
}

impl Print {
    pub(crate) fn new(now: Moment) -> Self {
        Self { now: Some(now.0), ..Self::exact() }
    }

    /// One that takes every number and every moment as it is.
    pub(crate) fn exact() -> Self {
        Self { now: None, one: 0x9e37_79b9_7f4a_7c15, two: 0xc2b2_ae3d_27d4_eb4f }
    }

    fn mix(&mut self, word: u64) {
        self.one = (self.one ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
        self.two = (self.two.rotate_left(31) ^ word).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    }

    /// A moment, by how long ago it is.
    pub(crate) fn moment(&mut self, moment: Moment) {
        self.age(moment, LONG_AGO);
    }

    /// A moment, by how long ago it is, up to a limit.
    pub(crate) fn age(&mut self, moment: Moment, most: i64) {
        let ago = self.now.map_or(moment.0, |now| (now - moment.0).clamp(-most, most));
        self.mix(ago.cast_unsigned());
    }

    pub(crate) fn finish128(&self) -> u128 {
        let fold = |word: u64| {
            let word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            word ^ (word >> 29)
        };
        u128::from(fold(self.one ^ self.two.rotate_left(17))) << 64 | u128::from(fold(self.two.wrapping_add(self.one)))
    }
}

impl Hasher for Print {
    fn finish(&self) -> u64 {
        self.one ^ self.two
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.now.is_some()
            && bytes.len() == 20
            && bytes[19] == b'Z'
            && let Some(moment) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok())
        {
            return self.moment(moment);
        }
        self.mix(bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        if self.now.is_none() {
            self.mix(u64::from(value));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value.cast_unsigned() as u64);
    }

    fn write_i64(&mut self, value: i64) {
        if self.now.is_some() && value > EPOCH {
            self.moment(Moment(value));
        } else {
            self.mix(value.cast_unsigned());
        }
    }
}
