//! A small generator of numbers that looks random and is the same for a seed.

use super::turn::turn;

pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// One of several.
    pub fn pick<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    /// Lets others have some turns.
    pub async fn rest(&mut self, most: u64) {
        for _ in 0..self.below(most) {
            turn().await;
        }
    }
}
