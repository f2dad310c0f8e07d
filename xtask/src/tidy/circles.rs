//! Circles of files: each reaches each other by arrows.
//!
//! Guarantees: Tarjan's strongly connected components, in a stable order; a file alone is no circle.
//! Start at [`circles`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::House;
use super::arrows::list;

pub(super) const RULE: &str = "no file reaches itself through other files";

/// Circles that are known and will go, by one file of each.
const KNOWN: &[&str] = &[];

pub(super) fn breaches(house: &House) -> Vec<String> {
    let files = &house.modules.files;
    let found = circles(files.len(), house.arrows.all.keys());
    let has = |circle: &[usize], known: &str| circle.iter().any(|file| files[*file] == known);
    let mut breaches = Vec::new();
    for circle in &found {
        if !KNOWN.iter().any(|known| has(circle, known)) {
            let names: Vec<&str> = circle.iter().map(|file| files[*file].as_str()).collect();
            breaches.push(format!("a circle: {}", names.join(", ")));
        }
    }
    for known in KNOWN {
        if !found.iter().any(|circle| has(circle, known)) {
            breaches.push(format!(
                "{known} is in no circle any more: take it out of `KNOWN`"
            ));
        }
    }
    breaches
}

/// Each circle with the arrows that tie it.
pub(super) fn drawn(house: &House) -> String {
    let files = &house.modules.files;
    let mut text = String::new();
    for circle in circles(files.len(), house.arrows.all.keys()) {
        let _ = writeln!(text, "\ncircle of {} files", circle.len());
        for ((from, to), names) in &house.arrows.all {
            if circle.contains(from) && circle.contains(to) {
                let line = names.values().min().copied().unwrap_or_default();
                let _ = writeln!(
                    text,
                    "  {}:{line} names {} of {}",
                    files[*from],
                    list(names),
                    files[*to]
                );
            }
        }
    }
    text
}

/// The circles among files `0..count`, each sorted.
pub(crate) fn circles<'a>(count: usize, arrows: impl Iterator<Item = &'a (usize, usize)>) -> Vec<Vec<usize>> {
    let mut to: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (from, target) in arrows {
        to.entry(*from).or_default().push(*target);
    }
    let mut search = Search {
        to,
        order: vec![None; count],
        low: vec![0; count],
        stack: Vec::new(),
        next: 0,
        found: Vec::new(),
    };
    for file in 0..count {
        if search.order[file].is_none() {
            search.visit(file);
        }
    }
    search.found.sort();
    search.found
}

struct Search {
    to: BTreeMap<usize, Vec<usize>>,
    order: Vec<Option<usize>>,
    low: Vec<usize>,
    stack: Vec<usize>,
    next: usize,
    found: Vec<Vec<usize>>,
}

impl Search {
    fn visit(&mut self, file: usize) {
        let own = self.next;
        self.next += 1;
        self.order[file] = Some(own);
        self.low[file] = own;
        self.stack.push(file);
        for target in self.to.get(&file).cloned().unwrap_or_default() {
            match self.order[target] {
                None => {
                    self.visit(target);
                    self.low[file] = self.low[file].min(self.low[target]);
                }
                Some(order) if self.stack.contains(&target) => {
                    self.low[file] = self.low[file].min(order);
                }
                Some(_) => {}
            }
        }
        if self.low[file] == own {
            let start = self.stack.iter().rposition(|on_stack| *on_stack == file);
            let mut circle = self.stack.split_off(start.expect("the file was pushed above"));
            circle.sort_unstable();
            if circle.len() > 1 {
                self.found.push(circle);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::circles;

    #[test]
    fn files_that_reach_each_other_are_one_circle_and_a_chain_is_none() {
        let arrows = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (5, 6), (6, 5)];
        assert_eq!(circles(7, arrows.iter()), [vec![0, 1, 2], vec![5, 6]]);
        assert!(circles(3, [(0, 1), (1, 2), (0, 2)].iter()).is_empty());
    }
}
