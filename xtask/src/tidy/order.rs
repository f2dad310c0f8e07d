//! The order of rooms: each room names only those below it.
//!
//! Guarantees: every file of both programs has its place in [`SERVER`] or [`OPERATOR`]; an arrow that runs up is told with
//! its file, its line and the names it carries. Must not: order the files inside a room; that they form no circle is
//! `circles`'. Start at [`breaches`].

use std::fmt::Write as _;

use super::House;
use super::arrows::list;
use super::circles::circles;

pub(super) const RULE: &str = "a room names only rooms below it";

/// The server, from the arguments down to the formats. Rooms of one row do not name each other.
const SERVER: &[&[&str]] = &[
    &["registry-server/src/main"],
    &["registry-server/src/cli"],
    &["registry-server/src/http", "registry-server/src/health"],
    &["registry-server/src/auth", "registry-server/src/registry"],
    &["registry-server/src/storage", "registry-server/src/cache"],
    &["registry-server/src/telemetry"],
    &[
        "registry-server/src/allocator",
        "registry-server/src/client_key",
        "registry-server/src/fault",
        "registry-server/src/files",
        "registry-server/src/lib",
        "registry-server/src/memory_budget",
        "registry-server/src/task",
    ],
    &[
        "registry-server/config/src",
        "registry-server/mutation/src",
        "registry-server/oci/src",
    ],
];

/// The operator: the driver, then the steps of a reconcile from the last to the first, then what all of them share.
const OPERATOR: &[&[&str]] = &[
    &["operator/src/main"],
    &["operator/src/cli"],
    &["operator/src/driver"],
    &["operator/src/debug", "operator/src/telemetry"],
    &["operator/src/report"],
    &["operator/src/error", "operator/src/leader"],
    &[
        "operator/src/apply",
        "operator/src/hosts",
        "operator/src/observe",
        "operator/src/probe",
    ],
    &["operator/src/build"],
    &["operator/src/issue"],
    &["operator/src/validate"],
    &["operator/src/read"],
    &["operator/src/children", "operator/src/issue_plan"],
    &["operator/src/ownership"],
    &["operator/src/client"],
    &[
        "operator/src/certificate",
        "operator/src/input_keys",
        "operator/src/pod_references",
    ],
    &[
        "operator/src/health",
        "operator/src/metrics",
        "operator/src/names",
        "operator/src/subject",
    ],
    &[
        "operator/src/cache",
        "operator/src/conditions",
        "operator/src/fault",
        "operator/src/findings",
        "operator/src/http_server",
        "operator/src/json_depth",
        "operator/src/log",
        "operator/src/optional",
        "operator/src/pod_layout",
        "operator/src/quantity",
        "operator/src/recent",
        "operator/src/references",
        "operator/src/secret_data",
        "operator/src/settings",
        "operator/src/verify_plan",
        "operator/src/work_queue",
    ],
    &["operator/src/lib"],
    &["operator/api/src"],
    &["registry-server/config/src"],
];

/// Arrows up that are known and will go: from a file, to a file.
const KNOWN: &[(&str, &str)] = &[];

/// A program by its rooms.
struct Program {
    name: &'static str,
    rows: &'static [&'static [&'static str]],
}

const PROGRAMS: [Program; 2] = [
    Program {
        name: "registry-server",
        rows: SERVER,
    },
    Program {
        name: "operator",
        rows: OPERATOR,
    },
];

impl Program {
    fn of(file: &str) -> &'static Self {
        let owner = PROGRAMS
            .iter()
            .find(|program| file.split('/').next() == Some(program.name));
        owner.expect("the files read are those of the two programs")
    }

    /// The row of a file, counted from the top, and its room.
    fn place(&self, file: &str) -> Option<(usize, &'static str)> {
        let is_in = |room: &str| {
            let rest = file.strip_prefix(room);
            rest.is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
        };
        let rows = self.rows.iter().enumerate();
        let mut rooms = rows.flat_map(|(row, rooms)| rooms.iter().map(move |room| (row, *room)));
        rooms.find(|(_, room)| is_in(room))
    }
}

/// Files, arrows, circles and arrows up of each program.
pub(super) fn figures(house: &House) -> String {
    let files = &house.modules.files;
    let mut text = String::new();
    let all_circles = circles(files.len(), house.arrows.all.keys());
    for program in &PROGRAMS {
        let own = |file: usize| Program::of(&files[file]).name == program.name;
        let circles: Vec<_> = all_circles.iter().filter(|circle| own(circle[0])).collect();
        let _ = writeln!(
            text,
            "{}: {} files, {} arrows, {} circles of {} files, {} arrows up",
            program.name,
            (0..files.len()).filter(|file| own(*file)).count(),
            house.arrows.all.keys().filter(|(from, _)| own(*from)).count(),
            circles.len(),
            circles.iter().map(|circle| circle.len()).sum::<usize>(),
            up(house).iter().filter(|(from, ..)| own(*from)).count(),
        );
    }
    text
}

/// Arrows that run up or across, each with what it says.
fn up(house: &House) -> Vec<(usize, usize, String)> {
    let files = &house.modules.files;
    let mut found = Vec::new();
    for ((from, to), names) in &house.arrows.all {
        let program = Program::of(&files[*from]);
        let places = (program.place(&files[*from]), program.place(&files[*to]));
        let (Some((from_row, from_room)), Some((to_row, to_room))) = places else {
            continue;
        };
        if from_room != to_room && to_row <= from_row {
            let line = names.values().min().copied().unwrap_or_default();
            let text = format!("{}:{line} names {} of {}", files[*from], list(names), files[*to]);
            found.push((*from, *to, text));
        }
    }
    found
}

pub(super) fn breaches(house: &House) -> Vec<String> {
    let files = &house.modules.files;
    let mut breaches: Vec<String> = files
        .iter()
        .filter(|file| Program::of(file).place(file).is_none())
        .map(|file| format!("{file} is in no room of xtask/src/tidy/order.rs"))
        .collect();
    for program in &PROGRAMS {
        for room in program.rows.iter().copied().flatten() {
            let is_in = |file: &String| program.place(file).is_some_and(|(_, own)| own == *room);
            if !files.iter().any(is_in) {
                breaches.push(format!("{room} is a room without a file: take it out of its row"));
            }
        }
    }
    let up = up(house);
    let is = |known: &(&str, &str), arrow: &(usize, usize, String)| {
        known.0 == files[arrow.0] && known.1 == files[arrow.1]
    };
    for arrow in &up {
        if !KNOWN.iter().any(|known| is(known, arrow)) {
            breaches.push(arrow.2.clone());
        }
    }
    for known in KNOWN {
        if !up.iter().any(|arrow| is(known, arrow)) {
            let (from, to) = known;
            breaches.push(format!(
                "the arrow from {from} to {to} is gone: take it out of `KNOWN`"
            ));
        }
    }
    breaches
}
