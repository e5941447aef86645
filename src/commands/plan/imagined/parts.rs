//! What runs inside the databases of the imagined world.

use super::{Inner, missing};
use crate::domain::part::{NewPart, Part, PartState};
use crate::domain::reading::Reading;
use crate::ports::{Fault, Session};

impl Inner {
    /// Everything that runs inside a database.
    pub(super) fn parts_of(&self, id: &str) -> Reading<Vec<Part>> {
        if !self.databases.contains_key(id) {
            return Reading::Absent;
        }
        Reading::Present(self.parts.get(id).cloned().unwrap_or_default())
    }

    /// Makes a part, which serves at once.
    pub(super) fn add_part(&mut self, session: &Session, id: &str, part: &NewPart) -> Result<String, Fault> {
        if !self.databases.contains_key(id) {
            return Err(missing("make a part of a database", id));
        }
        let words = format!("<from {} at apply>", session.scope.cloud);
        let new = self.stand_in("the-id-of-the-part", &words);
        let NewPart { name, size } = part.clone();
        let part = Part { id: new.clone(), name, size, state: PartState::Active, endpoint: None };
        self.parts.entry(id.to_owned()).or_default().push(part);
        Ok(new)
    }
}
