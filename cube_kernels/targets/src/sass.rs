//! Analysis of machine code: its loops, their cost for each pair of a row and a column, and which part of the peak
//! rates of an H100 or an MI300X they reach.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// An innermost loop: the instructions of the shortest path through it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loop {
    pub instructions: u32,
    /// The number of instructions of each name.
    pub mix: BTreeMap<String, u32>,
    /// The bytes that a unit reads from shared memory in one iteration.
    pub shared_bytes: u32,
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// NVIDIA's, as listed by `nvdisasm -c`.
    Sass,
    /// AMD's, as written by Clang.
    Gcn,
}

struct Instruction {
    name: String,
    /// The label that it jumps to, if it jumps.
    label: Option<String>,
    /// Whether execution may continue with the next instruction, although it jumps.
    conditional: bool,
    /// Whether it leaves the code: the end of the kernel, a return, or a jump to a computed address.
    last: bool,
}

enum Line {
    Label(String),
    Instruction(Instruction),
}

/// The innermost loops of a listing, and the loops around them whose own code contains instructions of the tensor
/// cores: compilers unroll short loops, so these instructions need not be in an innermost loop.
pub fn loops(listing: &str, isa: Isa) -> Vec<Loop> {
    let mut labels = HashMap::new();
    let mut code = Vec::new();
    for line in listing.lines() {
        let line = match isa {
            Isa::Sass => parse(line.trim()),
            Isa::Gcn => parse_gcn(line),
        };
        match line {
            Some(Line::Label(label)) => {
                labels.insert(label, code.len());
            }
            Some(Line::Instruction(instruction)) => code.push(instruction),
            None => {}
        }
    }
    let target = |at: usize| {
        let label = code[at].label.as_ref()?;
        labels.get(label).copied()
    };
    let spans: Vec<(usize, usize)> = (0..code.len())
        .filter_map(|end| Some((target(end)?, end)))
        // The last instruction of a kernel jumps to itself, which is not a loop.
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
        // All of its own instructions are counted, because the shortest path may skip those of the tensor cores.
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

/// Whether an instruction, with or without its modifiers, runs on the tensor cores.
fn is_matrix(name: &str) -> bool {
    let base = name.split('.').next();
    base.is_some_and(|base| base.ends_with("MMA")) || name.starts_with("v_mfma")
}

/// Parses a line of a listing, such as `/*0120*/ @!P0 BRA `(.L_x_3) ;`.
fn parse(line: &str) -> Option<Line> {
    if let Some(label) = line.strip_suffix(':') {
        return Some(Line::Label(label.to_string()));
    }
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
    let base = name.split('.').next().unwrap_or_default();
    let jumps = base == "BRA";
    // Some conditional branches name a predicate among their arguments.
    let uniform = jumps && words.any(|word| word.starts_with(['U', 'P', '!']));
    let label = line
        .split_once("`(")
        .and_then(|(_, rest)| rest.split_once(')'));
    let label = label.filter(|_| jumps);
    Some(Line::Instruction(Instruction {
        name: if jumps { base } else { name }.to_string(),
        label: label.map(|(label, _)| label.to_string()),
        conditional: conditional || uniform,
        last: matches!(base, "EXIT" | "RET" | "BRX"),
    }))
}

/// Parses a line of assembly, such as `s_cbranch_scc1 .LBB0_7 ; a comment`.
fn parse_gcn(line: &str) -> Option<Line> {
    let code = line.split(';').next()?.trim();
    if let Some(label) = code.strip_suffix(':') {
        return Some(Line::Label(label.to_string()));
    }
    let mut words = code.split_whitespace();
    let name = words.next().filter(|name| !name.starts_with('.'))?;
    let conditional = name.starts_with("s_cbranch");
    let jumps = conditional || name == "s_branch";
    Some(Line::Instruction(Instruction {
        name: ["_e32", "_e64"]
            .iter()
            .find_map(|encoding| name.strip_suffix(encoding))
            .unwrap_or(name)
            .to_string(),
        label: words.next().filter(|_| jumps).map(str::to_string),
        conditional,
        last: matches!(name, "s_endpgm" | "s_setpc_b64"),
    }))
}

/// The path with the fewest instructions from `start` to the jump back at `end`. Work that is rarely done, such as
/// inserting into a list, is thereby left out.
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
        let jumps = instruction.label.is_some();
        let next = (!(jumps || instruction.last) || instruction.conditional).then_some(at + 1);
        let jump = target(at);
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
        counted.shared_bytes += shared_bytes(&instruction.name);
        let base = instruction.name.split('.').next().unwrap_or_default();
        *counted.mix.entry(base.to_string()).or_default() += 1;
    }
    counted
}

/// The bytes that an instruction reads from shared memory for a unit.
fn shared_bytes(name: &str) -> u32 {
    if let Some(kind) = name.strip_prefix("ds_read") {
        let each = match kind.rsplit('_').next() {
            Some("b128") => 16,
            Some("b96") => 12,
            Some("b64") => 8,
            Some("u16" | "i16") => 2,
            Some("u8" | "i8") => 1,
            _ => 4,
        };
        return if kind.starts_with('2') {
            2 * each
        } else {
            each
        };
    }
    let mut parts = name.split('.');
    if parts.next() != Some("LDS") {
        return 0;
    }
    let size = parts.find_map(|part| match part {
        "128" => Some(16),
        "64" => Some(8),
        "U16" | "S16" => Some(2),
        "U8" | "S8" => Some(1),
        _ => None,
    });
    size.unwrap_or(4)
}

impl Loop {
    /// The sum of the weights of all instructions, where `weight` gives the weight of a name.
    fn sum(&self, weight: impl Fn(&str) -> u32) -> f64 {
        let weights = self.mix.iter().map(|(name, count)| count * weight(name));
        weights.sum::<u32>().into()
    }

    /// The number of instructions of the tensor cores.
    pub fn matrix_instructions(&self) -> u32 {
        self.mix
            .keys()
            .filter(|name| is_matrix(name))
            .map(|name| self.mix[name])
            .sum()
    }
}

/// The cost of a kernel for each pair of a row and a column.
#[derive(Clone, Debug)]
pub struct Cost {
    pub inner: Loop,
    pub slots_per_pair: f64,
    /// The shares of the processor's peak rates that are used: of the instructions that its schedulers issue, of
    /// FP32 arithmetic (`fp32`), and of the functions of its special units (`special`).
    pub issue: f64,
    pub fp32: f64,
    pub special: f64,
}

/// The peak rates of a multiprocessor, in lanes a clock, and the numbers of issue slots, FP32 operations and
/// special functions of an instruction.
struct Processor {
    issue: f64,
    fp32: f64,
    special: f64,
    slots: fn(&str) -> u32,
    operations: fn(&str) -> u32,
    functions: fn(&str) -> u32,
}

/// A multiprocessor of an H100 (compute capability 9.0 in NVIDIA's CUDA programming guide).
const H100: Processor = Processor {
    issue: 128.0,
    fp32: 128.0,
    special: 16.0,
    slots: |_| 1,
    operations: |name| matches!(name, "FFMA" | "FADD" | "FMUL").into(),
    functions: |name| (name == "MUFU").into(),
};

/// A compute unit of an MI300X (AMD's CDNA 3 white paper: 256 operations in FP32 a clock, which takes instructions
/// of two operations each; functions take four times as long as other instructions). Scalar instructions are issued
/// beside vector instructions, so they take no slots.
const MI300X: Processor = Processor {
    issue: 64.0,
    fp32: 128.0,
    special: 16.0,
    slots: |name| match (name.starts_with("v_"), gcn_functions(name)) {
        (false, _) => 0,
        (true, 0) => 1,
        (true, _) => 4,
    },
    operations: gcn_operations,
    functions: gcn_functions,
};

fn gcn_operations(name: &str) -> u32 {
    let operation = name
        .strip_prefix("v_")
        .and_then(|rest| rest.strip_suffix("_f32"));
    match operation {
        Some("pk_fma" | "pk_add" | "pk_mul") => 2,
        Some("fma" | "fmac" | "add" | "sub" | "subrev" | "mul") => 1,
        _ => 0,
    }
}

fn gcn_functions(name: &str) -> u32 {
    let operation = name
        .strip_prefix("v_")
        .and_then(|rest| rest.strip_suffix("_f32"));
    let functions = ["exp", "log", "rcp", "rsq", "sqrt", "sin", "cos"];
    operation
        .is_some_and(|operation| functions.contains(&operation))
        .into()
}

impl Isa {
    fn processor(self) -> &'static Processor {
        match self {
            Isa::Sass => &H100,
            Isa::Gcn => &MI300X,
        }
    }
}

/// The cost of a kernel for each pair, from the innermost loop that reads the tile with the fewest instructions for
/// the bytes that it reads. (The rest of a block at its end has a separate loop.) The number of pairs in one
/// iteration follows from the bytes that it reads from shared memory: `column_bytes` for each column, which `lanes`
/// rows share. If there are several loops over an inner axis, only one of them counts.
pub fn cost(loops: &[Loop], isa: Isa, column_bytes: usize, lanes: usize) -> Option<Cost> {
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
    let processor = isa.processor();
    let pairs = inner.shared_bytes as f64 / column_bytes as f64 * lanes as f64;
    let slots = inner.sum(processor.slots) / pairs;
    let fp32 = inner.sum(processor.operations) / pairs;
    let special = inner.sum(processor.functions) / pairs;
    // The rate in pairs a clock.
    let rate = [
        processor.issue / slots,
        processor.fp32 / fp32,
        processor.special / special,
    ]
    .into_iter()
    .fold(f64::MAX, f64::min);
    Some(Cost {
        inner: inner.clone(),
        slots_per_pair: slots,
        issue: rate * slots / processor.issue,
        fp32: rate * fp32 / processor.fp32,
        special: rate * special / processor.special,
    })
}

/// The share of the warps or waves of a multiprocessor that can be resident, for cubes of `units` units.
pub fn occupancy(isa: Isa, registers: u32, shared_bytes: usize, units: usize) -> f64 {
    let registers = (registers as usize).next_multiple_of(8).max(8);
    // The largest number of warps, the number that registers suffice for, and the number of cubes that shared
    // memory suffices for.
    let (most, held, cubes, plane) = match isa {
        Isa::Sass => {
            /// The shared memory that the system reserves for each cube.
            const RESERVED: usize = 1024;
            let cubes = 228 * 1024 / (shared_bytes + RESERVED);
            (64, 65_536 / (registers * 32), cubes.min(32), 32)
        }
        // A compute unit has four processors. Each of them has 512 registers for each lane, and holds 8 waves.
        Isa::Gcn => {
            let cubes = (64 * 1024usize).checked_div(shared_bytes);
            (32, 4 * (512 / registers), cubes.unwrap_or(usize::MAX), 64)
        }
    };
    let warps = units.div_ceil(plane);
    let cubes = (held.min(most) / warps).min(cubes);
    (cubes * warps) as f64 / most as f64
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
        let found = loops(LISTING, Isa::Sass);
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
            let found = loops(listing, Isa::Sass);
            found.iter().map(Loop::matrix_instructions).collect()
        };
        assert_eq!(counts(LISTING), [0]);
        assert_eq!(counts(&unrolled), [0, 1]);
    }

    #[test]
    fn the_cost_is_that_of_the_pairs_of_one_way_round() {
        let cost = cost(&loops(LISTING, Isa::Sass), Isa::Sass, 16, 4).unwrap();
        assert_eq!(cost.slots_per_pair, 1.0);
        assert_eq!(cost.issue, 1.0);
        assert_eq!(cost.fp32, 0.25);
    }

    #[test]
    fn occupancy_follows_the_scarcest_resource() {
        assert_eq!(occupancy(Isa::Sass, 32, 0, 128), 1.0);
        assert_eq!(occupancy(Isa::Sass, 64, 0, 128), 0.5);
        assert_eq!(occupancy(Isa::Sass, 32, 113 * 1024, 128), 0.125);
    }

    const ASSEMBLY: &str = "
kernel:                                 ; @kernel
\ts_mov_b32 s4, 0
.LBB0_1:                                ; =>This Loop Header: Depth=1
\ts_barrier
.LBB0_2:                                ;   Parent Loop BB0_1 Depth=1
\tds_read_b128 v[4:7], v2 offset:512
\tds_read2_b64 v[8:11], v2 offset1:1
\tv_pk_fma_f32 v[0:1], v[4:5], v[4:5], v[0:1] op_sel_hi:[1,0,1]
\tv_exp_f32_e32 v0, v0
\tv_mov_b32_e32 v3, v2
\ts_cbranch_scc1 .LBB0_2
\ts_cbranch_vccnz .LBB0_1
\ts_endpgm
\t.section .AMDGPU.csdata
";

    #[test]
    fn assembly_of_others_is_walked_alike() {
        let found = loops(ASSEMBLY, Isa::Gcn);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].instructions, 6);
        assert_eq!(found[0].shared_bytes, 32);
        let cost = cost(&found, Isa::Gcn, 32, 2).unwrap();
        // One packed product (one slot), one function (four slots) and one copy (one slot), for two pairs.
        assert_eq!(cost.slots_per_pair, 3.0);
        assert_eq!(cost.special, 2.0 / 3.0);
        assert_eq!(cost.fp32, (64.0 / 3.0) / 128.0);
    }

    #[test]
    fn waves_are_held_by_four_processors() {
        assert_eq!(occupancy(Isa::Gcn, 64, 0, 128), 1.0);
        assert_eq!(occupancy(Isa::Gcn, 128, 2048, 128), 0.5);
        assert_eq!(occupancy(Isa::Gcn, 32, 32 * 1024, 128), 0.125);
    }
}
