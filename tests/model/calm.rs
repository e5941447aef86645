//! Liveness: once faults stop, does the calm schedule (repair; then what stopped goes on, passes of both objects, and time,
//! again and again) lead from every state to where nothing is ever written again, and both objects may rest so?

use super::explore::{Graph, Kept};

/// How far the calm schedule has to go from any state.
pub(crate) struct Settled {
    /// The most rounds before nothing changes any more.
    pub(crate) rounds: usize,
    /// The states in which the schedule ends.
    pub(crate) resting: usize,
}

/// A state from which it does not settle.
pub(crate) struct Restless {
    pub(crate) state: u128,
    /// Where the schedule goes round.
    pub(crate) circle: Vec<u128>,
    pub(crate) why: String,
}

fn at(graph: &Graph, state: u128) -> &Kept {
    &graph[&state]
}

/// A round of the schedule: the state after it, and whether both might rest throughout and nothing was written.
fn round(graph: &Graph, state: u128) -> (u128, bool, bool) {
    let (mut state, mut rests, mut still) = (state, at(graph, state).rests, true);
    for n in 1..=4 {
        let (next, wrote) = at(graph, state).calm[n];
        state = next;
        still &= !wrote;
        rests &= at(graph, state).rests;
    }
    (state, rests, still)
}

/// Whether the schedule settles from every state.
pub(crate) fn settles(graph: &Graph) -> Result<Settled, Restless> {
    let mut rounds_left: std::collections::HashMap<u128, usize> = std::collections::HashMap::with_capacity(graph.len());
    let (mut most, mut resting) = (0, 0);
    for (start, kept) in graph {
        let repaired = kept.calm[0].0;
        let (mut path, mut on_path) = (Vec::new(), std::collections::HashSet::new());
        let mut state = repaired;
        while !rounds_left.contains_key(&state) && on_path.insert(state) {
            path.push(state);
            state = round(graph, state).0;
        }
        let base = if let Some(left) = rounds_left.get(&state) {
            *left
        } else {
            let circle: Vec<u128> = path.iter().copied().skip_while(|s| *s != state).collect();
            for on_circle in &circle {
                let (_, rests, still) = round(graph, *on_circle);
                if !rests || !still {
                    let why = format!("may rest so: {rests}; nothing written: {still}");
                    return Err(Restless { state: *start, circle, why });
                }
            }
            resting += circle.len();
            for on_circle in &circle {
                rounds_left.insert(*on_circle, 0);
            }
            path.truncate(path.len() - circle.len());
            0
        };
        for (n, state) in path.iter().rev().enumerate() {
            rounds_left.insert(*state, base + n + 1);
        }
        most = most.max(rounds_left[&repaired]);
    }
    Ok(Settled { rounds: most, resting })
}
