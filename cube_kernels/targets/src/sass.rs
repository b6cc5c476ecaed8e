//! NVIDIA's machine code: its loops, what they cost a pair of a row and a column, and what that
//! leaves of an H100.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// An innermost loop: the instructions of its shortest way round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loop {
    pub instructions: u32,
    /// How many there are of each.
    pub mix: BTreeMap<String, u32>,
    /// Bytes that a unit reads from shared memory.
    pub shared_bytes: u32,
}

struct Instruction {
    name: String,
    conditional: bool,
    /// The label that is jumped to.
    label: Option<String>,
}

/// The innermost loops of a listing by `nvdisasm -c`, and those around them that hold instructions of the
/// tensor cores of their own, as compilers unroll short loops.
pub fn loops(listing: &str) -> Vec<Loop> {
    let mut labels = HashMap::new();
    let mut code = Vec::new();
    for line in listing.lines() {
        let line = line.trim();
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label.to_string(), code.len());
        } else if let Some(instruction) = parse(line) {
            code.push(instruction);
        }
    }
    let target = |at: usize| {
        let label = code[at].label.as_ref()?;
        labels.get(label).copied()
    };
    let spans: Vec<(usize, usize)> = (0..code.len())
        .filter(|at| code[*at].name == "BRA")
        .filter_map(|end| Some((target(end)?, end)))
        // The last instruction of a kernel jumps to itself.
        .filter(|(start, end)| start < end)
        .collect();
    let inside = |span: (usize, usize), other: &&(usize, usize)| {
        **other != span && span.0 <= other.0 && other.1 <= span.1 && other.0 != span.0
    };
    let mut found = Vec::new();
    for (start, end) in &spans {
        let inner = |other: &&(usize, usize)| inside((*start, *end), other);
        let inner: Vec<_> = spans.iter().filter(inner).collect();
        if inner.is_empty() {
            let way = shortest(&code, &target, *start, *end);
            found.extend(way.map(|way| count(way.iter().map(|at| &code[*at]))));
            continue;
        }
        // The shortest way round may go past them.
        let own = |at: &usize| {
            !inner
                .iter()
                .any(|(start, end)| (*start..=*end).contains(at))
        };
        let own: Vec<usize> = (*start..=*end).filter(own).collect();
        if own.iter().any(|at| is_matrix(&code[*at].name)) {
            found.push(count(own.iter().map(|at| &code[*at])));
        }
    }
    found
}

/// Whether an instruction, with or without its modifiers, is one of the tensor cores.
fn is_matrix(name: &str) -> bool {
    let base = name.split('.').next();
    base.is_some_and(|base| base.ends_with("MMA"))
}

/// An instruction of a listing, such as `/*0120*/ @!P0 BRA `(.L_x_3) ;`.
fn parse(line: &str) -> Option<Instruction> {
    let line = match line.strip_prefix("/*") {
        Some(rest) => rest.split_once("*/")?.1.trim(),
        None => line,
    };
    let line = line
        .strip_suffix(';')
        .or_else(|| line.split_once(';').map(|pair| pair.0))?;
    let mut words = line.split_whitespace();
    let mut name = words.next()?;
    let conditional = name.starts_with('@');
    if conditional {
        name = words.next()?;
    }
    if !name.starts_with(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    let label = line
        .split_once("`(")
        .and_then(|(_, rest)| rest.split_once(')'));
    // Some branches name a predicate among their arguments.
    let uniform = name.starts_with("BRA") && words.any(|word| word.starts_with(['U', 'P', '!']));
    let is_branch = name.split('.').next() == Some("BRA");
    Some(Instruction {
        name: if is_branch {
            "BRA".into()
        } else {
            name.to_string()
        },
        conditional: conditional || uniform,
        label: label.map(|(label, _)| label.to_string()),
    })
}

/// The way with the fewest instructions from `start` to the jump back at `end`: what is done only now
/// and then, such as inserting into a list, is left out.
fn shortest(
    code: &[Instruction],
    target: &dyn Fn(usize) -> Option<usize>,
    start: usize,
    end: usize,
) -> Option<Vec<usize>> {
    let mut from = HashMap::from([(start, start)]);
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        if at == end {
            let mut way = vec![end];
            while way.last() != Some(&start) {
                way.push(from[way.last()?]);
            }
            return Some(way);
        }
        let instruction = &code[at];
        let jumps = instruction.name == "BRA";
        let leaves = matches!(instruction.name.as_str(), "EXIT" | "RET" | "BRX");
        let next = (!(jumps || leaves) || instruction.conditional).then_some(at + 1);
        let jump = if jumps { target(at) } else { None };
        for to in [next, jump].into_iter().flatten() {
            if (start..=end).contains(&to) && !from.contains_key(&to) {
                from.insert(to, at);
                queue.push_back(to);
            }
        }
    }
    None
}

fn count<'a>(instructions: impl Iterator<Item = &'a Instruction>) -> Loop {
    let mut counted = Loop::default();
    for instruction in instructions {
        counted.instructions += 1;
        let mut parts = instruction.name.split('.');
        let base = parts.next().unwrap_or_default();
        if base == "LDS" {
            counted.shared_bytes += parts
                .find_map(|part| match part {
                    "128" => Some(16),
                    "64" => Some(8),
                    "U16" | "S16" => Some(2),
                    "U8" | "S8" => Some(1),
                    _ => None,
                })
                .unwrap_or(4);
        }
        *counted.mix.entry(base.to_string()).or_default() += 1;
    }
    counted
}

impl Loop {
    fn number_of(&self, names: &[&str]) -> u32 {
        names.iter().filter_map(|name| self.mix.get(*name)).sum()
    }

    /// Instructions of the tensor cores.
    pub fn matrix_instructions(&self) -> u32 {
        self.mix
            .keys()
            .filter(|name| is_matrix(name))
            .map(|name| self.mix[name])
            .sum()
    }
}

/// What a kernel's pairs cost.
#[derive(Clone, Debug)]
pub struct Cost {
    pub inner: Loop,
    pub slots_per_pair: f64,
    /// Shares of what an H100 can do in each clock: of the instructions that its schedulers issue, of
    /// FP32 arithmetic, of the functions of its special units.
    pub issue: f64,
    pub fp32: f64,
    pub special: f64,
}

/// Lanes of one multiprocessor of an H100 that do something in a clock.
const ISSUE: f64 = 128.0;
const FP32: f64 = 128.0;
const SPECIAL: f64 = 16.0;

/// The cost of a kernel's pairs: of the innermost loop that reads the tile and does so at the least cost,
/// as what is left of a block at its end has a loop of its own. How many pairs one way round is follows
/// from what it reads: `column_bytes` a column, which `lanes` rows share. Of several loops over an inner
/// axis only one counts.
pub fn cost(loops: &[Loop], column_bytes: usize, lanes: usize) -> Option<Cost> {
    let inner = loops
        .iter()
        .filter(|inner| inner.shared_bytes > 0)
        .min_by(|a, b| {
            let price = |one: &Loop, other: &Loop| one.instructions * other.shared_bytes;
            price(a, b).cmp(&price(b, a))
        })?;
    if column_bytes == 0 {
        return None;
    }
    let pairs = inner.shared_bytes as f64 / column_bytes as f64 * lanes as f64;
    let a_pair = |count: u32| count as f64 / pairs;
    let slots = a_pair(inner.instructions);
    let fp32 = a_pair(inner.number_of(&["FFMA", "FADD", "FMUL"]));
    let special = a_pair(inner.number_of(&["MUFU"]));
    // Pairs a clock.
    let rate = [ISSUE / slots, FP32 / fp32, SPECIAL / special]
        .into_iter()
        .fold(f64::MAX, f64::min);
    Some(Cost {
        inner: inner.clone(),
        slots_per_pair: slots,
        issue: rate * slots / ISSUE,
        fp32: rate * fp32 / FP32,
        special: rate * special / SPECIAL,
    })
}

/// The share of the warps that a multiprocessor of an H100 can hold.
pub fn occupancy(registers: u32, shared_bytes: usize, units: usize) -> f64 {
    const REGISTERS: usize = 65_536;
    const SHARED: usize = 228 * 1024;
    /// What the system takes of each cube's.
    const RESERVED: usize = 1024;
    const WARPS: usize = 64;
    const CUBES: usize = 32;
    let warps = units.div_ceil(32);
    let registers = (registers as usize).next_multiple_of(8) * 32 * warps;
    let cubes = (REGISTERS / registers.max(1))
        .min(SHARED / (shared_bytes + RESERVED))
        .min(WARPS / warps)
        .min(CUBES);
    (cubes * warps) as f64 / WARPS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "
        .text.kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   BAR.SYNC 0x0 ;
.L_x_2:
        /*0020*/                   LDS.128 R4, [R2] ;
        /*0030*/                   FFMA R3, R4, R5, R3 ;
        /*0040*/              @!P1 BRA `(.L_x_3) ;
        /*0050*/                   FADD R3, R3, R3 ;
        /*0060*/                   MUFU.EX2 R3, R3 ;
.L_x_3:
        /*0070*/               @P0 BRA `(.L_x_2) ;
        /*0080*/               @P2 BRA `(.L_x_1) ;
        /*0090*/                   EXIT ;
.L_x_4:
        /*00a0*/                   BRA `(.L_x_4);
";

    #[test]
    fn the_innermost_loop_is_walked_the_short_way() {
        let found = loops(LISTING);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].instructions, 4);
        assert_eq!(found[0].shared_bytes, 16);
        assert_eq!(found[0].mix["BRA"], 2);
        assert!(!found[0].mix.contains_key("MUFU"));
    }

    #[test]
    fn tensor_cores_count_where_their_loop_is_unrolled() {
        let unrolled = LISTING.replace("BAR.SYNC 0x0", "HMMA.1688.F32.TF32 R4, R4, R5, R4");
        let counts = |listing: &str| -> Vec<u32> {
            let found = loops(listing);
            found.iter().map(Loop::matrix_instructions).collect()
        };
        assert_eq!(counts(LISTING), [0]);
        assert_eq!(counts(&unrolled), [0, 1]);
    }

    #[test]
    fn the_cost_is_that_of_the_pairs_of_one_way_round() {
        let cost = cost(&loops(LISTING), 16, 4).unwrap();
        assert_eq!(cost.slots_per_pair, 1.0);
        assert_eq!(cost.issue, 1.0);
        assert_eq!(cost.fp32, 0.25);
    }

    #[test]
    fn occupancy_follows_the_scarcest_resource() {
        assert_eq!(occupancy(32, 0, 128), 1.0);
        assert_eq!(occupancy(64, 0, 128), 0.5);
        assert_eq!(occupancy(32, 113 * 1024, 128), 0.125);
    }
}
